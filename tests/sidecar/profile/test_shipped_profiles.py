"""What each shipped profile makes of requests that its server's clients send, told in the tables beside this file.

A line is a request, its body (JSON, a form or `-`) and what comes of it: `pass`, `none` (looked at, and no session is
named), `refused REASON`, or the kind of the rule with session, user, scope and variables.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from sidecar.model import Classification, Extraction, RuleKind
from sidecar.profile.files import find_profile, shipped_profiles, shipped_text
from sidecar.profile.loading import load_profile
from sidecar.profile.profile import Profile
from sidecar.profile.rules import PathRule
from tests.support.reading import JSON, URLENCODED, head, reader

TABLES = Path(__file__).parent / "requests"
ROWS = [
    (path.stem, *(cell.strip() for cell in line.split(" | ")))
    for path in sorted(TABLES.glob("*.txt"))
    for line in path.read_text(encoding="utf-8").splitlines()
]


def profile_named(name: str) -> Profile:
    return load_profile(shipped_text(name))


def asking(name: str) -> Profile:
    """The profile with rules that require in place of those that act on the answer, so that references can be seen."""
    text = re.sub(r"(?m)^says_missing = .*$", "", shipped_text(name).replace('kind = "recover"', 'kind = "require"'))
    return load_profile(text.replace('kind = "forget"', 'kind = "require"\nmethods = ["DELETE"]'))


def outcome(name: str, request: str, body: str) -> str:
    """What comes of a request, as the tables write it."""
    method, target = request.split(" ")
    profile = profile_named(name)
    headers = [] if body == "-" else [JSON if body.startswith("{") else URLENCODED]
    upgrade = method == "UPGRADE"
    one = head("GET" if upgrade else method, target, *headers, *([(b"upgrade", b"websocket")] if upgrade else []))
    extractor = reader(asking(name))
    plan = extractor.plan(one)
    if plan is None:
        return "pass"
    raw = b"" if body == "-" else body.encode()
    found = extractor.read(one, raw if plan.needs_body else b"") if isinstance(plan, Classification) else plan
    assert isinstance(found, Extraction)
    (call,) = found.calls
    if call.refusal is not None:
        return f"refused {call.refusal.reason}"
    if call.reference is None:
        return "none"
    reference = call.reference
    kind = reference.kind if upgrade else kind_of(profile, method, target)
    variables = [f"{key}={value}" for key, value in reference.variables]
    return " ".join([kind, reference.session_id, reference.user_id or "-", *reference.scope, *variables])


def kind_of(profile: Profile, method: str, target: str) -> str:
    """The kind of the first rule that is about the request and captures safely."""
    segments = tuple(unquote(target.partition("?")[0]).strip("/").split("/"))
    for rule in profile.rules:
        if isinstance(rule, PathRule) and method in rule.methods:
            exact = rule.kind is RuleKind.PASS
            if any(path.match(segments, exact=exact) is not None for path in rule.paths):
                return rule.kind
    raise AssertionError("no rule is about it")


@pytest.mark.parametrize(("name", "request_line", "body", "expected"), ROWS)
def test_a_request_has_the_expected_reference(name: str, request_line: str, body: str, expected: str) -> None:
    """Row by row."""
    assert outcome(name, request_line, body) == unquote(expected)


@pytest.mark.parametrize("name", sorted({*shipped_profiles(), "generic"} - {"isa-platform"}))
def test_every_profile_has_at_least_twenty_rows(name: str) -> None:
    """`isa-platform` has the table of `isa`."""
    assert len([row for row in ROWS if row[0] == name]) >= 20


def test_isa_platform_guards_what_isa_guards() -> None:
    """They differ in how the session service is spoken to, and in nothing else."""
    isa, platform = find_profile("isa"), find_profile("isa-platform")
    for part in ("prefixes", "mcp", "owner", "places", "meta_tool", "rules"):
        assert getattr(platform, part) == getattr(isa, part)


@pytest.mark.parametrize("name", [*shipped_profiles(), "generic"])
def test_every_rule_can_match(name: str) -> None:
    """None is shadowed and none lies outside the prefixes; and every profile says in a line what it is for."""
    profile = profile_named(name)
    assert profile.unreachable_rules() == []
    assert profile.name == name
    assert profile.summary
