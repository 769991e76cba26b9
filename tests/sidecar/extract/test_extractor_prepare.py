"""What is prepared from a head alone finds in any body what reading head and body together finds."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.extract.extractor import Extractor, Prepared
from sidecar.extract.ids import is_safe
from sidecar.extract.refused import RequestRefused
from sidecar.model import Head, Reason, Reference
from sidecar.profile.files import find_profile

READERS = [Extractor(find_profile("isa")), Extractor(find_profile("isa"), user_header="X-User")]
TARGETS = [
    b"/api/v1/memories/session/store", b"/api/v1/memories", b"/api/v1/memories/session/s-1/summarize?user_id=ann",
    b"/api/v1/memories?session_id=s-2", b"/api/v1/memories?session_id=s-1&session_id=s-2", b"/mcp", b"/other",
]  # fmt: skip
CALL = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": '
    b'{"name": "store_session_message", "arguments": {"session_id": "s-1", "user_id": "ann"}}}'
)
TYPES = [b"application/json", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"]
BODIES = [
    b"{}", b"[]", b"null", b"nonsense", b"session_id=s-1&user_id=ann", b"--x--", b'{"session_id": 1}',
    b'{"session_id": "s-1", "user_id": "ann"}', b'{"session_id": "s-1"}', b'{"context": {"session_id": "s-1"}}',
    b'{"session_id": "s-1", "session_id": "s-2", "user_id": "ann"}', b'{"session\\u005fid": "s-1", "user_id": "ann"}',
    b'{"session_id": "s-1", "user_id": "ann", "context": {"session_id": "s-2"}}', b'{"session_id": "no good"}',
]  # fmt: skip


def agrees(named, call):
    """The same ids were found, or refused for nothing but their form: such ids are never known."""
    if call.refusal is not None:
        about_ids = call.refusal.reason in (Reason.INVALID_SESSION_ID, Reason.INVALID_USER_ID)
        return about_ids and not all(map(is_safe, named))
    return call.reference == Reference(*named)


heads = st.builds(
    Head,
    st.sampled_from(["POST", "PATCH", "PUT"]),
    st.sampled_from(TARGETS),
    st.lists(
        st.one_of(
            st.sampled_from(TYPES).map(lambda value: (b"content-type", value)),
            st.sampled_from([b"ann", b"eve"]).map(lambda value: (b"x-user", value)),
        ),
        max_size=3,
    ),
)


@given(st.sampled_from(READERS), heads, st.lists(st.sampled_from(BODIES), min_size=1, max_size=4))
def test_both_ways_of_reading_agree(reader, head, bodies):
    """Body after body, with nothing left behind by the one before."""
    prepared = reader.prepare(head)
    if prepared.find is None:
        return
    for body in bodies:
        (call,) = reader.read(head, body).calls
        if call.refusal is None:
            assert prepared.find(body) == call.reference
        else:
            with pytest.raises(RequestRefused) as refused:
                prepared.find(body)
            assert refused.value.refuse == call.refusal
        if prepared.plain is not None and (named := prepared.plain(body)) is not None:
            assert agrees(named, call)


def test_an_ordinary_write_is_plain():
    """Nothing but its body says anything."""
    head = Head("POST", b"/api/v1/memories?x=1", [(b"content-type", b"application/json")])
    prepared = Extractor(find_profile("isa")).prepare(head)
    assert prepared.plain(b'{"session_id": "s-1", "user_id": "ann"}') == ("s-1", "ann")
    assert prepared.find(b'{"session_id": "s-1", "user_id": "ann"}') == Reference("s-1", "ann")


@pytest.mark.parametrize(
    "head",
    [
        Head("POST", b"/api/v1/memories?session_id=s-2", ()),
        Head("POST", b"/api/v1/memories/session/s-1/summarize", ()),
        Head("POST", b"/api/v1/memories", [(b"content-type", b"application/x-www-form-urlencoded")]),
    ],
)
def test_bodies_are_not_plain_where_the_head_may_say_something_else(head):
    """A path or a query that names an id, and a form, have to be weighed against the body."""
    assert READERS[0].prepare(head).plain is None


def test_bodies_are_not_plain_where_a_header_names_the_owner():
    """The owner that a body claims is not the one that counts."""
    reader = Extractor(find_profile("isa"), user_header="X-User")
    assert reader.prepare(Head("POST", b"/api/v1/memories", ())).plain is None


@pytest.mark.parametrize(
    "head",
    [
        Head("POST", b"/other", ()),
        Head("POST", b"/api/v1/memories//x", ()),
        Head("GET", b"/api/v1/memories", [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]),
    ],
)
def test_nothing_is_prepared_where_there_is_more_to_it(head):
    """What is not guarded, refused already, or guarded by its head alone."""
    assert READERS[0].prepare(head) == Prepared()


def test_of_an_mcp_message_only_a_plain_call_is_prepared():
    """A batch has calls of its own."""
    prepared = Extractor(find_profile("isa")).prepare(Head("POST", b"/mcp", ()))
    assert prepared.find is None
    assert prepared.plain(CALL) == ("s-1", "ann")
    assert prepared.plain(CALL.replace(b'"id": 1, ', b"")) == ("s-1", "ann")
    assert prepared.plain(b"[%b]" % CALL) is None


@pytest.mark.parametrize(
    ("reader", "head"),
    [
        (READERS[0], Head("POST", b"/mcp?session_id=s-2", ())),
        (READERS[0], Head("POST", b"/mcp?user_id=eve", ())),
        (READERS[0], Head("POST", b"/mcp", [(b"content-type", b"text/plain")] * 2)),
        (READERS[1], Head("POST", b"/mcp", ())),
    ],
)
def test_a_call_is_not_plain_where_the_head_may_say_something_else(reader, head):
    """A query that names an id, an unclear type, or an owner in a header."""
    assert reader.prepare(head).plain is None


def members(*ordinary: str, odd: Sequence[str]) -> st.SearchStrategy[str]:
    """Objects of the ordinary members, some of which may be missing, repeated or joined by odd ones, in any order."""
    some = st.lists(st.sampled_from([*ordinary, *odd]), max_size=2)
    return st.builds(
        lambda base, more: "{" + ", ".join([*base, *more]) + "}",
        st.one_of(st.permutations(ordinary), st.lists(st.sampled_from(ordinary), unique=True)),
        st.one_of(st.just([]), some),
    )


ARGUMENTS = members(
    '"session_id": "s-1"', '"user_id": "ann"', '"text": "a \\"name\\" of \u4f60"',
    odd=[
        '"session_id": "s-2"', '"Session_id": "s-3"', '"session\\u005fid": "s-4"', '"session_id": null',
        '"context": {"session_id": "s-5"}', '"context": "{\\"session_id\\": \\"s-6\\"}"', '"x": {"session_id": "s-7"}',
        '"tool_name": "store", "parameters": {"session_id": "s-8"}', '"id": 1', '"x": "user_id"', '"user_id": 1',
        '"session_id": "no good"',
    ],
)  # fmt: skip
PARAMS = st.tuples(ARGUMENTS, ARGUMENTS).flatmap(
    lambda two: members(
        '"name": "store_session_message"', f'"arguments": {two[0]}',
        odd=[
            '"name": "get_session"', '"name": 1', '"name": "call_tool"', f'"arguments": {two[1]}', '"arguments": []',
            f'"arguments": {json.dumps(two[1])}', f'"x": {two[1]}', '"session_id": "s-9"', '"_meta": {}',
        ],
    )
)  # fmt: skip
MESSAGES = st.tuples(PARAMS, PARAMS).flatmap(
    lambda two: members(
        '"jsonrpc": "2.0"', '"id": 1', '"method": "tools/call"', f'"params": {two[0]}',
        odd=[
            '"method": "ping"', '"Method": "ping"', '"id": "2"', f'"params": {two[1]}', f'"PARAMS": {two[1]}',
            '"result": {}', '"params": 1', '"session_id": "s-10"',
        ],
    )
)  # fmt: skip


@settings(max_examples=300)
@given(st.one_of(MESSAGES, MESSAGES.map(lambda message: f"[{message}]")))
def test_a_plain_call_is_what_the_whole_reading_finds(message):
    """Whatever else a message holds, and however often."""
    head = Head("POST", b"/mcp", [(b"content-type", b"application/json")])
    named = READERS[0].prepare(head).plain(message.encode())
    calls = READERS[0].read(head, message.encode()).calls
    if named is not None:
        (call,) = calls
        assert agrees(named, call)
