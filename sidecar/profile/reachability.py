"""Which rules of a profile can never match, so that a mistake in one is found before a request falls through it."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.profile.rules import Case, PathRule, Rule, ToolRule
from sidecar.profile.templates import REST, Segments, Template, glob_covers

NO_MCP = "the profile names no path where MCP is spoken"
OUTSIDE = "its paths lie outside the guarded prefixes"
MCP_ONLY = "MCP is spoken at its paths, where only rules for tools are asked"


def unreachable(rules: Sequence[Rule], prefixes: Sequence[Segments], mcp: Sequence[Segments]) -> list[tuple[Rule, str]]:
    """Each rule that can never match, with the reason, in their order."""
    findings = ((rule, _finding(rule, rules[:place], prefixes, mcp)) for place, rule in enumerate(rules))
    return [(rule, finding) for rule, finding in findings if finding]


def _finding(rule: Rule, earlier: Sequence[Rule], prefixes: Sequence[Segments], mcp: Sequence[Segments]) -> str | None:
    if isinstance(rule, ToolRule):
        return _shadowed(rule, earlier) if mcp else NO_MCP
    inside = [path for path in rule.paths if any(path.may_start_with(prefix) for prefix in (*prefixes, *mcp))]
    if not inside:
        return OUTSIDE
    if isinstance(rule, PathRule) and all(any(_lies_under(path, prefix) for prefix in mcp) for path in inside):
        return MCP_ONLY
    return _shadowed(rule, earlier)


def _shadowed(rule: Rule, earlier: Sequence[Rule]) -> str | None:
    """Name the earlier rules that together match everything the rule does; each of its cases falls to one of them."""
    shadows: list[Rule] = []
    for case in rule.cases:
        other = next((other for other in earlier if any(_covers(one, case) for one in other.cases)), None)
        if other is None:
            return None
        if other not in shadows:
            shadows.append(other)
    lines = " and ".join(f"`{other}` (line {other.line})" for other in shadows)
    return f"everything it matches falls to {lines} before it"


def _covers(one: Case, other: Case) -> bool:
    (word, mine), (other_word, theirs) = one, other
    if word != other_word:
        return False
    if isinstance(mine, Template) and isinstance(theirs, Template):
        return mine.covers(theirs)
    return glob_covers(str(mine), str(theirs))


def _lies_under(path: Template, prefix: Segments) -> bool:
    """Whether everything that the template matches lies at or below the prefix."""
    return Template(prefix).covers(path) or Template((*prefix, REST)).covers(path)
