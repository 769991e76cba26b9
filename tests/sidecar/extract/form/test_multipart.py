"""Multipart forms: what is found, and all that is refused for being readable in more than one way."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.requests import Request

from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.form.multipart import MOST_PARTS, read_multipart
from sidecar.extract.refused import RequestRefused
from sidecar.model import Reason
from tests.support.reading import fields, multipart

NAMES = FieldNames(["session_id", "user_id"])
ENDS = "The multipart form does not begin and end with its boundary, or has the boundary elsewhere."
GOES_ON = "A line of the multipart form begins with the boundary but goes on."
NO_END = "A part of the form has no end to its header, or too long a one."
HEADER = "A part of the form has a header that cannot be read, or one twice."
NAME = "A part of the form has no name that every reader reads alike."
SESSION = 'Content-Disposition: form-data; name="session_id"'


def read(body: bytes, boundary: bytes = b"XX") -> object:
    return read_multipart(body, boundary, NAMES)


def refusal(body: bytes) -> tuple[Reason, str]:
    with pytest.raises(RequestRefused) as error:
        read(body)
    return error.value.refuse.reason, error.value.refuse.detail


def unreadable(body: bytes) -> str:
    reason, detail = refusal(body)
    assert reason is Reason.UNREADABLE_BODY
    return detail


def test_watched_fields_are_found_among_others() -> None:
    """Watched fields are found among other fields and files."""
    body = multipart(
        *fields(message="hello", session_id="s1", user_id="u1"),
        ('Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain', b"\r\n--X\r\n"),
    )
    assert read(body) == {"session_id": "s1", "user_id": "u1"}


def test_a_form_may_be_empty_or_lack_the_last_line_end() -> None:
    """A closing delimiter ends the form, with or without a line end after it."""
    assert read(b"--XX--\r\n") == {}
    assert read(b"--XX--") == {}
    assert read(multipart(*fields(session_id="s")).removesuffix(b"\r\n")) == {"session_id": "s"}


@pytest.mark.parametrize(
    "head",
    [
        "content-disposition:form-data;name=session_id",
        'CONTENT-DISPOSITION:   Form-Data ;  NAME="session_id"  ',
        SESSION + "\r\nContent-Type: text/plain",
        SESSION + "\r\nContent-Type: text/plain; charset=UTF-8",
        SESSION + "\r\nContent-Transfer-Encoding: 8BIT",
        SESSION + "\r\nContent-Transfer-Encoding: binary \t",
        SESSION + "\r\nContent-Transfer-Encoding: 7bit",
        SESSION + "\r\nX-Other: \xe9",
        SESSION + '; size="3"',
    ],
)
def test_spellings_of_a_part(head: str) -> None:
    """Letter case and spaces may vary where the standards let them."""
    assert read(multipart((head, b"abc"))) == {"session_id": "abc"}


def test_a_file_is_no_text() -> None:
    """The content of a file part is kept as bytes, so that it is never taken for an id."""
    assert read(multipart((SESSION + '; filename="x"', b"abc"))) == {"session_id": b"abc"}
    assert read(multipart((SESSION + "; filename*=utf-8''x", b"abc"))) == {"session_id": b"abc"}


def test_text_that_is_not_utf_8_is_no_id() -> None:
    """A value that is not UTF-8 is replaced by characters that no id contains."""
    assert read(multipart((SESSION, b"a\xff"))) == {"session_id": "a\ufffd"}


def test_a_name_that_is_not_utf_8_is_nobodys() -> None:
    """A part whose name is not UTF-8 is no watched field."""
    body = multipart(*fields(x="y", session_id="a")).replace(b'"x"', b'"\xff"')
    assert read(body) == {"session_id": "a"}


def test_values_keep_line_ends_and_spaces() -> None:
    """A value loses only the line end that belongs to the delimiter."""
    assert read(multipart((SESSION, b" a\r\n"))) == {"session_id": " a\r\n"}


def test_a_field_may_be_there_once() -> None:
    """A watched field that is there twice is refused: readers take the first, the last, or all."""
    body = multipart(*fields(session_id="a"), *fields(session_id="a"))
    assert refusal(body) == (Reason.AMBIGUOUS_SESSION, "The field session_id is there more than once.")


@pytest.mark.parametrize(
    "name",
    [
        "session_id[]", "Session_ID", " session_id", "session_id ", ".session_id", "session\\_id", "\\session_id",
        "\ufeffsession_id", "'session_id'", "session.id", "session id", "session[id", "session%5Fid", "session_id%00",
        "?session_id", "session+id", "session%255fid", "%EF%BB%BFsession_id", "sess\u0131on_id", "session_id\u200b",
        "session_id " + "x" * 1000, " " * 1000 + "session_id",
    ],
)  # fmt: skip
def test_look_alikes_are_refused(name: str) -> None:
    """A name that some readers take for a watched one is refused, as in urlencoded forms."""
    assert refusal(multipart(*fields(**{name: "a"})))[0] is Reason.AMBIGUOUS_SESSION


@pytest.mark.parametrize(
    "body",
    [
        b"", b"XX", b"--XX", b"--XX\r\n", b"--X--\r\n", b"--XX--\r\nepilogue", b"--XX-- \r\n", b"--XX--\r\n\r\n",
        b"--XX--\n",
        b"preamble\r\n--XX--\r\n", b"\r\n--XX--\r\n", b"\n--XX--\r\n",
        multipart((SESSION, b"a--XXb")), multipart((SESSION, b"a\n--XX\n")), multipart((SESSION, b"a\r--XX\r")),
        multipart((SESSION, b"a")).replace(b"\r\n", b"\n"), multipart((SESSION, b" --XX")),
        multipart((SESSION, b"a"))[:-4],
    ],
)  # fmt: skip
def test_delimiters_stand_at_both_ends_and_nowhere_else(body: bytes) -> None:
    """A preamble, an epilogue, a bare line end and a second ending are refused."""
    assert unreadable(body) == ENDS


@pytest.mark.parametrize("line", [b"--XX ", b"--XX\t", b"--XXX", b"--XX-", b"--XX\r", b"--XX--x"])
def test_a_delimiter_line_ends_at_once(line: bytes) -> None:
    """Padding after a delimiter, and a longer boundary, are refused."""
    body = (
        b"--XX\r\n"
        + SESSION.encode()
        + b"\r\n\r\na\r\n"
        + line
        + b"\r\n"
        + SESSION.encode()
        + b"\r\n\r\nb\r\n--XX--\r\n"
    )
    assert unreadable(body) == GOES_ON


def test_a_closing_delimiter_in_the_middle_is_refused() -> None:
    """A closing delimiter before the end is refused: what follows exists for some readers only."""
    body = b"--XX\r\n" + SESSION.encode() + b"\r\n\r\na\r\n--XX--\r\n" + multipart((SESSION, b"b"))
    assert unreadable(body) == GOES_ON
    assert unreadable(b"--XX--\r\n--XX--\r\n") == GOES_ON


@pytest.mark.parametrize("head", ["", "\r\n", "x\r\ny", SESSION, "a" * 8193])
def test_a_part_has_a_header_that_ends(head: str) -> None:
    """A part without a header, or whose header does not end within 8 KiB, is refused."""
    body = b"--XX\r\n" + head.encode() + b"\r\n--XX--\r\n"
    assert unreadable(body) == NO_END


def test_a_header_may_be_long_but_not_too_long() -> None:
    """A part's header of 8 KiB is read, and a longer one is refused."""
    padding = "x" * (8192 - len(SESSION) - len("\r\nX: "))
    assert read(multipart((f"{SESSION}\r\nX: {padding}", b"a"))) == {"session_id": "a"}
    assert unreadable(multipart((f"{SESSION}\r\nX: {padding}x", b"a"))) == NO_END


@pytest.mark.parametrize(
    "head",
    [
        SESSION + "\r\n" + SESSION, SESSION + "\r\ncontent-disposition: form-data", SESSION + "\r\nno colon",
        SESSION + "\r\n folded", SESSION + "\r\n\tfolded", SESSION + "\r\nA : b", SESSION + "\r\n: b",
        SESSION + "\nA: b",
        SESSION + "\r\nA: \x00", SESSION + "\r\nA: b\x7f", SESSION + "\rA: b",
    ],
)  # fmt: skip
def test_headers_are_read_strictly(head: str) -> None:
    """A folded, repeated or bare-terminated header line of a part is refused."""
    assert unreadable(multipart((head, b"a"))) == HEADER


@pytest.mark.parametrize(
    "disposition",
    [
        "form-data", "", "attachment; name=session_id", 'form-data; filename="x"', 'form-data; name="session_id',
        'form-data; name="a"; name="b"', 'form-data; name="a"; Name="a"', "form-data; name*=utf-8''session_id",
        "form-data; name",
        'form-data; name="a"; name*=x', 'form-data; name="a"; name*0=x', 'form-data; name="a\\"',
        'form-data; name="a" x',
        'form-data; name="a"; filename="b\\"; x="c"', 'form-data; name="a"; filename="x; name=session_id"',
        "form-data name=a",
        'form-data; name = "a"', 'form-data; name="a"; filename="b\\"c"', "form-datax; name=a", 'form-data; name="a",',
        'form-data; name="a"; filename="; NAME=b"', "form-data; name='a b'",
    ],
)  # fmt: skip
def test_a_part_has_one_name_that_all_readers_see(disposition: str) -> None:
    """Escapes, extended notations, repeated parameters and names inside quotes are refused."""
    assert unreadable(multipart((f"Content-Disposition: {disposition}", b"a"))) == NAME


@pytest.mark.parametrize("filename", ["a;b.txt", "C:\\a.txt", "my name.txt", "名.txt", "%22"])
def test_ordinary_file_names_are_no_trouble(filename: str) -> None:
    """File names with ordinary punctuation are accepted."""
    head = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    assert read(multipart((head, b"x"), *fields(session_id="a"))) == {"session_id": "a"}


def test_a_part_without_disposition_is_refused() -> None:
    """A part without `Content-Disposition` is refused."""
    assert unreadable(multipart(("Content-Type: text/plain", b"a"))) == NAME


@pytest.mark.parametrize("coding", ["base64", "quoted-printable", "x", "binaryX", "7 bit"])
def test_an_id_in_a_transfer_encoding_is_refused(coding: str) -> None:
    """A watched field with a transfer encoding is refused; another field may have one."""
    header = f"\r\nContent-Transfer-Encoding: {coding}"
    assert unreadable(multipart((SESSION + header, b"YQ=="))) == "The field session_id has a transfer encoding."
    other = ('Content-Disposition: form-data; name="file"' + header, b"YQ==")
    assert read(multipart(other, *fields(session_id="a"))) == {"session_id": "a"}


def test_an_id_in_another_charset_is_refused() -> None:
    """A watched field with a charset of its own is refused; another field may have one."""
    header = "\r\nContent-Type: text/plain; charset=UTF-16"
    assert unreadable(multipart((SESSION + header, b"a"))) == "The body is declared in a charset other than UTF-8."
    other = ('Content-Disposition: form-data; name="file"' + header, b"a")
    assert read(multipart(other, *fields(session_id="a"))) == {"session_id": "a"}


def test_there_is_an_end_to_parts() -> None:
    """A form with more delimiters than are allowed is refused, and one with as many is read."""
    part = ('Content-Disposition: form-data; name="x"', b"a")
    assert read(multipart(*[part] * (MOST_PARTS - 1))) == {}
    assert unreadable(multipart(*[part] * MOST_PARTS)) == "The form has more than 1000 parts."


def others_read(body: bytes) -> dict[str, object]:
    """What Starlette, with python-multipart under it, finds."""

    async def form() -> dict[str, object]:
        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": body, "more_body": False}

        headers = [(b"content-type", b"multipart/form-data; boundary=XX")]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        async with request.form() as content:
            return {name: b"file" if isinstance(value, UploadFile) else value for name, value in content.multi_items()}

    return asyncio.run(form())


texts = st.text(st.sampled_from("ab-X \r\n\t;=é"), max_size=8)


@given(st.lists(st.tuples(st.sampled_from(["session_id", "user_id", "x", "y z"]), texts), min_size=1, max_size=4))
def test_what_is_found_is_what_others_find(parts: list[tuple[str, str]]) -> None:
    """A form that is not refused has the same fields for Starlette."""
    body = multipart(*((f'Content-Disposition: form-data; name="{name}"', value.encode()) for name, value in parts))
    try:
        found = read(body)
    except RequestRefused:
        return
    others = others_read(body)
    assert found == {name: value for name, value in others.items() if name in ("session_id", "user_id")}


@given(
    st.lists(st.tuples(st.sampled_from(["session_id", "x"]), st.sampled_from(["a", "b c", ""])), max_size=3), st.data()
)
def test_a_damaged_form_is_refused_or_means_the_same_to_others(
    parts: list[tuple[str, str]], data: st.DataObject
) -> None:
    """A form that was damaged at any place is refused, or names the same ids to every reader."""
    body = multipart(*((f'Content-Disposition: form-data; name="{name}"', value.encode()) for name, value in parts))
    place = data.draw(st.integers(0, len(body)))
    piece = data.draw(
        st.sampled_from([b"\r", b"\n", b"\r\n", b'"', b";", b"--XX", b"\r\n--XX", b" ", b"name=", b"\\", b"\x00", b"-"])
    )
    try:
        found = read(body[:place] + piece + body[place:])
    except RequestRefused:
        return
    try:
        others = others_read(body[:place] + piece + body[place:])
    except Exception:
        return
    assert found == {name: value for name, value in others.items() if name in ("session_id", "user_id")}


@pytest.mark.parametrize("disposition", ["name='session_id'", "name='session_id", "name=session_id'"])
def test_apostrophes_are_quotes_to_php(disposition: str) -> None:
    """PHP takes apostrophes for quotes, so a name between them is refused."""
    body = multipart((f"Content-Disposition: form-data; {disposition}", b"a"))
    assert refusal(body)[0] is Reason.AMBIGUOUS_SESSION


@pytest.mark.parametrize("name", ["=?utf-8?Q?session=5Fid?=", "=?utf-8?B?c2Vzc2lvbl9pZA==?=", "=?x"])
def test_an_encoded_word_is_no_name(name: str) -> None:
    """commons-fileupload decodes encoded words, so a name that is one is refused."""
    assert unreadable(multipart((f'Content-Disposition: form-data; name="{name}"', b"a"))) == NAME


def test_an_id_in_a_content_encoding_is_refused() -> None:
    """aiohttp decodes a part's content encoding, so a watched field with one is refused."""
    header = "\r\nContent-Encoding: deflate"
    assert unreadable(multipart((SESSION + header, b"a"))) == "The field session_id has a transfer encoding."
    other = ('Content-Disposition: form-data; name="file"' + header, b"a")
    assert read(multipart(other, *fields(session_id="a"))) == {"session_id": "a"}


@pytest.mark.parametrize("head", [SESSION, 'Content-Disposition: form-data; name="x"'])
def test_a_part_is_as_long_as_it_says(head: str) -> None:
    """aiohttp reads as many bytes as a part's `Content-Length` says, so a wrong length is refused."""
    assert read(multipart((head + "\r\nContent-Length: 1", b"a"))) in ({"session_id": "a"}, {})
    for length in ("0", "2", "50", "x", "+1", "01"):
        body = multipart((f"{head}\r\nContent-Length: {length}", b"a"))
        assert unreadable(body) == "A part of the form has another Content-Length than its content."


@pytest.mark.parametrize("name", ["_charset_", "\\_charset_", "_charset\\_"])
def test_a_form_does_not_change_its_charset(name: str) -> None:
    """aiohttp decodes what follows `_charset_` by it, so the field is refused."""
    charset = (f'Content-Disposition: form-data; name="{name}"', b"utf-16")
    assert unreadable(multipart(charset, *fields(session_id="a"))) == "The form names a charset other than UTF-8."
    assert read(multipart(*fields(_charset_="UTF-8", session_id="a"))) == {"session_id": "a"}
