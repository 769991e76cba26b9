"""MCP batches, meta-tools and doubtful messages by the `isa` profile."""

from __future__ import annotations

import json

import pytest

from sidecar.extract.json.strict_json import MOST_VALUES
from sidecar.extract.mcp import MOST_MESSAGES
from sidecar.model import NOTIFICATION, Call, Extraction, Reason, Reference, Refusal, RefusalFormat
from tests.support.mcp import BOTH, REFERENCE, STORE, call, mcp, reason
from tests.support.reading import tool

TWICE = "The body names {} more than once, or in a spelling that some readers take for it."


@pytest.mark.parametrize(
    ("inner", "guarded"),
    [("store_x", True), ("get_x", False), ("search_", False), (1, True), ("", True), (False, True)],
)
def test_the_inner_name_of_a_meta_tool_decides(inner: object, guarded: bool) -> None:
    """The rules judge a wrapped call by its inner name."""
    message = tool("execute_tool", {"tool_name": inner, "parameters": BOTH})
    assert call(message) == Call(REFERENCE if guarded else None, rpc_id=7)
    assert call(tool("get_tool_and_run", {"tool_name": "store", "parameters": BOTH})).reference == REFERENCE


def test_a_meta_tool_may_wrap_a_meta_tool() -> None:
    """However deep a guarded call is wrapped, also in names that pass, its session is found."""
    wrapped = {"tool_name": "store", "parameters": BOTH}
    for name in ("execute_tool", "get_tool_and_run", "search"):
        wrapped = {"tool_name": name, "parameters": wrapped}
        assert call(tool(name, wrapped)).reference == REFERENCE
        assert call(tool(name, {**wrapped, "parameters": json.dumps(wrapped["parameters"])})).reference == REFERENCE


def test_a_meta_tools_arguments_do_not_hide_a_call_of_its_own() -> None:
    """The outer call of a meta-tool is guarded by its own name too."""
    hidden = {**BOTH, "tool_name": "get_x", "parameters": {}}
    assert call(tool(STORE, hidden)).reference == REFERENCE
    assert call(tool(STORE, {**hidden, "parameters": {"session_id": "s2"}})).reference == REFERENCE
    assert (
        reason(tool(STORE, {**hidden, "tool_name": "x", "parameters": {"session_id": "s2"}}))
        is Reason.AMBIGUOUS_SESSION
    )
    assert call(tool("get_x", {**hidden, "tool_name": "x"})) == Call(rpc_id=7)
    assert call(tool("get_x", {**hidden, "tool_name": "x", "parameters": BOTH})).reference == REFERENCE


def test_what_passes_names_no_session_at_any_depth() -> None:
    """A reading meta-tool's own ids are not compared with those of the call that it wraps."""
    message = tool(
        "get_and_run", {"context": {"session_id": "s2"}, "session_id": "s3", "tool_name": "x", "parameters": BOTH}
    )
    assert call(message).reference == REFERENCE


def test_the_owner_may_stand_beside_the_inner_session_or_outside() -> None:
    """The owner is read beside the inner session or outside, and must agree."""
    assert (
        call(tool("run", {"tool_name": "x", "parameters": {"session_id": "s1"}, "user_id": "u1"})).reference
        == REFERENCE
    )
    message = tool("run", {"tool_name": "x", "parameters": BOTH, "user_id": "u2"})
    assert reason(message) is Reason.AMBIGUOUS_SESSION


@pytest.mark.parametrize(
    "arguments",
    [
        {"parameters": BOTH},
        {"tool_name": "x", "parameters": [BOTH]},
        {"tool_name": "x", "parameters": None},
        {"tool_name": None, "parameters": BOTH},
    ],
)
def test_what_is_no_wrapped_call_is_none(arguments: object) -> None:
    """A meta-tool wraps a call only with a name and an object of arguments."""
    assert call(tool("run", arguments)) == Call(rpc_id=7)


def test_objects_written_as_strings_are_opened() -> None:
    """An object that is written as a string is opened, as some MCP servers do."""
    text = json.dumps(BOTH)
    assert call(tool(STORE, text)).reference == REFERENCE
    assert call(tool(STORE, {"context": " \n" + text})).reference == REFERENCE
    assert call(tool("run", {"tool_name": "x", "parameters": text})).reference == REFERENCE
    assert call(tool(STORE, {**BOTH, "context": "free text"})).reference == REFERENCE
    assert reason(tool(STORE, {**BOTH, "context": '{"session_id": "s2"}'})) is Reason.AMBIGUOUS_SESSION
    assert (
        reason(tool(STORE, {**BOTH, "context": '{"session_id": "s1", "session_id": "s1"}'})) is Reason.AMBIGUOUS_SESSION
    )
    assert reason(tool(STORE, {**BOTH, "context": "{broken"})) is Reason.UNREADABLE_BODY
    assert call(tool(STORE, {"session_id": text})).refusal is not None


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"method":"ping","method":"tools/call","id":7}', "method"),
        (b'{"Method":"tools/call","method":"ping","id":7}', "method"),
        (b'{"method":"tools/call","params":{},"params":{},"id":7}', "params"),
        (b'{"method":"tools/call","params":{"name":"get_x","name":"store"},"id":7}', "name"),
        (b'{"method":"tools/call","params":{"arguments":{},"arguments":{}},"id":7}', "arguments"),
        (b'{"method":"tools/call","params":{"arguments":{"tool_name":"a","tool_name":"b"}},"id":7}', "tool_name"),
        (b'{"method":"tools/call","params":{"arguments":{"parameters":{},"parameters":{}}},"id":7}', "parameters"),
        (
            b'{"method":"tools/call","params":{"arguments":{"session_id":"a","session\\u005fid":"b"}},"id":7}',
            "session_id",
        ),
        (b'{"method":"tools/call","params":{"arguments":{"context":{"user_id":1,"user_id":2}}},"id":7}', "user_id"),
        (b'{"m\\u0065thod":"ping","method":"tools/call","id":7}', "method"),
    ],
)
def test_what_leads_to_an_id_is_there_once(body: bytes, name: str) -> None:
    """A key on the way to an id that is there twice is refused, under the id of the call."""
    assert call(body) == Call(refusal=Refusal(Reason.AMBIGUOUS_SESSION, TWICE.format(name)), rpc_id=7)


@pytest.mark.parametrize(
    "body", [b'{"method":"ping","id":1,"id":2}', b'{"method":"ping","id":1,"ID":2}', b'{"method":"ping","Id":2}']
)
def test_a_message_with_two_ids_answers_to_none(body: bytes) -> None:
    """A message with two ids is refused without an id."""
    assert call(body) == Call(refusal=Refusal(Reason.AMBIGUOUS_SESSION, TWICE.format("id")), rpc_id=None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"method":"tools/call","id":7,"params":{"name":"x","arguments":{"name":"a","id":1,"method":"m","user_id":"u1","session_id":"s1"}}}',
        b'{"method":"tools\\/call","id":7,"params":{"name":"x","arguments":{"d":{"ID":1,"Name":2},"user_id":"u1","session_id":"s1"}}}',
        b'{"meth\\u006fd":"tools/call","id":7,"params":{"name":"x","arguments":{"user_id":"u1","session_id":"s1"}}}',
    ],
)
def test_the_same_names_elsewhere_do_no_harm(body: bytes) -> None:
    """`name` and `id` are ordinary words."""
    assert call(body) == Call(REFERENCE, rpc_id=7)


def test_each_call_of_a_batch_is_read_by_itself() -> None:
    """In their order, whatever they are."""
    batch = [
        tool(STORE, BOTH, call_id=1),
        {"method": "ping", "id": "p"},
        tool(STORE, {"session_id": "s2"}, call_id=2),
        tool(STORE, {"session_id": "s3", "user_id": "u3"}, call_id=...),
        {"id": 9, "result": 1},
        5,
        [tool(STORE, BOTH)],
        tool("get_x", BOTH, call_id=3),
    ]
    reading = mcp(batch)
    assert reading.refusal_format is RefusalFormat.BATCH
    assert [(one.reference, one.refusal.reason if one.refusal else None, one.rpc_id) for one in reading.calls] == [
        (REFERENCE, None, 1),
        (None, None, "p"),
        (None, Reason.USER_ID_REQUIRED, 2),
        (Reference("s3", "u3"), None, NOTIFICATION),
        (None, None, NOTIFICATION),
        (None, None, None),
        (None, None, None),
        (None, None, 3),
    ]


def test_a_batch_of_one_is_a_batch() -> None:
    """Its answer is a list; so is that of an empty one."""
    assert mcp([tool(STORE, BOTH)]) == Extraction(RefusalFormat.BATCH, (Call(REFERENCE, rpc_id=7),))
    assert mcp([]) == Extraction(RefusalFormat.BATCH, ())


def test_claims_of_one_call_are_not_those_of_another() -> None:
    """What stands outside belongs to each of them."""
    batch = [tool(STORE, {"session_id": f"s{number}"}, call_id=number) for number in range(3)]
    reading = mcp(batch, target="/mcp?user_id=u1")
    assert [one.reference for one in reading.calls] == [Reference(f"s{number}", "u1") for number in range(3)]


def test_a_query_in_doubt_refuses_every_guarded_call_of_a_batch() -> None:
    """Each refusal has the id of its call."""
    reading = mcp([tool(STORE, BOTH, call_id=1), {"method": "ping", "id": 2}], target="/mcp?user_id=a&user_id=b")
    assert [(one.refusal is not None, one.rpc_id) for one in reading.calls] == [(True, 1), (False, 2)]


def test_a_batch_has_an_end() -> None:
    """Each call may create a session."""
    assert len(mcp([1] * MOST_MESSAGES).calls) == MOST_MESSAGES
    refused = mcp([1] * (MOST_MESSAGES + 1))
    detail = "The batch has more than 1000 messages."
    assert refused == Extraction(RefusalFormat.RPC, (Call(refusal=Refusal(Reason.UNREADABLE_BODY, detail)),))


def test_limits_hold_here_too() -> None:
    """Too many values are too many in a message as well."""
    assert reason(b"[1" + b",1" * MOST_VALUES + b"]") is Reason.UNREADABLE_BODY
