"""MCP messages by the `isa` profile: which calls refer to a session, and to whom a refusal answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.model import (
    NOTIFICATION,
    Call,
    Extraction,
    Reason,
    Refusal,
    RefusalFormat,
)
from tests.support.mcp import BOTH, REFERENCE, STORE, call, mcp, reason
from tests.support.reading import JSON, URLENCODED, Plan, head, only, reader, tool


@pytest.mark.parametrize("target", ["/mcp", "/mcp/", "/mcp/x", "/MCP", "/mcp?x=y", "http://h/mcp", "/%6dcp"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_mcp_is_spoken_below_its_path(target: str, method: str) -> None:
    """A request below the MCP path is refused as JSON-RPC, with every method."""
    assert reader().plan(head(method, target)) == Plan(RefusalFormat.RPC, needs_body=True)


def test_a_tool_call_refers_to_the_session_in_its_arguments() -> None:
    """The reference is that of the arguments, and the call keeps its id."""
    assert call(tool(STORE, BOTH)) == Call(REFERENCE, rpc_id=7)
    assert call(tool(STORE, {"context": BOTH})) == Call(REFERENCE, rpc_id=7)
    assert call(tool(STORE, {**BOTH, "content": "你好"}), JSON) == Call(REFERENCE, rpc_id=7)


@pytest.mark.parametrize("name", ["store", "delete_session", "getx", "Get_x", " get_x", "xget_", "", "list"])
def test_every_other_tool_that_carries_a_session_is_guarded(name: str) -> None:
    """A tool of any name that carries a session id is guarded."""
    assert call(tool(name, BOTH)).reference == REFERENCE


@pytest.mark.parametrize("name", ["get_session_context", "search_memories", "list_x", "get_"])
def test_reading_tools_pass(name: str) -> None:
    """The arguments of `get_*`, `search_*` and `list_*` are not read."""
    assert call(tool(name, BOTH)) == Call(rpc_id=7)
    assert call(tool(name, {"session_id": 1})) == Call(rpc_id=7)
    twice = b'{"method":"tools/call","id":7,"params":{"name":"%s","arguments":{"session_id":"a","session_id":"b"}}}'
    assert call(twice % name.encode()) == Call(rpc_id=7)


@pytest.mark.parametrize(
    "message",
    [
        {"method": "tools/list", "id": 7}, {"method": "initialize", "id": 7, "params": BOTH}, {"id": 7},
        {"method": 1, "id": 7},
        {"method": "tools/call", "id": 7}, tool(STORE, None), tool(STORE, []), tool(STORE, "x"),
        tool(STORE, {"user_id": "u1"}),
        {"method": "tools/call", "id": 7, "params": [BOTH]},
        {"method": "Tools/Call", "id": 7, "params": {"arguments": BOTH}},
    ],
)  # fmt: skip
def test_other_messages_have_nothing_to_guard(message: object) -> None:
    """A message that is no tool call passes, and keeps its id."""
    assert call(message) == Call(rpc_id=7)


@pytest.mark.parametrize("body", [b"1", b'"tools/call"', b"null", b"true"])
def test_what_is_no_message_passes(body: bytes) -> None:
    """JSON that is no message passes, for the memory service to refuse."""
    assert call(body) == Call()


def test_an_empty_body_passes() -> None:
    """An empty body refers to no session."""
    assert mcp(b"") == Extraction(RefusalFormat.RPC, (Call(),))


@pytest.mark.parametrize(
    "body", [b"x", b"{", b"session_id=s1", b'{"a":NaN}', b"\xef\xbb\xbf{}", b"{}{}", b"--XX--\r\n"]
)
@pytest.mark.parametrize("headers", [[JSON], [], [URLENCODED]])
def test_an_unreadable_body_answers_nobody(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """A body that is no JSON, a form included, is refused without an id."""
    found = call(body, *headers)
    assert found.refusal is not None
    assert (found.refusal.reason, found.rpc_id) == (Reason.UNREADABLE_BODY, None)


def test_the_content_type_must_be_clear_here_too() -> None:
    """An unclear content type is refused, even if the body is JSON."""
    assert reason(tool(STORE, BOTH), JSON, JSON) is Reason.UNREADABLE_BODY
    assert reason(tool(STORE, BOTH), (b"content-type", b"application/json; charset=utf-7")) is Reason.UNREADABLE_BODY
    assert call(tool(STORE, BOTH), URLENCODED).reference == REFERENCE


@pytest.mark.parametrize(
    ("written", "rpc_id"),
    [('"x"', "x"), ("0", 0), ("1.5", 1.5), ("-3", -3), ('""', ""), ("null", None), ("true", None), ("[]", None),
    ("{}", None)],
)  # fmt: skip
def test_a_call_is_answered_under_its_own_id(written: str, rpc_id: object) -> None:
    """An id that is a string or a number is repeated, and no other value is."""
    body = json.dumps(tool(STORE, BOTH, call_id="@")).replace('"@"', written).encode()
    found = call(body)
    assert found == Call(REFERENCE, rpc_id=rpc_id)  # type: ignore[arg-type]  # the parameters hold nothing else
    assert type(found.rpc_id) is type(rpc_id)


@pytest.mark.parametrize("rpc_id", [10**25, -(10**25), 12345678901234567890123, 2**64])
def test_an_id_that_cannot_be_repeated_exactly_is_not_repeated(rpc_id: int) -> None:
    """An integer of more than 64 bits comes out of the reader rounded, by either extraction: it counts as unread."""
    body = json.dumps(tool(STORE, BOTH, call_id=rpc_id)).encode()
    assert call(body) == Call(REFERENCE, rpc_id=None)
    assert call(body.replace(b'"session_id"', b'"session\\u005fid"')) == Call(REFERENCE, rpc_id=None)


def test_a_notification_is_guarded_and_not_answered() -> None:
    """A call without an id is guarded as a notification."""
    assert call(tool(STORE, BOTH, call_id=...)) == Call(REFERENCE, rpc_id=NOTIFICATION)
    refused = call(tool(STORE, {"session_id": "s1"}, call_id=...))
    assert refused.rpc_id is NOTIFICATION
    assert refused.refusal == Refusal(
        Reason.USER_ID_REQUIRED, "A session has an owner, and the request names no user.", "s1"
    )


def test_a_response_is_not_answered() -> None:
    """An answer to the server's own request expects no answer."""
    assert call({"id": 5, "result": {}}) == Call(rpc_id=NOTIFICATION)
    assert call({"id": 5, "error": {}}) == Call(rpc_id=NOTIFICATION)
    assert call({"id": 5, "result": {}, "method": "ping"}) == Call(rpc_id=5)


def test_a_call_names_one_session_and_its_owner() -> None:
    """The rules are those of REST, and a refusal has the id of the call."""
    two = tool(STORE, {**BOTH, "context": {"session_id": "s2"}})
    assert call(two) == Call(
        refusal=Refusal(Reason.AMBIGUOUS_SESSION, "The request names more than one session id."), rpc_id=7
    )
    assert reason(tool(STORE, {"session_id": "s1"})) is Reason.USER_ID_REQUIRED
    assert reason(tool(STORE, {**BOTH, "session_id": 1})) is Reason.INVALID_SESSION_ID
    assert reason(tool(STORE, {**BOTH, "user_id": "a b"})) is Reason.INVALID_USER_ID
    assert reason(tool(STORE, BOTH), id_format="uuid") is Reason.INVALID_SESSION_ID


def test_the_user_may_stand_in_the_query() -> None:
    """The user in the arguments and the one in the query must agree."""
    assert call(tool(STORE, {"session_id": "s1"}), target="/mcp?user_id=u1").reference == REFERENCE
    assert reason(tool(STORE, BOTH), target="/mcp?user_id=u2") is Reason.AMBIGUOUS_SESSION


def test_a_session_in_the_query_is_only_compared() -> None:
    """A session in the query names none by itself, and must agree with the call's own."""
    assert call(tool(STORE, {"user_id": "u1"}), target="/mcp?session_id=s9") == Call(rpc_id=7)
    assert call(tool(STORE, BOTH), target="/mcp?session_id=s1").reference == REFERENCE
    assert reason(tool(STORE, BOTH), target="/mcp?session_id=s9") is Reason.AMBIGUOUS_SESSION


def test_a_query_in_doubt_is_refused_under_the_calls_own_id() -> None:
    """An ambiguous query is refused under the id of the call; other messages pass."""
    target = "/mcp?user_id=u1&user_id=u1"
    found = call(tool(STORE, BOTH), target=target)
    assert found.refusal is not None
    assert (found.refusal.reason, found.rpc_id) == (Reason.AMBIGUOUS_SESSION, 7)
    assert call({"method": "ping", "id": 7}, target=target) == Call(rpc_id=7)
    assert call(tool("get_x", BOTH), target=target) == Call(rpc_id=7)


def test_headers_of_mcp_name_no_session_and_decide_nothing() -> None:
    """`Mcp-Session-Id`, `Mcp-Name` and `Mcp-Method` are not read."""
    headers = [
        (b"mcp-session-id", b"t1"),
        (b"mcp-method", b"ping"),
        (b"mcp-name", b"get_x"),
        (b"mcp-param-session_id", b"s2"),
    ]
    assert call(tool(STORE, BOTH), *headers).reference == REFERENCE
    assert call(tool("get_x", BOTH), (b"mcp-name", STORE.encode())) == Call(rpc_id=7)


def test_the_gateways_header_names_the_owner_of_every_call() -> None:
    """The user header names the owner of each call, as over REST."""
    settings = {"user_header": "x-user"}
    assert call(tool(STORE, {"session_id": "s1"}), (b"x-user", b"u1"), **settings).reference == REFERENCE
    assert reason(tool(STORE, BOTH), (b"x-user", b"u2"), **settings) is Reason.SESSION_OWNED_BY_ANOTHER_USER
    assert reason(tool(STORE, BOTH), **settings) is Reason.USER_ID_REQUIRED


def test_only_names_that_could_be_names_are_remembered() -> None:
    """The number of remembered tool names is bounded."""
    one = reader()
    for length, remembered in ((255, 1), (256, 2), (257, 2), (5000, 2), (255, 2)):
        body = json.dumps(tool("x" * length, BOTH)).encode()
        assert only(one.read(head("POST", "/mcp"), body)).reference == REFERENCE
        assert one.extractor._mcp._kind_of.cache_info().currsize == remembered


def test_a_very_long_tool_name_is_judged_like_any_other() -> None:
    """A very long tool name is judged by the rules and not remembered."""
    assert call(tool("get_" + "x" * 300, BOTH)).reference is None
    assert call(tool("store" + "x" * 300, BOTH)).reference == REFERENCE
    assert call(tool(None, BOTH)).reference == REFERENCE
    assert call(tool(["get_x"], BOTH)).reference == REFERENCE


@pytest.mark.parametrize("key", ["session_id", "user_id", "context", "arguments", "params", "id", "name", "method"])
def test_a_key_with_a_nul_stands_beside_none_of_the_watched_ones(key: str) -> None:
    """A key that ends in NUL is ambiguous beside the watched one, for readers of C strings."""
    message = tool(STORE, {**BOTH, "context": {}})
    level: Any = message if key in message else message["params"]
    level = level if key in level else level["arguments"]
    for spelling in (f"{key}\0", f"{key}\0x", f"\0{key}"):
        level[spelling] = "other"
        assert reason(message) is Reason.AMBIGUOUS_SESSION
        del level[spelling]
    assert call(message).reference == REFERENCE


def test_a_method_with_a_nul_is_no_other_method() -> None:
    """A method that ends in NUL is refused, because readers of C strings take it for a call."""
    assert reason({**tool(STORE, BOTH), "method": "tools/call\0"}) is Reason.UNREADABLE_BODY
    assert call({**tool(STORE, BOTH), "method": "tools/list\0"}).refusal is None


@pytest.mark.parametrize("mark", ["\ufeff", "\0", " \ufeff"])
def test_arguments_in_a_string_behind_a_mark_are_refused(mark: str) -> None:
    """A string of arguments behind a byte order mark is refused, because some readers drop the mark."""
    text = mark + json.dumps(BOTH)
    assert reason(tool(STORE, text)) is Reason.UNREADABLE_BODY
