"""Rules that can never match are found before a request falls through them."""

from __future__ import annotations

import pytest

from sidecar.profile.loading import load_profile

SHADOWED = "everything it matches falls to "
OUTSIDE = "its paths lie outside the guarded prefixes"
NO_MCP = "the profile names no path where MCP is spoken"
MCP_ONLY = "MCP is spoken at its paths, where only rules for tools are asked"


def unreachable(*rules: str, mcp: str = '["/mcp"]') -> list[str]:
    """What is found in a profile with these rules, each a line of TOML; all of them pass."""
    text = "".join(f'[[rules]]\nkind = "pass"\n{rule}\n' for rule in rules)
    found = load_profile(f"""
    name = "x"
    prefixes = ["/a", "/b"]
    mcp = {mcp}
    owner = "none"
    {text}
    [session_service]
    style = "put"
    """).unreachable_rules()
    return [line.partition(": ")[2] for line in found]


@pytest.mark.parametrize(
    "rules",
    [
        ['paths = ["/a/**"]', 'paths = ["/b/**"]'],
        ['paths = ["/a/{session_id}"]', 'paths = ["/a/**"]'],
        ['paths = ["/a/x"]\nmethods = ["POST"]', 'paths = ["/a/x"]\nmethods = ["PUT"]'],
        ['paths = ["/a/x"]', 'paths = ["/a/x", "/a/y"]'],
        ['paths = ["/**"]'],
        ['paths = ["/*/x"]'],
        ['paths = ["/c", "/a"]'],
        ['paths = ["/mcp", "/a"]'],
        ['paths = ["/mcp/**"]\nupgrade = true'],
        ['paths = ["/a"]', 'paths = ["/a"]\nupgrade = true'],
        ['paths = ["/a"]\nupgrade = true', 'paths = ["/a"]'],
        ['paths = ["/a"]\nupgrade = true', 'paths = ["/a", "/b"]\nupgrade = true'],
        ['tools = ["get_*"]', 'tools = ["*"]'],
        ['tools = ["get_*"]', 'tools = ["get_*", "x"]'],
        ['tools = ["a"]', 'paths = ["/a"]'],
    ],
)
def test_rules_that_can_match(rules: list[str]) -> None:
    """A rule that takes only a part of a later rule's requests does not shadow it."""
    assert unreachable(*rules) == []


@pytest.mark.parametrize(
    ("rules", "finding"),
    [
        (['paths = ["/a/**"]', 'paths = ["/a/x"]'], f"pass POST|PUT|PATCH /a/x: {SHADOWED}"),
        (['paths = ["/a/{session_id}"]', 'paths = ["/A/x"]'], f"pass POST|PUT|PATCH /A/x: {SHADOWED}"),
        (['paths = ["/a", "/b"]', 'paths = ["/b"]\nmethods = ["PUT"]'], f"pass PUT /b: {SHADOWED}"),
        (['paths = ["/c"]'], f"pass POST|PUT|PATCH /c: {OUTSIDE}"),
        (['paths = ["/c/**"]\nupgrade = true'], f"pass upgrade /c/**: {OUTSIDE}"),
        (['paths = ["/mcp/x", "/mcp"]'], f"pass POST|PUT|PATCH /mcp/x /mcp: {MCP_ONLY}"),
        (['paths = ["/mcp/**", "/c"]'], f"pass POST|PUT|PATCH /mcp/** /c: {MCP_ONLY}"),
        (
            ['paths = ["/a/**"]\nupgrade = true', 'paths = ["/a/x"]\nupgrade = true'],
            f"pass upgrade /a/x: {SHADOWED}",
        ),
        (['tools = ["*"]', 'tools = ["get_*", "x"]'], f"pass tools get_* x: {SHADOWED}"),
    ],
)
def test_rules_that_cannot(rules: list[str], finding: str) -> None:
    """Each rule that can never match is named with the reason."""
    (found,) = unreachable(*rules)
    assert found.startswith(finding)


def test_several_rules_may_shadow_one_together() -> None:
    """A rule is shadowed where each of its methods and paths falls to some earlier rule."""
    rules = [
        'paths = ["/a/x"]\nmethods = ["POST"]',
        'paths = ["/a/*"]\nmethods = ["PUT"]',
        'paths = ["/a/x"]\nmethods = ["POST", "PUT"]',
    ]
    shadows = "`pass POST /a/x` (line 6) and `pass PUT /a/*` (line 10) before it"
    assert unreachable(*rules) == [f"pass POST|PUT /a/x: {SHADOWED}{shadows}"]
    shadows = "`pass tools a` (line 6) and `pass tools b` (line 9) before it"
    found = unreachable('tools = ["a"]', 'tools = ["b"]', 'tools = ["a", "b"]')
    assert found == [f"pass tools a b: {SHADOWED}{shadows}"]


def test_a_repeated_rule_is_reported_once() -> None:
    """Of two equal rules the second alone is reported."""
    assert unreachable('paths = ["/a"]', 'paths = ["/a"]') == [
        f"pass POST|PUT|PATCH /a: {SHADOWED}`pass POST|PUT|PATCH /a` (line 6) before it"
    ]


def test_tools_without_mcp_are_never_called() -> None:
    """A rule for tools can never match in a profile without an MCP path."""
    assert unreachable('tools = ["*"]', mcp="[]") == [f"pass tools *: {NO_MCP}"]


def test_findings_come_in_the_order_of_the_rules() -> None:
    """Findings come in the order of the rules in the profile."""
    found = unreachable('paths = ["/c"]', 'tools = ["*"]', 'paths = ["/d"]', mcp="[]")
    assert [line.partition(":")[2].strip() for line in found] == [OUTSIDE, NO_MCP, OUTSIDE]
