"""REST requests by the `isa` profile: what they refer to, and why some are refused."""

from __future__ import annotations

import json

import pytest

from sidecar.model import Call, Extraction, Reason, Reference, Refusal, RefusalFormat, RuleKind
from tests.support.reading import (
    JSON,
    MULTIPART,
    STORE,
    URLENCODED,
    fields,
    found,
    multipart,
    read,
    reason,
    refused,
)

BOTH = {"session_id": "s1", "user_id": "u1"}
REFERENCE = Reference("s1", "u1", RuleKind.ENSURE, ())
SUMMARIZE = "/api/v1/memories/session/s1/summarize"


@pytest.mark.parametrize(
    "body",
    [
        BOTH,
        {"context": {"session_id": "s1"}, "user_id": "u1"},
        {"context": {"session_id": "s1", "user_id": "u1"}},
        {**BOTH, "context": {"session_id": "s1", "user_id": "u1"}},
        {**BOTH, "context": None},
        {**BOTH, "context": {}},
        {**BOTH, "context": "text"},
        {**BOTH, "context": {"session_id": None, "user_id": None}},
        {**BOTH, "message_content": '你好 "session_id": "x"'},
    ],
)
def test_json_names_session_and_user(body: object) -> None:
    """Ids are found at the top level and in the context, and may be repeated where they agree."""
    assert found(body, JSON) == REFERENCE
    assert found(json.dumps(body, ensure_ascii=False).encode(), JSON) == REFERENCE


@pytest.mark.parametrize(
    "body",
    [b"", {}, {"user_id": "u1"}, {"session_id": None, "user_id": "u1"}, {"context": {"session_id": None}}, [], [BOTH],
    "s1", 1, None],
)  # fmt: skip
def test_without_a_session_there_is_nothing_to_guard(body: object) -> None:
    """Null, absence, a list and a bare value name no session."""
    assert read(body, JSON) == Extraction(RefusalFormat.REST, (Call(),))


@pytest.mark.parametrize("header", [JSON, (b"content-type", b"text/plain"), (b"x", b"y"), URLENCODED, MULTIPART])
def test_json_is_read_whatever_the_type_says(header: tuple[bytes, bytes]) -> None:
    """A body is read as JSON under every content type."""
    assert found(BOTH, header) == REFERENCE


def test_a_refused_write_is_answered_as_what_it_is() -> None:
    """The refusal of a REST write is written for REST."""
    assert read({**BOTH, "context": {"session_id": "s2"}}, JSON).refusal_format is RefusalFormat.REST


def test_path_query_and_body_must_agree() -> None:
    """All places that name a session or a user are compared."""
    two = "The request names more than one session id."
    assert refused({"user_id": "u1", "session_id": "s2"}, target=SUMMARIZE) == Refusal(Reason.AMBIGUOUS_SESSION, two)
    assert reason({"user_id": "u1"}, target=f"{SUMMARIZE}?session_id=s2") is Reason.AMBIGUOUS_SESSION
    assert reason({**BOTH, "context": {"session_id": "s2"}}) is Reason.AMBIGUOUS_SESSION
    assert reason(BOTH, target=f"{STORE}?session_id=S1") is Reason.AMBIGUOUS_SESSION
    users = Refusal(Reason.AMBIGUOUS_SESSION, "The request names more than one user id.")
    assert refused(BOTH, target=f"{STORE}?user_id=u2") == users
    assert refused({**BOTH, "context": {"user_id": "u2"}}) == users


@pytest.mark.parametrize("value", [1, 1.5, True, False, [], ["s1"], {}, {"a": 1}])
def test_ids_are_strings(value: object) -> None:
    """An id that is neither a string nor null is invalid."""
    assert refused({**BOTH, "session_id": value}) == Refusal(
        Reason.INVALID_SESSION_ID, "The session id must be a string."
    )
    user = Refusal(Reason.INVALID_USER_ID, "The user id must be a string.", "s1")
    assert refused({**BOTH, "user_id": value}) == user
    assert reason({**BOTH, "context": {"session_id": value}}) is Reason.INVALID_SESSION_ID


@pytest.mark.parametrize("value", ["", " ", "a b", "a/b", "é", "你", "a" * 256, ".", "..", "a\n", "a\u0000"])
def test_ids_are_in_the_grammar(value: str) -> None:
    """The complaint says what is allowed, for both kinds of id, and does not repeat the bad one."""
    allowed = "1 to 255 characters of A-Z a-z 0-9 . _ ~ : @ | + = -"
    assert refused({**BOTH, "session_id": value}) == Refusal(
        Reason.INVALID_SESSION_ID, f"The session id is not {allowed}."
    )
    assert refused({**BOTH, "user_id": value}) == Refusal(
        Reason.INVALID_USER_ID, f"The user id is not {allowed}.", "s1"
    )


def test_an_id_may_be_as_long_as_the_column() -> None:
    """An id of 255 characters is accepted, and a longer one is refused."""
    assert found({"session_id": "s" * 255, "user_id": "u" * 255}) == Reference("s" * 255, "u" * 255)


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_id":"a","session_id":"a","user_id":"u"}',
        b'{"session_id":"a","session\\u005fid":"b","user_id":"u"}',
        b'{"session_id":null,"session_id":"b","user_id":"u"}',
        b'{"session_id":"a","user_id":"u","user_id":"v"}',
        b'{"user_id":"u","\\u0075ser_id":"u"}',
        b'{"context":{"session_id":"a"},"context":{},"user_id":"u"}',
        b'{"context":{},"context":{"session_id":"a"},"user_id":"u"}',
        b'{"context":{"session_id":"a","session_id":"b"},"user_id":"u"}',
        b'{"session_id":"a","Session_id":"b","user_id":"u"}',
        b'{"Session_Id":"a"}',
    ],
)
def test_a_body_that_names_an_id_twice_is_refused(body: bytes) -> None:
    """A repeated id is refused even where both values are the same."""
    assert reason(body, JSON) is Reason.AMBIGUOUS_SESSION


@pytest.mark.parametrize(
    "body",
    [
        b'{"extras":{"session_id":"x","session_id":"y"},"session_id":"s1","user_id":"u1"}',
        b'{"session_id":"s1","user_id":"u1","a":1,"a":2}',
        b'{"session_id":"s1","user_id":"u1","text":"\\u005f"}',
        b'{"session\\u005fid":"s1","user_id":"u1"}',
        b'{"list":[{"session_id":"x"},{"session_id":"y"}],"session_id":"s1","user_id":"u1"}',
        b'{"context":{"context":{"session_id":"x"}},"session_id":"s1","user_id":"u1"}',
    ],
)
def test_what_nobody_reads_as_an_id_may_be_repeated(body: bytes) -> None:
    """A repeated key that is no place of an id is accepted, however it is escaped."""
    assert found(body, JSON) == REFERENCE


@pytest.mark.parametrize(
    "body", [b"x", b"{", b"session_id=s1&user_id=u1", b"\xef\xbb\xbf{}", b"{}{}", b'{"a":NaN}', b"\x00"]
)
@pytest.mark.parametrize("headers", [[JSON], [], [(b"content-type", b"text/plain")]])
def test_an_unreadable_body_is_refused(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """A body that is neither a declared form nor strict JSON is refused."""
    assert reason(body, *headers) is Reason.UNREADABLE_BODY


def test_an_unclear_content_type_is_refused() -> None:
    """A content type that readers may take differently is refused."""
    assert reason(BOTH, JSON, JSON) is Reason.UNREADABLE_BODY
    assert reason(BOTH, (b"content-type", b"application/json; charset=utf-16")) is Reason.UNREADABLE_BODY
    assert found(b"", JSON, JSON, target=f"{STORE}?session_id=s1&user_id=u1") == REFERENCE


def test_an_urlencoded_form_names_session_and_user() -> None:
    """The fields of a declared urlencoded form name session and user."""
    assert found(b"session_id=s1&user_id=u1&message=a+b", URLENCODED) == REFERENCE
    assert found(b"message=a&user_id=u1", URLENCODED) is None
    assert reason(b"session_id=s1&session_id=s1", URLENCODED) is Reason.AMBIGUOUS_SESSION
    assert reason(b"session_id=", URLENCODED) is Reason.INVALID_SESSION_ID
    assert reason(b"context[session_id]=s1", URLENCODED) is Reason.AMBIGUOUS_SESSION
    assert reason(b"session_id=s1&user_id=u1", URLENCODED, target=f"{STORE}?session_id=s2") is Reason.AMBIGUOUS_SESSION
    assert reason(b"a%00=b", URLENCODED) is Reason.UNREADABLE_BODY


def test_json_declared_as_a_form_is_read_as_both() -> None:
    """JSON that is declared as a form is read as both, and the ids of either reading count."""
    assert found(BOTH, URLENCODED) == REFERENCE
    assert found({**BOTH, "text": "100% of a & b\n=c"}, URLENCODED) == REFERENCE
    assert found(b'{\n"session_id": "s1", "user_id": "u1"}', URLENCODED) == REFERENCE
    assert reason({**BOTH, "text": "&session_id=s2&"}, URLENCODED) is Reason.AMBIGUOUS_SESSION
    assert reason({"text": "&session_id=s1&"}, URLENCODED) is Reason.USER_ID_REQUIRED
    assert found({"text": "&session_id=s1&"}, JSON) is None


@pytest.mark.parametrize("types", [[], [b""], [b"text/plain; x=x-www-form-urlencoded"], [b"application/x-urlencoded"]])
def test_json_that_some_server_takes_for_a_form_is_read_as_both(types: list[bytes]) -> None:
    """Rack reads a body without a type as a form, formidable one whose type mentions urlencoding."""
    headers = [(b"content-type", value) for value in types]
    assert found(BOTH, *headers) == REFERENCE
    assert reason({**BOTH, "text": "&session_id=s2&"}, *headers) is Reason.AMBIGUOUS_SESSION
    assert reason({"text": "&session_id=s1&"}, *headers) is Reason.USER_ID_REQUIRED
    assert reason(b"session_id=s1&user_id=u1", *headers) is Reason.UNREADABLE_BODY


def test_json_that_contains_the_boundary_of_its_declared_form_is_refused() -> None:
    """Such a body is refused, because a reader that skips a preamble might find a form in it."""
    assert found(BOTH, MULTIPART) == REFERENCE
    assert reason({**BOTH, "text": "--XX--"}, MULTIPART) is Reason.UNREADABLE_BODY


@pytest.mark.parametrize("start", [b"", b" \r\n\t", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"])
def test_bad_json_declared_as_a_form_is_refused(start: bytes) -> None:
    """A body that is declared as a form and looks like JSON must be strict JSON."""
    assert reason(start + b'{"session_id":"s1","user_id":"u1",}', URLENCODED) is Reason.UNREADABLE_BODY
    assert reason(start + b'{"session_id":"s1","user_id":"u1",}', MULTIPART) is Reason.UNREADABLE_BODY


def test_a_multipart_form_names_session_and_user() -> None:
    """The fields of a declared multipart form name session and user."""
    assert found(multipart(*fields(session_id="s1", user_id="u1", x="y")), MULTIPART) == REFERENCE
    assert reason(multipart(*fields(session_id="s1", user_id="u1")), JSON) is Reason.UNREADABLE_BODY
    file = ('Content-Disposition: form-data; name="session_id"; filename="x"', b"s1")
    assert reason(multipart(file), MULTIPART) is Reason.INVALID_SESSION_ID
    assert reason(b"session_id=s1", MULTIPART) is Reason.UNREADABLE_BODY


def test_isa_ignores_headers() -> None:
    """`X-Session-ID` and `Mcp-Session-Id` name no session in `isa`."""
    headers = [(b"x-session-id", b"s9"), (b"mcp-session-id", b"s8"), (b"session_id", b"s7"), (b"x-user-id", b"u9")]
    assert found(BOTH, *headers) == REFERENCE
    assert found({}, *headers) is None


@pytest.mark.parametrize("key", ["session_id", "user_id", "context"])
@pytest.mark.parametrize("spelling", ["{}\0", "{}\0x", "\0{}", "{}\0\0"])
def test_a_key_with_a_nul_is_ambiguous(key: str, spelling: str) -> None:
    """A key that ends in NUL is refused, alone or beside the watched one: readers of C strings take it for it."""
    spelt = spelling.format(key)
    body = {"session_id": "s1", "user_id": "u1", "context": {}}
    assert reason({**body, spelt: "other"}) is Reason.AMBIGUOUS_SESSION
    del body[key]
    assert reason({**body, spelt: {"session_id": "other"}}) is Reason.AMBIGUOUS_SESSION
