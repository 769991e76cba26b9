"""Requests by profiles unlike `isa`: scoped ids, ids in headers and forms, sessions that nobody owns."""

from __future__ import annotations

import json

import pytest

from sidecar.model import Call, Extraction, Reason, Reference, Refusal, RefusalFormat, RuleKind
from sidecar.profile.loading import load_profile
from tests.support.reading import (
    ADK,
    AGNO,
    JSON,
    LANGGRAPH,
    MULTIPART,
    SERVICE,
    URLENCODED,
    Plan,
    fields,
    found,
    head,
    multipart,
    read,
    reader,
    reason,
    refused,
    tool,
)

RUN = {"app_name": "a1", "user_id": "u1", "session_id": "s1"}
SCOPED = Reference("s1", "u1", RuleKind.REQUIRE, ("a1", "u1"))
SESSION = (b"x-session-id", b"s1")
USER = (b"x-user-id", b"u1")
UPGRADE = (b"upgrade", b"websocket")


def test_a_session_may_be_told_apart_by_its_scope() -> None:
    """The same session id under another application is another session."""
    reference = found(RUN, target="/run", profile=ADK)
    assert reference == SCOPED
    assert reference is not None
    assert reference.key == ("a1", "u1", "s1")


@pytest.mark.parametrize(
    "body", [{"appName": "a1", "userId": "u1", "sessionId": "s1"}, {**RUN, "sessionId": "s1", "appName": "a1"}]
)
def test_a_name_may_have_several_spellings(body: object) -> None:
    """Any of the spellings of a name is read, and all that a request uses must agree."""
    assert found(body, target="/run_sse", profile=ADK) == SCOPED


def test_spellings_that_differ_are_ambiguous() -> None:
    """Two spellings with different values are refused, for the session, the user and the scope alike."""
    detail = "The request names more than one {}."
    assert refused({**RUN, "sessionId": "s2"}, target="/run", profile=ADK).detail == detail.format("session id")
    assert refused({**RUN, "userId": "u2"}, target="/run", profile=ADK).detail == detail.format("user id")
    assert refused({**RUN, "appName": "a2"}, target="/run", profile=ADK).detail == detail.format("app")
    assert reason({**RUN, "appName": "a2"}, target="/run", profile=ADK) is Reason.AMBIGUOUS_SESSION


def test_scope_and_user_may_stand_in_the_path() -> None:
    """The reference takes scope and user from the path and the session from the body."""
    body = {"session_id": "s1"}
    assert found(body, target="/apps/a1/users/u1/memory", method="PATCH", profile=ADK) == SCOPED
    ensured = found(b"", target="/apps/a1/users/u1/sessions/s1/artifacts", profile=ADK)
    assert ensured == Reference("s1", "u1", RuleKind.ENSURE, ("a1", "u1"))
    conflict = {"session_id": "s1", "app_name": "a2"}
    assert reason(conflict, target="/apps/a1/users/u1/memory", method="PATCH", profile=ADK) is Reason.AMBIGUOUS_SESSION


def test_a_scope_must_be_named_and_safe() -> None:
    """A write without its scope, or with one outside the grammar, is refused."""
    missing = {"user_id": "u1", "session_id": "s1"}
    detail = "A session id is told apart by app, and none is named."
    assert refused(missing, target="/run", profile=ADK) == Refusal(Reason.INVALID_SESSION_ID, detail, "s1")
    assert refused({**RUN, "app_name": "a b"}, target="/run", profile=ADK) == Refusal(
        Reason.INVALID_SESSION_ID, "The app is not 1 to 255 characters of A-Z a-z 0-9 . _ ~ : @ | + = -.", "s1"
    )
    assert refused({**RUN, "app_name": 5}, target="/run", profile=ADK) == Refusal(
        Reason.INVALID_SESSION_ID, "The app must be a string.", "s1"
    )


def test_a_scope_stays_opaque_where_ids_are_uuids() -> None:
    """`SIDECAR_ID_FORMAT=uuid` constrains session and user ids, not the parts of a scope."""
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    body = {"app_name": "a1", "user_id": uuid, "session_id": uuid}
    assert found(body, target="/run", profile=ADK, id_format="uuid") == Reference(
        uuid, uuid, RuleKind.REQUIRE, ("a1", uuid)
    )


def test_the_gateway_names_the_user_in_the_scope_too() -> None:
    """With a user header, the user in the scope is the owner that the header names."""
    body = {"app_name": "a1", "session_id": "s1"}
    assert found(body, (b"x-user", b"u1"), target="/run", profile=ADK, user_header="x-user") == SCOPED


def test_other_methods_of_a_scoped_path_pass() -> None:
    """A request passes whose method no rule names."""
    assert reader(ADK).plan(head("POST", "/apps/a1/users/u1/memory")) is None
    assert reader(ADK).plan(head("PUT", "/run")) is None
    assert reader(ADK).plan(head("POST", "/apps/a1")) is None


def test_a_session_may_belong_to_nobody() -> None:
    """Where sessions have no owner, the reference names no user, and no user is asked for."""
    assert found(b"", target="/threads/t1/state", profile=LANGGRAPH) == Reference("t1", None)
    assert found(
        b"", (b"x-user", b"u"), target="/threads/t1/runs/x", profile=LANGGRAPH, user_header="x-user"
    ) == Reference("t1", None)


def test_where_only_the_path_matters_the_body_streams_through() -> None:
    """No body is read where nothing in it could change the decision."""
    plan = reader(LANGGRAPH).plan(head("POST", "/threads/t1/runs", JSON))
    assert plan == Plan(RefusalFormat.REST, needs_body=False)
    assert reader(LANGGRAPH).read(head("POST", "/threads/t1/runs", JSON), b"{") == Extraction(
        RefusalFormat.REST, (Call(Reference("t1", None)),)
    )


def test_an_id_in_the_path_is_in_the_grammar() -> None:
    """An id in the path is refused outside the grammar, under every profile."""
    assert reason(b"", target="/threads/a%20b/state", profile=LANGGRAPH) is Reason.INVALID_SESSION_ID
    assert reason(b"", target="/threads/a%2Fb/state", profile=LANGGRAPH) is Reason.AMBIGUOUS_PATH
    assert found(b"", UPGRADE, target="/threads/t1/stream", method="GET", profile=LANGGRAPH) == Reference("t1", None)


@pytest.mark.parametrize("target", ["/threads", "/threads/search", "/threads/t1", "/threads/t1/history"])
def test_what_no_rule_is_about_passes(target: str) -> None:
    """A request that no rule matches passes, the creation of a thread included."""
    assert reader(LANGGRAPH).plan(head("POST", target)) is None


def test_ids_may_stand_in_headers() -> None:
    """An id is read from a header that the profile names."""
    assert found(b"", SESSION, USER, target="/agents/a/runs", profile=AGNO) == Reference("s1", "u1")
    assert found(b"", (b"x-session-id", b" s1\t"), USER, target="/agents/a/runs", profile=AGNO) == Reference("s1", "u1")
    form = multipart(*fields(session_id="s1", user_id="u1"))
    assert found(form, MULTIPART, SESSION, USER, target="/agents/a/runs", profile=AGNO) == Reference("s1", "u1")
    assert (
        reason(b"session_id=s2", URLENCODED, SESSION, USER, target="/agents/a/runs", profile=AGNO)
        is Reason.AMBIGUOUS_SESSION
    )


@pytest.mark.parametrize("name", [b"x-session-id", b"x_session_id", b"x.session.id", b"X!Session!Id"])
def test_a_header_and_its_look_alikes_are_one(name: bytes) -> None:
    """Header names that servers turn into the same variable are read as one, which may be there once."""
    target = "/agents/a/runs"
    assert reason(b"", SESSION, (name, b"s2"), USER, target=target, profile=AGNO) is Reason.AMBIGUOUS_SESSION
    assert reason(b"", SESSION, (name, b"s1"), USER, target=target, profile=AGNO) is Reason.AMBIGUOUS_SESSION
    assert found(b"", (name, b"s1"), USER, target=target, profile=AGNO) == Reference("s1", "u1")


@pytest.mark.parametrize("value", [b"", b"a,b", b"\xe9", b"\xa0s1", b"s1\x85"])
def test_an_id_in_a_header_is_in_the_grammar(value: bytes) -> None:
    """An id in a header is refused outside the grammar; an empty one is refused too."""
    assert (
        reason(b"", (b"x-session-id", value), USER, target="/agents/a/runs", profile=AGNO) is Reason.INVALID_SESSION_ID
    )


def test_an_id_in_a_header_is_kept_as_it_is() -> None:
    """An id in a header keeps its bytes; only the white space around it is removed."""
    assert found(b"", (b"x-session-id", b"XsX"), USER, target="/agents/a/runs", profile=AGNO) == Reference("XsX", "u1")


def test_a_name_may_have_no_place_in_the_query() -> None:
    """A query field counts only where the profile gives the name a place in the query."""
    profile = load_profile(
        """
        name = "x"
        prefixes = ["/a"]
        owner = "required"
        ids.session_id.query = ["sid"]
        ids.user_id.header = ["user"]
        rules = [{ kind = "ensure", paths = ["/a"] }]
        """
        + SERVICE
    )
    assert found(b"", (b"user", b"u1"), target="/a?sid=s1&user_id=u2", profile=profile) == Reference("s1", "u1")


def test_only_what_the_profile_names_is_an_id() -> None:
    """Fields that the profile does not name carry no id; the body must be readable all the same."""
    body = {"session_id": "s1", "user_id": "u1"}
    assert found(body, target="/agents/a/runs?session_id=s1", profile=AGNO) is None
    assert reason(b"{", target="/agents/a/runs", profile=AGNO) is Reason.UNREADABLE_BODY


def test_a_header_names_the_session_of_a_tool_call() -> None:
    """A header that the profile names gives a tool call its session; the rule of the tool gives the kind."""
    reading = read(tool("check_x", {}), SESSION, USER, target="/tools", profile=AGNO)
    assert reading.calls == (Call(Reference("s1", "u1", RuleKind.REQUIRE), rpc_id=7),)
    reading = read(tool("make_x", {}), SESSION, USER, target="/tools", profile=AGNO)
    assert reading.calls == (Call(Reference("s1", "u1", RuleKind.ENSURE), rpc_id=7),)


def test_of_a_call_and_what_it_wraps_the_stronger_wish_counts() -> None:
    """If one of them that names the session wants it made, it is made; one that names none has no say."""
    profile = load_profile(
        """
        name = "x"
        prefixes = ["/a"]
        mcp = ["/mcp"]
        owner = "none"
        ids.session_id.json = ["sid"]
        meta_tool = { name = "tool", arguments = "args" }
        rules = [{ kind = "require", tools = ["check"] }, { kind = "ensure", tools = ["make"] }]
        """
        + SERVICE
    )

    def kind(name: str, arguments: object) -> RuleKind | None:
        (call,) = read(tool(name, arguments), target="/mcp", profile=profile).calls
        assert call.refusal is None
        return call.reference.kind if call.reference else None

    inner = {"sid": "s"}
    assert kind("make", {"sid": "s", "tool": "check", "args": inner}) is RuleKind.ENSURE
    assert kind("check", {"sid": "s", "tool": "make", "args": inner}) is RuleKind.ENSURE
    assert kind("check", {"sid": "s", "tool": "make", "args": {}}) is RuleKind.REQUIRE
    assert kind("make", {"tool": "check", "args": inner}) is RuleKind.REQUIRE
    assert kind("check", {"sid": "s"}) is RuleKind.REQUIRE
    assert kind("other", {"sid": "s"}) is None
    assert kind("other", {"sid": "t", "tool": "make", "args": inner}) is RuleKind.ENSURE


def test_a_place_may_lie_deep() -> None:
    """Objects on the way to a place may be written as strings in tool calls, and must be objects in REST bodies."""
    profile = load_profile(
        """
        name = "x"
        prefixes = ["/a"]
        mcp = ["/mcp"]
        owner = "none"
        ids.session_id.json = ["a.b.sid", "a.sid"]
        rules = [{ kind = "ensure", paths = ["/a"] }, { kind = "ensure", tools = ["*"] }]
        """
        + SERVICE
    )
    nested = {"a": {"b": {"sid": "s1"}, "sid": "s1", "x": {"sid": "s9"}}, "sid": "s9"}
    written = {"a": json.dumps({"b": json.dumps({"sid": "s1"})})}
    assert found(nested, target="/a", profile=profile) == Reference("s1", None)
    assert found(written, target="/a", profile=profile) is None
    for arguments in (nested, written):
        assert read(tool("x", arguments), target="/mcp", profile=profile).calls == (
            Call(Reference("s1", None), rpc_id=7),
        )
    assert reason({"a": {"b": {"sid": "s1"}, "sid": "s2"}}, target="/a", profile=profile) is Reason.AMBIGUOUS_SESSION
    assert reason(b'{"a":{"b":{"sid":"s1"},"b":{}}}', target="/a", profile=profile) is Reason.AMBIGUOUS_SESSION


def test_without_a_meta_tool_nothing_is_wrapped() -> None:
    """Without `meta_tool` in the profile, arguments of those names wrap no call."""
    message = tool("check_x", {"tool_name": "make_x", "parameters": {"session_id": "s2"}})
    assert read(message, SESSION, USER, target="/tools", profile=AGNO).calls == (
        Call(Reference("s1", "u1", RuleKind.REQUIRE), rpc_id=7),
    )


def test_a_rule_may_pass_an_upgrade() -> None:
    """The first upgrade rule that matches decides, as for requests."""
    profile = load_profile(
        """
        name = "x"
        prefixes = ["/a"]
        owner = "none"
        [[rules]]
        kind = "pass"
        upgrade = true
        paths = ["/a/{session_id}/log"]
        [[rules]]
        kind = "require"
        upgrade = true
        paths = ["/a/{session_id}/*"]
        """
        + SERVICE
    )
    assert reader(profile).plan(head("GET", "/a/s1/log", UPGRADE)) is None
    for spelled in ("/a/s1/LOG", "/A/s1/log"):
        reference = found(b"", UPGRADE, target=spelled, method="GET", profile=profile)
        assert reference == Reference("s1", None, RuleKind.REQUIRE)
    assert found(b"", UPGRADE, target="/a/s1/chat", method="GET", profile=profile) == Reference(
        "s1", None, RuleKind.REQUIRE
    )
    assert reader(profile).plan(head("GET", "/a/s1", UPGRADE)) is None
    assert reader(profile).plan(head("GET", "/b/s1/chat", UPGRADE)) is None


def test_without_rules_for_upgrades_none_is_looked_at() -> None:
    """Without upgrade rules every upgrade passes, one with an ambiguous path included."""
    assert reader(ADK).plan(head("GET", "/run/../run", UPGRADE)) is None
