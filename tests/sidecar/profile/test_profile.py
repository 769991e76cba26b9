"""How a profile is written, and what is said about one that cannot be used."""

# ruff: noqa: E501 # a message stays in one line, as it is printed

from __future__ import annotations

import re

import pytest

from sidecar.model import RuleKind
from sidecar.profile.loading import load_profile
from sidecar.profile.problems import ProfileError
from sidecar.profile.profile import MetaTool, Owner, Places, Profile
from sidecar.profile.rules import METHODS, PathRule, ToolRule, UpgradeRule
from sidecar.profile.templates import parse_template
from tests.support.reading import ADK, AGNO, ISA, LANGGRAPH

SMALLEST = """
name = "small"
prefixes = ["/Memories"]
owner = "none"
[session_service]
style = "put"
"""
KINDS = "one of 'ensure', 'require', 'pass', 'recover', 'forget'"
SCOPES = "lower-case letters, digits and _ are allowed, not session_id"
KEYS = "after_delete, id_grammar, ids, mcp, meta_tool, name, owner, prefixes, rules, scope, session_service, summary, variables"


def small(text: str = "", *, top: str = "") -> Profile:
    return load_profile(top + SMALLEST + text)


def complaint(text: str) -> str:
    with pytest.raises(ProfileError) as error:
        load_profile(text)
    return re.sub(r"^profile:\d+: ", "", str(error.value), flags=re.MULTILINE)


def test_the_smallest_profile() -> None:
    """A profile needs name, prefixes, owner and session service, and nothing else."""
    profile = small()
    assert (profile.name, profile.prefixes, profile.mcp) == ("small", (("memories",),), ())
    assert (profile.owner, profile.scope, profile.rules, profile.meta_tool) == (Owner.NONE, (), (), None)
    assert profile.places == {"session_id": Places(), "user_id": Places()}
    assert profile.methods == set()


def test_places_are_read_for_session_user_and_scope() -> None:
    """Each name has its own places, of four kinds."""
    profile = load_profile("""
    name = "x"
    prefixes = ["/a", "/b/c"]
    owner = "required"
    scope = ["app"]
    [ids.session_id]
    json = ["session_id", "context.session-id"]
    form = ["session_id"]
    query = ["sid"]
    header = ["X-Session-ID"]
    [ids.user_id]
    json = ["user"]
    [ids.app]
    query = ["app"]
    [session_service]
    style = "post"
    id_field = "id"
    owner_field = "user"
    look = { path = "/{session_id}", statuses = { found = [200] } }
    """)
    assert profile.prefixes == (("a",), ("b", "c"))
    assert list(profile.places) == ["session_id", "user_id", "app"]
    assert profile.places["session_id"] == Places(
        json=(("session_id",), ("context", "session-id")),
        form=("session_id",),
        query=("sid",),
        header=("x-session-id",),
    )
    assert profile.places["user_id"] == Places(json=(("user",),))
    assert profile.places["app"] == Places(query=("app",))


def test_rules_are_read_in_their_order() -> None:
    """Each of the three kinds of rule has its keys; without `methods` a rule means POST, PUT and PATCH."""
    profile = small("""
    [[rules]]
    kind = "ensure"
    methods = ["DELETE", "M-SEARCH"]
    paths = ["/memories/{session_id}", "/memories/**"]
    [[rules]]
    kind = "require"
    paths = ["/memories"]
    [[rules]]
    kind = "pass"
    tools = ["get_*", "x"]
    [[rules]]
    kind = "ensure"
    upgrade = true
    paths = ["/memories/*"]
    """)
    assert profile.rules == (
        PathRule(
            RuleKind.ENSURE,
            ("DELETE", "M-SEARCH"),
            (parse_template("/memories/{session_id}"), parse_template("/memories/**")),
        ),
        PathRule(RuleKind.REQUIRE, ("POST", "PUT", "PATCH"), (parse_template("/memories"),)),
        ToolRule(RuleKind.PASS, ("get_*", "x")),
        UpgradeRule(RuleKind.ENSURE, (parse_template("/memories/*"),)),
    )


def test_a_rule_is_written_in_one_line() -> None:
    """A rule is printed in one line that names its kind, methods and paths or tools."""
    rules = [str(rule) for rule in ISA.rules]
    assert rules[0] == "pass POST /api/v1/memories/session/{session_id}/deactivate"
    assert rules[1] == "ensure POST /api/v1/memories"
    assert rules[2].startswith("ensure POST|PUT|PATCH /api/v1/memories/session/{session_id}/** /api/v1/memories ")
    assert rules[3] == "pass tools get_* search_* list_*"
    assert rules[5].startswith("ensure upgrade /api/v1/memories/session/{session_id} ")


def test_methods_are_those_of_rules_that_guard() -> None:
    """The methods looked at are those of rules that guard, and the three writing ones where MCP is spoken."""
    rule = '[[rules]]\nkind = "{}"\nmethods = ["{}"]\npaths = ["/memories"]\n'
    assert small(rule.format("pass", "DELETE") + rule.format("ensure", "QUERY")).methods == {"QUERY"}
    assert small(rule.format("require", "QUERY"), top='mcp = ["/mcp"]\n').methods == {"QUERY", "POST", "PUT", "PATCH"}


def owned(owner: str, *, path: str = "/{session_id}", more: str = "") -> str:
    """A profile whose session service answers without an owner."""
    service = f'style = "post"\nid_field = "id"\n{more}\nlook = {{ path = "{path}", statuses = {{ found = [200] }} }}'
    return SMALLEST.replace('"none"', f'"{owner}"').replace('style = "put"', service)


def test_answers_tell_whose_a_session_is() -> None:
    """Without `owner_field` every user who asks would own the session, unless the look is about the user's own."""
    missing = "session_service: owner_field is missing"
    assert complaint(owned("optional", path="/{user_id}/{session_id}")).startswith(missing)
    assert complaint(owned("required")).startswith(missing)
    for text in (
        owned("none"),
        owned("required", path="/{user_id}/{session_id}"),
        owned("required", more='credentials = ["authorization"]'),
        owned("optional", more='owner_field = "user"'),
    ):
        assert load_profile(text)


def test_a_meta_tool_names_two_arguments() -> None:
    """`meta_tool` names the argument with the inner name and the one with the inner arguments."""
    assert small('[meta_tool]\nname = "tool"\narguments = "args"\n').meta_tool == MetaTool("tool", "args")
    assert ISA.meta_tool == MetaTool("tool_name", "parameters")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name =", "not TOML: Invalid value"),
        (SMALLEST.replace('name = "small"', ""), "name is missing: a string is needed"),
        (SMALLEST.replace('"small"', "1"), "name cannot be 1: a string is allowed"),
        (SMALLEST.replace('["/Memories"]', '"/m"'), "prefixes cannot be '/m': a list is allowed"),
        (SMALLEST.replace('["/Memories"]', "[1]"), "prefixes[0] cannot be 1: a string is allowed"),
        (
            SMALLEST.replace('"/Memories"', '"/a", "/{session_id}"'),
            "prefixes[1]: '/{session_id}' is not a prefix: only literal segments are allowed",
        ),
        (
            SMALLEST.replace("/Memories", "/a/**"),
            "prefixes[0]: '/a/**' is not a prefix: only literal segments are allowed",
        ),
        (
            SMALLEST.replace("/Memories", "m"),
            "prefixes[0]: 'm' is not a path template: it must start with / and have at least one segment",
        ),
        ('mcp = ["/*"]' + SMALLEST, "mcp[0]: '/*' is not a prefix: only literal segments are allowed"),
        (
            SMALLEST.replace('"none"', '"maybe"'),
            "owner cannot be 'maybe': one of 'required', 'optional', 'none' is allowed",
        ),
        (
            'scope = ["App"]' + SMALLEST,
            f"scope[0]: 'App' is not a name: {SCOPES}",
        ),
        (
            'scope = ["app", "app"]' + SMALLEST,
            "scope: a name stands there twice: different names are allowed",
        ),
        (
            'scope = ["session_id"]' + SMALLEST,
            f"scope[0]: 'session_id' is not a name: {SCOPES}",
        ),
        (
            'colour = "red"' + SMALLEST,
            f"colour is unknown: allowed here: {KEYS}",
        ),
        (SMALLEST + "[ids]\nsession_id = 1", "ids.session_id cannot be 1: a table is allowed"),
        (SMALLEST + "[ids.tenant]", "ids: tenant is unknown; allowed here: session_id, user_id"),
        (
            SMALLEST + "[ids.user_id]\ncookie = []",
            "ids.user_id.cookie is unknown: allowed here: default, form, header, json, query",
        ),
        (
            SMALLEST + '[ids.user_id]\njson = ["a..b"]',
            "ids.user_id.json[0]: 'a..b' is not a JSON path: field names with dots between them are allowed, each perhaps with [] behind",
        ),
        (
            SMALLEST + '[ids.user_id]\nform = ["ok", "a.b"]',
            "ids.user_id.form[1]: 'a.b' is not a field name: letters, digits, _ and - are allowed",
        ),
        (
            SMALLEST + '[ids.user_id]\nheader = ["a b"]',
            "ids.user_id.header[0]: 'a b' is not a field name: letters, digits, _ and - are allowed",
        ),
        (
            SMALLEST + '[ids.user_id]\nquery = [""]',
            "ids.user_id.query[0]: '' is not a field name: letters, digits, _ and - are allowed",
        ),
        (SMALLEST + '[meta_tool]\nname = "x"', "meta_tool.arguments is missing: a string is needed"),
        (
            SMALLEST + '[meta_tool]\nname = "x"\narguments = "y"\nz = 1',
            "meta_tool.z is unknown: allowed here: arguments, name",
        ),
        (SMALLEST + "[rules]", "rules cannot be {}: a list is allowed"),
        ("rules = [1]" + SMALLEST, "rules[0] cannot be 1: a table is allowed"),
        (SMALLEST + "[[rules]]", f"rules[0].kind is missing: {KINDS} is needed"),
        (
            SMALLEST + '[[rules]]\nkind = "deny"',
            f"rules[0].kind cannot be 'deny': {KINDS} is allowed",
        ),
        (SMALLEST + '[[rules]]\nkind = "pass"', "rules[0].paths is missing: a list is needed"),
        (SMALLEST + '[[rules]]\nkind = "pass"\npaths = [{}]', "rules[0].paths[0] cannot be {}: a string is allowed"),
        (
            SMALLEST + '[[rules]]\nkind = "pass"\npaths = ["/a"]\nmethods = ["post"]',
            f"rules[0].methods[0]: 'post' is not a method: {', '.join(sorted(METHODS))} are allowed",
        ),
        (
            SMALLEST + '[[rules]]\nkind = "pass"\npaths = ["/a/{thread}"]',
            "rules[0].paths[0]: {thread} is unknown; allowed here: session_id, user_id",
        ),
        (
            SMALLEST + '[[rules]]\nkind = "pass"\ntools = ["*"]\npaths = ["/a"]',
            "rules[0].paths is unknown: allowed here: kind, tools",
        ),
        (
            SMALLEST + '[[rules]]\nkind = "pass"\nupgrade = true\nmethods = ["GET"]\npaths = ["/a"]',
            "rules[0].methods is unknown: allowed here: kind, paths, upgrade",
        ),
        (
            SMALLEST + '[[rules]]\nkind = "pass"\npaths = ["/a"]\nwhen = "now"',
            "rules[0].when is unknown: allowed here: kind, methods, paths, says_missing, session_required_if",
        ),
        (
            SMALLEST + '[[rules]]\nkind = "pass"\nupgrade = "yes"\npaths = ["/a"]',
            "rules[0].upgrade cannot be 'yes': true is allowed",
        ),
        (SMALLEST + "[[rules]]\nkind = 3", f"rules[0].kind cannot be 3: {KINDS} is allowed"),
        (SMALLEST.replace('style = "put"', ""), "session_service.style is missing: one of 'put', 'post' is needed"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(text: str, said: str) -> None:
    """Each complaint says what is wrong, where, and what is allowed."""
    assert said in complaint(text).splitlines()


def test_every_mistake_is_named_at_once_with_its_line() -> None:
    """All mistakes are reported in the order of the text, each with its line and the nearest known key."""
    text = """name = "x"
prefixes = ["/a"]
owners = "none"
owner = "none"
[ids.user_id]
json = [
    "ok",
    "a..b",
]
[[rules]]
kind = "pass"
paths = ["/a"]
[[rules]]
kind = "ensure"
methods = ["POST",
           "FETCH"]
paths = ["/a/{thread}"]
[session_service]
style = "put"
"""
    with pytest.raises(ProfileError) as error:
        load_profile(text, "mine.toml")
    assert [line.split()[:2] for line in str(error.value).splitlines()] == [
        ["mine.toml:3:", "owners"],
        ["mine.toml:8:", "ids.user_id.json[1]:"],
        ["mine.toml:16:", "rules[1].methods[1]:"],
        ["mine.toml:17:", "rules[1].paths[0]:"],
    ]
    assert "owners is unknown: did you mean owner? allowed here:" in str(error.value)


def test_a_text_that_is_no_toml_is_named_with_its_line() -> None:
    """A TOML error is reported alone, with its line, since what follows it is not read."""
    with pytest.raises(ProfileError) as error:
        load_profile('name = "x"\nowner = = "y"\n', "mine.toml")
    assert str(error.value) == "mine.toml:2: not TOML: Invalid value at column 9"


def test_rules_know_their_lines() -> None:
    """A rule has the number of its first line."""
    rules = '[[rules]]\nkind = "pass"\npaths = ["/a"]\n\n[[rules]]\nkind = "pass"\ntools = ["a"]\n'
    profile = load_profile(SMALLEST + rules)
    assert [rule.line for rule in profile.rules] == [7, 11]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('kind = "recover"\npaths = ["/a"]', "rules[0]: says_missing is needed where the kind is recover"),
        (
            'kind = "pass"\npaths = ["/a"]\nsays_missing = { status = 404, at = "/d", null = true }',
            "rules[0]: says_missing is needed where the kind is recover",
        ),
        (
            'kind = "ensure"\npaths = ["/a"]\nsession_required_if = { at = "d", null = true }',
            "rules[0].session_required_if.at: 'd' is not a JSON Pointer",
        ),
        (
            'kind = "ensure"\npaths = ["/a"]\nsession_required_if = { at = "/d" }',
            "rules[0].session_required_if: exactly one of equals, contains and null = true",
        ),
        (
            'kind = "recover"\npaths = ["/a"]\nsays_missing = { status = 404, at = "/d", contains = "{x}" }',
            "rules[0].says_missing: {x} is unknown",
        ),
        (
            'kind = "recover"\npaths = ["/a"]\nsays_missing = { status = 99, at = "/d", null = true }',
            "rules[0].says_missing.status cannot be 99: a status from 100 to 599",
        ),
        ('kind = "recover"\ntools = ["a"]', "rules[0].kind cannot be 'recover': one of 'ensure', 'require', 'pass'"),
        ('kind = "pass"\npaths = []', "rules[0].paths cannot be empty"),
    ],
)
def test_a_condition_that_cannot_be_met_is_an_error(rule: str, said: str) -> None:
    """A condition on a body is checked when the profile is read."""
    assert complaint(SMALLEST + "[[rules]]\n" + rule).startswith(said)


def test_the_profiles_of_the_tests_have_no_dead_rule() -> None:
    """Each rule of the profiles that tests use can match, so that none tests nothing."""
    for profile in (ISA, ADK, LANGGRAPH, AGNO):
        assert profile.unreachable_rules() == []


def test_isa_guards_what_the_contract_says() -> None:
    """`isa` has the prefixes, places, owner and methods of the contract."""
    assert (ISA.name, ISA.owner, ISA.scope) == ("isa", Owner.REQUIRED, ())
    assert ISA.prefixes == (("api", "v1", "memories"),)
    assert ISA.mcp == (("mcp",),)
    assert ISA.methods == {"POST", "PUT", "PATCH"}
    ids = (("session_id",), ("context", "session_id"), ("metadata", "session_id"))
    assert ISA.places["session_id"] == Places(json=ids, form=("session_id",), query=("session_id",))
    users = (("user_id",), ("context", "user_id"))
    assert ISA.places["user_id"] == Places(json=users, form=("user_id",), query=("user_id",))
