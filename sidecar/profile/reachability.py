"""Which rules of a profile can never match, so that a mistake in one is found before a request falls through it."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.profile.rules import PathRule, Rule, ToolRule, UpgradeRule
from sidecar.profile.templates import REST, Segments, Template, glob_covers

SHADOWED = "the rules before it match everything it does"
NO_MCP = "the profile names no path where MCP is spoken"
OUTSIDE = "its paths lie outside the guarded prefixes"
MCP_ONLY = "MCP is spoken at its paths, where only rules for tools are asked"


def unreachable(rules: Sequence[Rule], prefixes: Sequence[Segments], mcp: Sequence[Segments]) -> list[str]:
    """One sentence for each rule that can never match, in their order."""
    findings = ((rule, _finding(rule, rules[:place], prefixes, mcp)) for place, rule in enumerate(rules))
    return [f"{rule}: {finding}" for rule, finding in findings if finding]


def _finding(rule: Rule, earlier: Sequence[Rule], prefixes: Sequence[Segments], mcp: Sequence[Segments]) -> str | None:
    if isinstance(rule, ToolRule):
        return NO_MCP if not mcp else SHADOWED if _tools_shadowed(rule, earlier) else None
    inside = [path for path in rule.paths if any(path.may_start_with(prefix) for prefix in (*prefixes, *mcp))]
    if not inside:
        return OUTSIDE
    if isinstance(rule, UpgradeRule):
        return SHADOWED if _upgrades_shadowed(rule, earlier) else None
    if all(any(_lies_under(path, prefix) for prefix in mcp) for path in inside):
        return MCP_ONLY
    return SHADOWED if _paths_shadowed(rule, earlier) else None


def _tools_shadowed(rule: ToolRule, earlier: Sequence[Rule]) -> bool:
    globs = [glob for other in earlier if isinstance(other, ToolRule) for glob in other.tools]
    return all(any(glob_covers(glob, own) for glob in globs) for own in rule.tools)


def _upgrades_shadowed(rule: UpgradeRule, earlier: Sequence[Rule]) -> bool:
    paths = [path for other in earlier if isinstance(other, UpgradeRule) for path in other.paths]
    return all(any(path.covers(own) for path in paths) for own in rule.paths)


def _paths_shadowed(rule: PathRule, earlier: Sequence[Rule]) -> bool:
    """Case by case, since a rule's methods and paths may each fall to a different rule before it."""
    cases = [(method, path) for other in earlier if isinstance(other, PathRule) for method, path in other.cases]
    return all(any(method == own[0] and path.covers(own[1]) for method, path in cases) for own in rule.cases)


def _lies_under(path: Template, prefix: Segments) -> bool:
    """Whether everything that the template matches lies at or below the prefix."""
    return Template(prefix).covers(path) or Template((*prefix, REST)).covers(path)
