"""Fields of queries and urlencoded forms: what is found, and what is refused."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.extract.form.field_names import LONGEST_NAME, FieldNames
from sidecar.extract.form.form_fields import LONGEST_VALUE, MOST_FIELDS, read_urlencoded
from sidecar.extract.refused import RequestRefused
from sidecar.model import Reason

NAMES = FieldNames(["session_id", "user_id"], [("context", "session_id"), ("threadId",)])
TWICE = "The field session_id is there more than once."
ALIKE = "A field has a name that some readers take for a session or user id."
LONG = "A long field name begins like a session or user id, and some readers cut it there."
SEMICOLON = "Fields are separated by ;, which some readers take for a part of the value."


def read(raw: bytes, *, strict: bool = True) -> object:
    return read_urlencoded(raw, NAMES, strict=strict)


def refusal(raw: bytes, *, strict: bool = True) -> tuple[Reason, str]:
    with pytest.raises(RequestRefused) as error:
        read(raw, strict=strict)
    return error.value.refuse.reason, error.value.refuse.detail


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        (b"", {}),
        (b"a=b", {}),
        (b"session_id=a", {"session_id": "a"}),
        (b"session_id=a&user_id=b&c=d", {"session_id": "a", "user_id": "b"}),
        (b"session_id", {"session_id": ""}),
        (b"session_id=", {"session_id": ""}),
        (b"session_id=a=b", {"session_id": "a=b"}),
        (b"&&session_id=a&", {"session_id": "a"}),
        (b"session%5Fid=a%2Bb", {"session_id": "a+b"}),
        (b"%73ession_id=a+b", {"session_id": "a b"}),
        (b"session_id=%ff", {"session_id": "\ufffd"}),
        (b"session_id=100%", {"session_id": "100%"}),
        ("session_id=é".encode(), {"session_id": "é"}),
        (b"x=1;y=2&session_id=a", {"session_id": "a"}),
        (b"x=100%;50%=1&session_id=a", {"session_id": "a"}),
        (b"session_id=a&Session_Id2=b", {"session_id": "a"}),
        (b"session_id=a&n=%5B%5D", {"session_id": "a"}),
        (b"xsession_id=a&session_idx=b&context=c&context.a=d&x.session_id=e", {}),
        (b"session[id]=a&x[session_id]=b&user=c&user[id]=d&session-id=e&sessionId=f&session=g&session.idx=h", {}),
        (b"{%22session_id%22:1}=a&$filter=b&user:id=c&session/id=d", {}),
        (b"_charset_=UTF-8&session_id=a", {"session_id": "a"}),
        (b"charset=utf-16&x_charset_=utf-7&session_id=a", {"session_id": "a"}),
    ],
)
def test_what_is_found(raw: bytes, fields: object) -> None:
    """Watched names are decoded once and found with their values as they are."""
    assert read(raw) == fields


@pytest.mark.parametrize(
    "raw",
    [
        b"session_id=a&session_id=a", b"session_id=a&session_id=b", b"session_id&session_id",
        b"session_id=a&session%5fid=b",
        b"session_id=a;session_id=a", b"x=1;session_id=a&session_id=a",
    ],
)  # fmt: skip
def test_a_watched_field_may_be_there_once(raw: bytes) -> None:
    """A watched field that is there twice is refused: readers take the first, the last, or all."""
    assert refusal(raw) == (Reason.AMBIGUOUS_SESSION, TWICE)


@pytest.mark.parametrize(
    "name",
    [
        b"session_id[]", b"session_id[0]", b"session_id%5B%5D", b"context[session_id]", b"context.session_id",
        b"SESSION_ID",
        b"Session_Id", b"+session_id", b"session_id%20", b"session_id%09", b"[session_id]", b".session_id",
        b"threadId", b"threadid",
        b"context%5Bsession_id%5D", b"context[[session_id", "ſession_id".encode(), b"session_id[", b"user_id[x][y]",
        b"user_id.x", b"session_id.x.y.z.z",
        b"session.id", b"session+id", b"session[id", b"session_id%5C", b"session%5C_id",
        b"?session_id", b"%3Fsession_id", "\ufeffsession_id".encode(), b"%EF%BB%BFsession_id", b"session%ff_id",
        b"'session_id'",
        b"%22session_id%22", b"session%255Fid", b"session%25255Fid", b"session.id[x]", b"thread.id",
        b"sess%C4%B0on_id", "sessıon_id".encode(), b"session_id;", b"context.session.id", b"context.session+id",
        b"Session_ID[]", b"context[][session_id]", b"context[session_id][x][y][z]", b"..session_id..",
    ],
)  # fmt: skip
def test_a_name_that_some_readers_take_for_a_watched_one_is_refused(name: bytes) -> None:
    """Brackets, dots, spaces and letter case that turn a name into a watched one are refused."""
    if name == b"session_id%09":
        assert refusal(name + b"=a") == (Reason.UNREADABLE_BODY, "The name of a field cannot be read.")
        assert refusal(name + b"=a", strict=False) == (Reason.AMBIGUOUS_SESSION, ALIKE)
    else:
        assert refusal(name + b"=a") == (Reason.AMBIGUOUS_SESSION, ALIKE)


@pytest.mark.parametrize("raw", [b"x=1;session_id=a", b"session_id=a;x=1", b"session_id=a;"])
def test_a_semicolon_must_not_change_a_watched_field(raw: bytes) -> None:
    """A semicolon is refused where a reader that separates at it would see another watched field."""
    assert refusal(raw) == (Reason.AMBIGUOUS_SESSION, SEMICOLON)


@pytest.mark.parametrize("name", [b"%", b"a%4", b"a%zz", b"a\x00", b"a%00", b"a%0A", b"session_id%00x", b"a\n"])
def test_names_are_read_strictly(name: bytes) -> None:
    """A name that cannot be decoded, or has a control character, is refused in a body and ignored in a query."""
    assert refusal(name + b"=a") == (Reason.UNREADABLE_BODY, "The name of a field cannot be read.")
    if b"session" not in name:
        assert read(name + b"=a", strict=False) == {}


@pytest.mark.parametrize(
    "name",
    [b"session_id%00", b"session_id%00x", b"%00session_id", b"session%00_id", b"user_id%0A", b"session%u005Fid"],
)
def test_a_control_character_in_the_name_of_a_query_field_hides_no_id(name: bytes) -> None:
    """A query field is refused as ambiguous where a reader that drops control characters may see a watched name."""
    assert refusal(name + b"=a", strict=False) == (Reason.AMBIGUOUS_SESSION, ALIKE)


@pytest.mark.parametrize(
    "field", [b"_charset_=utf-16", b"_charset_=", b"_charset_", b"%5C_charset_=gbk", b"_charset_=cp037"]
)
def test_a_form_does_not_change_its_charset(field: bytes) -> None:
    """A `_charset_` field is refused."""
    assert refusal(b"session_id=a&" + field) == (Reason.UNREADABLE_BODY, "The form names a charset other than UTF-8.")


def test_there_is_an_end_to_fields() -> None:
    """A form with more fields than are allowed is refused, and one with as many is read."""
    assert read(b"a&" * (MOST_FIELDS - 1) + b"session_id=a") == {"session_id": "a"}
    assert refusal(b"a&" * MOST_FIELDS + b"a") == (Reason.UNREADABLE_BODY, "There are more than 10000 fields.")


def test_what_is_not_watched_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """To decode megabytes takes a second, in which no other request is served."""
    decoded: list[int] = []

    def counted(raw: bytes) -> bytes:
        decoded.append(len(raw))
        return unquote_to_bytes(raw)

    monkeypatch.setattr("sidecar.extract.form.form_fields.unquote_to_bytes", counted)
    long = b"%41" * 1_000_000
    assert read(b"session_id=a&a=" + long + b"&b=" + long) == {"session_id": "a"}
    assert read(b"session_id=" + long) == {"session_id": "A" * (LONGEST_VALUE // 3) + "%"}
    assert refusal(b"%20" * 1_000_000 + b"a=b") == (Reason.AMBIGUOUS_SESSION, LONG)
    assert sum(decoded) < 2 * LONGEST_VALUE


def test_very_long_names_are_not_decoded() -> None:
    """Of a very long name only the beginning is decoded, because some readers cut names or open brackets in them."""
    assert read(b"a" * LONGEST_NAME + b"%=1") == {}
    assert refusal(b"a" * (LONGEST_NAME - 1) + b"%=1")[0] is Reason.UNREADABLE_BODY
    for begins in (b"session_id%00", b"session_id[", b"session_id%5B", b"session_id+", b"+session_id%00", b"?user_id["):
        assert refusal(begins + b"a" * LONGEST_NAME + b"=1") == (Reason.AMBIGUOUS_SESSION, LONG)
    assert refusal(b"+" * 100_000 + b"session_id=1") == (Reason.AMBIGUOUS_SESSION, LONG)
    assert refusal(b"%00" * 100_000 + b"session_id=1", strict=False) == (Reason.AMBIGUOUS_SESSION, LONG)
    escaped = b"".join(b"%%%02x" % letter for letter in b"context[session_id]")
    assert refusal(escaped + b"=1")[0] is Reason.AMBIGUOUS_SESSION


words = st.text(st.sampled_from("ab_ +%&=;[].é你\n"), max_size=6)


@given(st.lists(st.tuples(st.sampled_from(["session_id", "user_id"]) | words, words), max_size=5))
def test_what_was_encoded_is_found_again(pairs: list[tuple[str, str]]) -> None:
    """A form that another library wrote is read as it was meant, or refused for a name that is repeated or in doubt."""
    raw = urlencode(pairs).encode()
    watched = [(name, value) for name, value in pairs if name in ("session_id", "user_id")]
    try:
        found = read(raw, strict=False)
    except RequestRefused:
        assert len(dict(watched)) < len(watched)
    else:
        assert found == dict(watched)


@given(st.text(st.sampled_from("session_id=&;%5Fd+[].uS"), max_size=30).map(str.encode))
def test_what_is_admitted_is_what_others_read(raw: bytes) -> None:
    """A text that is not refused has the same watched fields for readers that split at & alone and at both."""
    try:
        found = read(raw)
    except RequestRefused:
        return
    for separated in (raw, raw.replace(b";", b"&")):
        others = parse_qsl(separated.decode(), keep_blank_values=True, errors="replace")
        assert found == {name: value for name, value in others if name in ("session_id", "user_id")}


def test_a_name_too_long_to_matter_hides_nothing_behind_it():
    """A name that is too long to matter is skipped, and the fields after it are read."""
    long = b"x" * 10_000
    assert read(long + b"=1&session_id=a&" + long + b"=2&user_id=b") == {"session_id": "a", "user_id": "b"}
