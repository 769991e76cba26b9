"""Bodies that say one thing under their content coding and another without it."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from typing import Final
from urllib.parse import parse_qs

import brotli
import pytest
import zstandard

from sidecar.extract.extractor import Extractor
from sidecar.model import Extraction, Head, Reason, Reference, RuleKind
from tests.support.reading import ISA, STORE

MINE: Final = b"session_id=s1&user_id=u1"
HIDDEN: Final = b"&session_id=s2&user_id=u2&"
URLENCODED: Final = (b"content-type", b"application/x-www-form-urlencoded")
MULTIPART: Final = (b"content-type", b"multipart/form-data; boundary=B")
PART: Final = b'--B\r\ncontent-disposition: form-data; name="session_id"\r\n\r\ns%d\r\n'
OWNER: Final = b'--B\r\ncontent-disposition: form-data; name="user_id"\r\n\r\nu1\r\n--B--\r\n'


def gzip_with_comment(content: bytes, comment: bytes) -> bytes:
    """Compress the content behind a header that has a comment (RFC 1952, section 2.3)."""
    deflated = zlib.compress(content)[2:-4]
    header = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff" + comment + b"\0"
    return header + deflated + struct.pack("<II", zlib.crc32(content), len(content))


def extract(raw: bytes, content: bytes, *headers: tuple[bytes, bytes], target: bytes = STORE.encode()) -> Extraction:
    classification = Extractor(ISA).classify(Head("POST", target, headers))
    assert classification is not None
    return classification.extract_coded(raw, content)


def refused(extraction: Extraction) -> Reason | None:
    (call,) = extraction.calls
    return None if call.refusal is None else call.refusal.reason


@pytest.mark.parametrize(
    ("content", "hidden", "declared"),
    [
        (MINE, HIDDEN, [URLENCODED]),
        (b'{"session_id": "s1", "user_id": "u1"}', HIDDEN, []),
        (PART % 1 + OWNER, b"\r\n" + PART % 2 + OWNER, [MULTIPART]),
    ],
)
def test_a_gzip_header_hides_no_form(content: bytes, hidden: bytes, declared: list[tuple[bytes, bytes]]) -> None:
    """The stream is whole and harmless; a framework that ignores the coding finds another session in its header."""
    raw = gzip_with_comment(content, hidden)
    assert gzip.decompress(raw) == content
    assert refused(extract(raw, content, *declared)) is Reason.AMBIGUOUS_SESSION


def test_the_hidden_form_is_one_to_a_reader_of_forms() -> None:
    """Otherwise the test above would show nothing."""
    raw = gzip_with_comment(MINE, HIDDEN)
    assert parse_qs(raw.decode("latin-1"))["session_id"] == ["s2"]


def repr_of_few(raw: bytes) -> str:
    return repr(raw[:24])


@pytest.mark.parametrize("target", [STORE, "/mcp"])
@pytest.mark.parametrize(
    "raw",
    [
        b'\r{"session_id": "s2"}',
        b"\xef\xbb\xbf[{}]",
        b"{",
        b'[{"session_id": "s2"}] ',
        b'[0, {"session_id": "s\xff2"}',
        b'["' + b"x" * 5000 + b'", {"session_id": "s2"}]',
        b"[" * 5000,
        b"[" + b"1" * 5000 + b"]",
        b"[true," * 5000,
        '[{"session_id": "\u2200"}]'.encode("utf-16"),
        '[{"session_id": "\u2200"}]'.encode("utf-32-be"),
    ],
    ids=repr_of_few,
)
def test_a_coded_body_that_begins_like_json_is_refused(raw: bytes, target: str) -> None:
    """Some deflate streams consist of printable bytes."""
    content = b'{"session_id": "s1", "user_id": "u1"}'
    assert refused(extract(raw, content, target=target.encode())) is Reason.AMBIGUOUS_SESSION


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, zstandard.compress])
@pytest.mark.parametrize(
    ("content", "declared"), [(MINE, [URLENCODED]), (b'{"session_id": "s1", "user_id": "u1"}', [])]
)
def test_what_real_codecs_make_is_read(compress, content: bytes, declared: list[tuple[bytes, bytes]]) -> None:
    """Also where a codec leaves a short body as it is, so that parts of it stand in the coded body."""
    (call,) = extract(compress(content), content, *declared).calls
    assert call.reference == Reference("s1", "u1", RuleKind.ENSURE, ())


def form(ending: bytes, *, first: bytes = PART % 1) -> bytes:
    """Make a form with a picture of 200 KB in it, which no codec can compress."""
    head = b'--B\r\ncontent-disposition: form-data; name="picture"; filename="p"\r\ncontent-type: image/jpeg\r\n\r\n'
    return first + head + random.Random(1).randbytes(200_000) + b"\r\n" + ending


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, zstandard.compress, brotli.compress])
def test_a_coded_form_with_a_file_that_does_not_compress_is_read(compress) -> None:
    """A codec leaves such a form nearly as it is: parts of it stand in the coded body, the file broken."""
    content = form(OWNER)
    raw = compress(content)
    assert b"\r\n--B\r\n" in raw
    (call,) = extract(raw, content, MULTIPART).calls
    assert call.reference == Reference("s1", "u1", RuleKind.ENSURE, ())


@pytest.mark.parametrize(
    "hidden",
    [
        PART % 2,
        b'--B\r\ncontent-disposition: form-data; name="picture"; filename="p"\r\n\r\n',
        b'--B--\r\ncontent-disposition: form-data; name="session_id"\r\n\r\ns2\r\n--B--\r\n',
        b'--B\ncontent-disposition: form-data; name="session_id"\n\ns2\n--B--',
        b"--B",
    ],
)
@pytest.mark.parametrize("behind", [True, False])
def test_a_part_that_only_the_coded_form_has_is_refused(hidden: bytes, *, behind: bool) -> None:
    """A part of another value, of another header, behind the end, in other line ends, or without an end."""
    content = form(OWNER)
    coded = gzip.compress(content)
    raw = coded + hidden if behind else hidden + coded
    assert refused(extract(raw, content, MULTIPART)) is Reason.AMBIGUOUS_SESSION


def test_a_watched_part_that_is_broken_in_the_coded_form_is_refused() -> None:
    """Its header alone does not make it the same part."""
    content = form(OWNER)
    coded = zstandard.compress(content)
    raw = coded.replace(b"\r\n\r\ns1\r\n", b"\r\n\r\ns2\r\n")
    assert raw != coded
    assert refused(extract(raw, content, MULTIPART)) is Reason.AMBIGUOUS_SESSION


@pytest.mark.parametrize("length", range(65_000, 1_000_000, 31_013))
def test_a_large_brotli_body_is_read(length: int) -> None:
    """Brotli begins a stream of 64 KiB to 1 MiB with an opening bracket."""
    text = random.Random(length).randbytes(length // 2).hex().encode()
    content = b'{"session_id": "s1", "user_id": "u1", "content": "%b"}' % text
    raw = brotli.compress(content, quality=4)
    assert length < 70_000 or raw.startswith(b"[")
    (call,) = extract(raw, content).calls
    assert call.reference == Reference("s1", "u1", RuleKind.ENSURE, ())
