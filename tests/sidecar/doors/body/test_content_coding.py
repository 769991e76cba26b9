"""Content codings are undone for reading: one layer, bounded, complete."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sidecar.doors.body.content_coding import HARMLESS, MOST_EXPANSION, coding_of, decode
from sidecar.extract.refused import RequestRefused
from sidecar.model import Reason

LIMIT = 10 << 20
TEXT = b'{"session_id":"s1","user_id":"u1"}' * 20


def raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(data) + encoder.flush()


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
CODINGS = [*ENCODERS.items(), ("deflate", raw_deflate)]


def coding(*values: bytes) -> str:
    return coding_of([(b"host", b"x"), *((b"content-encoding", value) for value in values)])


def refusal(body: bytes, name: str, *, limit: int = LIMIT) -> tuple[Reason, str]:
    with pytest.raises(RequestRefused) as error:
        decode(body, name, limit=limit)
    return error.value.refuse.reason, error.value.refuse.detail


@pytest.mark.parametrize("values", [[], [b""], [b"identity"], [b"Identity, identity"], [b" , "], [b"identity", b""]])
def test_no_coding_is_identity(values: list[bytes]) -> None:
    """No field, an empty one and `identity` all mean no coding."""
    assert coding(*values) == "identity"
    assert decode(b"abc", "identity", limit=1) == b"abc"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"gzip", "gzip"),
        (b"GZip", "gzip"),
        (b"x-gzip", "x-gzip"),
        (b" br ", "br"),
        (b"identity, zstd", "zstd"),
        (b"deflate,", "deflate"),
    ],
)
def test_one_coding_is_found(value: bytes, name: str) -> None:
    """A coding is recognised in any letter case."""
    assert coding(value) == name


@pytest.mark.parametrize(
    "values", [[b"gzip, gzip"], [b"gzip", b"br"], [b"compress"], [b"snappy"], [b"gzip;q=1"], [b"\xff"], [b"gzip br"]]
)
def test_other_codings_and_layers_are_not_decoded(values: list[bytes]) -> None:
    """An unknown coding, and several of them, are refused."""
    with pytest.raises(RequestRefused) as error:
        coding(*values)
    assert error.value.refuse.reason is Reason.UNSUPPORTED_ENCODING
    assert error.value.refuse.detail == (
        "The body has a content coding that cannot be read here; "
        "one of these is possible: gzip, x-gzip, deflate, br, zstd."
    )


@pytest.mark.parametrize(("name", "encode"), CODINGS)
def test_a_coded_body_is_decoded(name: str, encode: object) -> None:
    """Each coding is decoded, deflate with and without zlib's header."""
    assert callable(encode)
    assert decode(encode(TEXT), name, limit=LIMIT) == TEXT
    assert decode(encode(b""), name, limit=LIMIT) == b""


@pytest.mark.parametrize("name", ENCODERS)
def test_an_empty_body_has_no_coding(name: str) -> None:
    """An empty body is empty under each coding."""
    assert decode(b"", name, limit=LIMIT) == b""


@pytest.mark.parametrize(("name", "encode"), CODINGS)
@pytest.mark.parametrize("damage", ["cut", "more", "twice", "junk"])
def test_a_body_is_one_complete_stream(name: str, encode: object, damage: str) -> None:
    """A stream that is cut, goes on after its end, or is of another coding is refused."""
    assert callable(encode)
    whole = encode(TEXT)
    body = {"cut": whole[:-1], "more": whole + b"x", "twice": whole + whole, "junk": b"{}" + whole}[damage]
    assert refusal(body, name) == (Reason.UNREADABLE_BODY, f"The body is not one complete {name} stream.")


def test_a_zstd_stream_that_ends_with_its_piece_does_not_go_on() -> None:
    """What follows the end of a zstd stream is refused wherever the input is cut."""
    for size in range(90, 140):
        whole = zstandard.compress(bytes(range(256))[:size])
        assert decode(whole, "zstd", limit=LIMIT) == bytes(range(256))[:size]
        assert refusal(whole + b"x", "zstd")[0] is Reason.UNREADABLE_BODY


def test_deflated_data_that_can_be_read_both_ways_is_refused() -> None:
    """Data that is a text both as zlib and as bare deflate is refused."""
    # To a bare reader the first byte begins a stored block of one byte; to zlib's the first two are its wrapping.
    seen_by_zlib = b"\x00\x00\xff\xff" + b"\x01\xfe\xff\x01\x00" + b"x" * 65525
    ending = b"\x01\x00\x00\xff\xff" + zlib.adler32(seen_by_zlib).to_bytes(4, "big")
    body = b"\x78\x01" + b"\x00\xfe\xff\x01\x00" + seen_by_zlib + ending
    assert zlib.decompress(body) == seen_by_zlib
    assert zlib.decompress(body, wbits=-15) == b"\x01" + b"x" * 65525 + ending
    assert refusal(body, "deflate") == (Reason.UNREADABLE_BODY, "The body is not one complete deflate stream.")


@pytest.mark.parametrize(("name", "encode"), CODINGS)
def test_output_has_a_limit(name: str, encode: object) -> None:
    """A body is decoded up to the limit exactly."""
    assert callable(encode)
    body = encode(bytes(range(256)) * 4)
    assert len(decode(body, name, limit=1024)) == 1024
    assert refusal(body, name, limit=1023) == (
        Reason.BODY_TOO_LARGE,
        "The body, decoded, has more than 1023 bytes.",
    )


@pytest.mark.parametrize(("name", "encode"), CODINGS)
def test_growth_has_a_limit(name: str, encode: object) -> None:
    """A body that grows beyond a ratio is refused long before the limit."""
    assert callable(encode)
    bomb = encode(b"a" * (20 * HARMLESS))
    allowed = max(HARMLESS, MOST_EXPANSION * len(bomb))
    assert allowed < 20 * HARMLESS
    assert refusal(bomb, name, limit=1 << 30) == (
        Reason.BODY_TOO_LARGE,
        f"The body, decoded, has more than {allowed} bytes.",
    )


@pytest.mark.parametrize(("name", "encode"), CODINGS)
def test_small_bodies_may_grow_freely(name: str, encode: object) -> None:
    """A small body may grow by any ratio."""
    assert callable(encode)
    assert len(decode(encode(b"a" * HARMLESS), name, limit=LIMIT)) == HARMLESS


def test_a_window_larger_than_http_allows_is_refused() -> None:
    """A zstd window over 8 MiB is refused before memory is taken for it (RFC 9659)."""
    for log, readable in ((23, True), (24, False)):
        parameters = zstandard.ZstdCompressionParameters(window_log=log, write_content_size=False)
        encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        body = encoder.compress(b"abc" * 100) + encoder.flush()
        if readable:
            assert decode(body, "zstd", limit=LIMIT) == b"abc" * 100
        else:
            assert refusal(body, "zstd")[0] is Reason.UNREADABLE_BODY


@given(st.binary(max_size=2000), st.sampled_from(CODINGS))
def test_whatever_was_coded_is_read_again(data: bytes, one: tuple[str, object]) -> None:
    """A body of any bytes is decoded to what was coded."""
    name, encode = one
    assert callable(encode)
    assert decode(encode(data), name, limit=LIMIT) == data


@given(st.binary(min_size=1, max_size=200), st.sampled_from(list(ENCODERS)))
def test_any_bytes_are_decoded_or_refused(data: bytes, name: str) -> None:
    """Any bytes are decoded or refused, and raise nothing else."""
    try:
        decode(data, name, limit=LIMIT)
    except RequestRefused as refused:
        code = refused.refuse.reason
    else:
        code = Reason.UNREADABLE_BODY
    assert code in (Reason.UNREADABLE_BODY, Reason.BODY_TOO_LARGE)
