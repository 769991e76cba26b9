"""What each shipped profile makes of requests that its server's clients send, told in the tables beside this file.

A line is a request, its body (JSON, a form or `-`) and what comes of it: `pass`, `pass REASON` (forwarded; why its
answer is not acted on), `none` (looked at, and no session is named), `refused REASON`, or the kind of the rule with
session, user, scope and variables.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from sidecar.model import Call
from sidecar.profile.loading import find_profile, load_profile, shipped_profiles, shipped_text
from sidecar.profile.profile import Profile
from tests.support.reading import JSON, URLENCODED, head, reader

TABLES = Path(__file__).parent / "requests"
ROWS = [
    (path.stem, *(cell.strip() for cell in line.split(" | ")))
    for path in sorted(TABLES.glob("*.txt"))
    for line in path.read_text(encoding="utf-8").splitlines()
]


def profile_named(name: str) -> Profile:
    return load_profile(shipped_text(name))


def outcome(name: str, request: str, body: str) -> str:
    """What comes of a request, as the tables write it; several sessions have ` + ` between them."""
    method, target = request.split(" ")
    profile = profile_named(name)
    headers = [] if body == "-" else [JSON if body.startswith("{") else URLENCODED]
    upgrade = method == "UPGRADE"
    one = head("GET" if upgrade else method, target, *headers, *([(b"upgrade", b"websocket")] if upgrade else []))
    classification = reader(profile).classify(one)
    if classification is None:
        return "pass"
    raw = b"" if body == "-" else body.encode()
    calls = classification.extract(raw if classification.needs_body else b"").calls
    if classification.after is not None and (refusal := calls[0].refusal) is not None:
        return f"pass {refusal.reason}"
    return " + ".join(map(written, calls))


def written(call: Call) -> str:
    """One call as the tables write it."""
    if call.refusal is not None:
        return f"refused {call.refusal.reason}"
    if call.reference is None:
        return "none"
    reference = call.reference
    variables = [f"{key}={value}" for key, value in reference.variables]
    return " ".join([reference.kind, reference.session_id, reference.user_id or "-", *reference.scope, *variables])


@pytest.mark.parametrize(("name", "request_line", "body", "expected"), ROWS)
def test_a_request_has_the_expected_reference(name: str, request_line: str, body: str, expected: str) -> None:
    """Each row of the tables gives the reference, the pass or the refusal that it names."""
    assert outcome(name, request_line, body) == unquote(expected)


@pytest.mark.parametrize("name", sorted({*shipped_profiles(), "generic"} - {"isa-platform"}))
def test_every_profile_has_at_least_twenty_rows(name: str) -> None:
    """Each shipped profile has at least twenty rows; `isa-platform` has those of `isa`."""
    assert len([row for row in ROWS if row[0] == name]) >= 20


def test_isa_platform_guards_what_isa_guards() -> None:
    """The two profiles differ in how the session service is called, and in nothing else."""
    isa, platform = find_profile("isa"), find_profile("isa-platform")
    for part in ("prefixes", "mcp", "owner", "places", "meta_tool", "rules"):
        assert getattr(platform, part) == getattr(isa, part)


@pytest.mark.parametrize("name", [*shipped_profiles(), "generic"])
def test_every_rule_can_match(name: str) -> None:
    """Each rule of a shipped profile is reachable, and each profile has its name and a summary."""
    profile = profile_named(name)
    assert profile.unreachable_rules() == []
    assert profile.name == name
    assert profile.summary
