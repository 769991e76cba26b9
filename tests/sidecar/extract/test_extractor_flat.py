"""Flat extraction finds in any body what the full one finds."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.extract.extractor import Extractor
from sidecar.model import NOTIFICATION, Call, Head, Reason, Reference
from sidecar.profile.loading import find_profile

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


def full(profile, **settings):
    """An extractor that takes no body for flat."""
    extractor = Extractor(profile, **settings)
    extractor._has_flat = False
    return extractor


FULL_READERS = [full(find_profile("isa")), full(find_profile("isa"), user_header="X-User")]


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


@given(
    st.sampled_from(list(zip(READERS, FULL_READERS, strict=True))),
    heads,
    st.lists(st.sampled_from(BODIES), min_size=1, max_size=4),
)
def test_flat_and_full_extraction_agree(readers, head, bodies):
    """Both ways give the same extraction, body after body."""
    flat, whole = (one.classify(head) for one in readers)
    if flat is None or not flat.needs_body:
        assert (flat is None) == (whole is None)
        return
    for body in bodies:
        assert flat.extract(body) == whole.extract(body)


def only_call(head, body, reader=READERS[0]):
    """The only call that is extracted from the request."""
    (call,) = reader.classify(head).extract(body).calls
    return call


def refused(head, body, reader=READERS[0]):
    """The reason for which the only call of the request is refused."""
    refusal = only_call(head, body, reader).refusal
    return None if refusal is None else refusal.reason


FLAT = b'{"session_id": "s-1", "user_id": "ann"}'


def test_an_ordinary_write_names_its_session():
    """The body alone names both ids."""
    head = Head("POST", b"/api/v1/memories?x=1", [(b"content-type", b"application/json")])
    assert only_call(head, FLAT) == Call(Reference("s-1", "ann"))


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (Head("POST", b"/api/v1/memories?session_id=s-2", ()), FLAT),
        (Head("POST", b"/api/v1/memories/session/s-2/summarize", ()), FLAT),
        (
            Head("POST", b"/api/v1/memories", [(b"content-type", b"application/x-www-form-urlencoded")]),
            b'{"session_id": "s-1", "user_id": "ann", "x": "&session_id=s-2"}',
        ),
    ],
    ids=["query", "path", "form"],
)
def test_a_flat_body_is_compared_with_what_the_head_says(head, body):
    """A path, a query or a declared form that names another session makes the request ambiguous."""
    assert refused(head, body) is Reason.AMBIGUOUS_SESSION


def test_the_owner_in_a_flat_body_does_not_count_where_a_header_names_it():
    """Without the header no user is named."""
    assert refused(Head("POST", b"/api/v1/memories", ()), FLAT, READERS[1]) is Reason.USER_ID_REQUIRED


def test_ids_outside_the_grammar_are_refused():
    """The full extraction says what is wrong with a flat body."""
    head = Head("POST", b"/api/v1/memories", [(b"content-type", b"application/json")])
    assert refused(head, b'{"session_id": "no good", "user_id": "ann"}') is Reason.INVALID_SESSION_ID


@pytest.mark.parametrize(
    ("body", "rpc_id"), [(CALL, 1), (CALL.replace(b'"id": 1, ', b""), NOTIFICATION), (b"[%b]" % CALL, 1)]
)
def test_a_call_names_its_session(body, rpc_id):
    """The body is a call, a notification or a batch of one."""
    assert only_call(Head("POST", b"/mcp", ()), body) == Call(Reference("s-1", "ann"), rpc_id=rpc_id)


@pytest.mark.parametrize(
    ("reader", "target", "reason"),
    [
        (READERS[0], b"/mcp?session_id=s-2", Reason.AMBIGUOUS_SESSION),
        (READERS[0], b"/mcp?user_id=eve", Reason.AMBIGUOUS_SESSION),
        (READERS[1], b"/mcp", Reason.USER_ID_REQUIRED),
    ],
)
def test_a_call_is_compared_with_what_the_head_says(reader, target, reason):
    """A query that names another id makes the call ambiguous; a user header alone names the owner."""
    assert refused(Head("POST", target, ()), CALL, reader) is reason


def test_a_call_with_an_unclear_type_is_refused():
    """A content type that cannot be read is refused on the MCP path too."""
    classification = READERS[0].classify(Head("POST", b"/mcp", [(b"content-type", b"text/plain")] * 2))
    assert classification.extract(CALL).calls[0].refusal is not None


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
def test_a_flat_call_is_what_the_full_extraction_finds(message):
    """Both ways give the same extraction for each message, however often it is read."""
    head = Head("POST", b"/mcp", [(b"content-type", b"application/json")])
    flat, whole = READERS[0].classify(head), FULL_READERS[0].classify(head)
    assert flat.extract(message.encode()) == whole.extract(message.encode())
