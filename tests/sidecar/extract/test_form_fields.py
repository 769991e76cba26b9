"""Fields of queries and urlencoded forms: what is found, and what is refused."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.extract.form_fields import MOST_FIELDS, FieldNames, read_urlencoded
from sidecar.extract.refused import RequestRefused
from sidecar.model import Reason

NAMES = FieldNames(["session_id", "user_id"], [("context", "session_id"), ("threadId",)])
TWICE = "The field session_id is there more than once."
ALIKE = "A field has a name that some readers take for a session or user id."
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
    ],
)
def test_what_is_found(raw: bytes, fields: object) -> None:
    """Watched names, decoded once, with their values as they are."""
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
    """Readers take the first, the last, or all."""
    assert refusal(raw) == (Reason.AMBIGUOUS_SESSION, TWICE)


@pytest.mark.parametrize(
    "name",
    [
        b"session_id[]", b"session_id[0]", b"session_id%5B%5D", b"context[session_id]", b"context.session_id",
        b"SESSION_ID",
        b"Session_Id", b"+session_id", b"session_id%20", b"session_id%09", b"[session_id]", b".session_id",
        b"threadId", b"threadid",
        b"context%5Bsession_id%5D", b"context[[session_id", "ſession_id".encode(), b"session_id[", b"user_id[x][y]",
        b"user_id.x", b"session_id.x.y.z.z", b"context[session_id][x][y][z]", b"..session_id..",
    ],
)  # fmt: skip
def test_a_name_that_some_readers_take_for_a_watched_one_is_refused(name: bytes) -> None:
    """Brackets, dots, spaces and letter case mean something to some."""
    if name == b"session_id%09":
        assert refusal(name + b"=a") == (Reason.UNREADABLE_BODY, "The name of a field cannot be read.")
        assert refusal(name + b"=a", strict=False) == (Reason.AMBIGUOUS_SESSION, ALIKE)
    else:
        assert refusal(name + b"=a") == (Reason.AMBIGUOUS_SESSION, ALIKE)


@pytest.mark.parametrize("raw", [b"x=1;session_id=a", b"session_id=a;x=1", b"session_id=a;"])
def test_a_semicolon_must_not_change_a_watched_field(raw: bytes) -> None:
    """Some readers still separate at it."""
    assert refusal(raw) == (Reason.AMBIGUOUS_SESSION, SEMICOLON)


@pytest.mark.parametrize("name", [b"%", b"a%4", b"a%zz", b"a\x00", b"a%00", b"a%0A", b"session_id%00x", b"a\n"])
def test_names_are_read_strictly(name: bytes) -> None:
    """A name that cannot be read could be any name; in a query, which is no body, it is left alone."""
    assert refusal(name + b"=a") == (Reason.UNREADABLE_BODY, "The name of a field cannot be read.")
    assert read(name + b"=a", strict=False) == {}


def test_there_is_an_end_to_fields() -> None:
    """As many as are allowed are read."""
    assert read(b"a&" * (MOST_FIELDS - 1) + b"session_id=a") == {"session_id": "a"}
    assert refusal(b"a&" * MOST_FIELDS + b"a") == (Reason.UNREADABLE_BODY, "There are more than 10000 fields.")


def test_very_long_names_are_nobodys_ids() -> None:
    """They are not even decoded; every spelling of a watched name is shorter."""
    longest = 64 + 3 * len("context.session_id")
    assert read(b"a" * (longest + 1) + b"%=1") == {}
    assert refusal(b"a" * (longest - 1) + b"%=1")[0] is Reason.UNREADABLE_BODY
    escaped = b"".join(b"%%%02x" % letter for letter in b"context[session_id]")
    assert refusal(escaped + b"=1")[0] is Reason.AMBIGUOUS_SESSION


words = st.text(st.sampled_from("ab_ +%&=;[].é你\n"), max_size=6)


@given(st.lists(st.tuples(st.sampled_from(["session_id", "user_id"]) | words, words), max_size=5))
def test_what_was_encoded_is_found_again(pairs: list[tuple[str, str]]) -> None:
    """A form written by others is read as it was meant, or refused for a name that is there twice or in doubt."""
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
    """Where a text is not refused, readers that split at & or at both see the same watched fields."""
    try:
        found = read(raw)
    except RequestRefused:
        return
    for separated in (raw, raw.replace(b";", b"&")):
        others = parse_qsl(separated.decode(), keep_blank_values=True, errors="replace")
        assert found == {name: value for name, value in others if name in ("session_id", "user_id")}


def test_a_name_too_long_to_matter_hides_nothing_behind_it():
    """It is skipped, and reading goes on."""
    long = b"x" * 10_000
    assert read(long + b"=1&session_id=a&" + long + b"=2&user_id=b") == {"session_id": "a", "user_id": "b"}
