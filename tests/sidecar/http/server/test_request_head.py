"""Heads and bodies: what is taken means the same to every reader, however the bytes were cut."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.http.server.head_reader import HeadReader, find_head
from sidecar.http.server.request_body import ChunkedBody, LengthBody
from sidecar.http.server.request_head import BadRequest, RequestHead, parse_head

METHODS = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"]
PIECES = [
    b"GET ", b"POST ", b"/", b"/a?b#c", b"http://h/p", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/0.9", b"\r\n", b"\r\n\r\n",
    b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b"Host: h", b"Host:", b"\r\nHost: h\r\n", b"Content-Length: 5",
    b"Content-Length: 0", b"content-length:5", b"5", b"+", b"Transfer-Encoding: chunked", b"chunked", b"gzip",
    b"Connection: close", b"Connection: upgrade", b"Upgrade: x", b"Expect: 100-continue", b"a: b", b"\xff", b"\x7f",
]  # fmt: skip


class Llhttp:
    """What llhttp makes of a head."""

    def __init__(self, head: bytes) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.complete = False
        self.parser = httptools.HttpRequestParser(self)
        with contextlib.suppress(httptools.HttpParserUpgrade):
            self.parser.feed_data(head)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def read(data: bytes) -> RequestHead | None:
    """Read the head at the start of `data`; None where it is refused or has no end."""
    try:
        end = find_head(data)
        return parse_head(data[:end]) if end else None
    except BadRequest:
        return None


heads = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
    st.builds(
        lambda method, fields: (
            f"{method} /a?b HTTP/1.1\r\n".encode() + b"\r\n".join([b"Host: h", *fields]) + b"\r\n\r\n"
        ),
        st.sampled_from(METHODS),
        st.lists(
            st.one_of(
                st.lists(st.sampled_from(PIECES), max_size=3).map(b"".join),
                st.binary(max_size=6).map(lambda value: b"X-A: " + value),
                st.binary(max_size=4).map(lambda name: name + b": v"),
            ),
            max_size=4,
        ),
    ),
)


@given(heads)
@example(b"GET / HTTP/1.1\r\nHost: h\r\nA: \xff\r\n\r\n")
def test_what_is_taken_two_other_parsers_take_and_read_alike(data):
    """llhttp and h11 accept each head that is accepted here, with the same method, target, fields and framing."""
    head = read(data)
    if head is None:
        return
    end = find_head(data)
    theirs = Llhttp(data[:end])
    assert theirs.complete
    assert theirs.parser.get_method().decode() == head.method
    assert theirs.target == head.target
    # llhttp leaves the white space behind a value to its user (RFC 9112, section 5.1: it is no part of the value).
    assert [(name, value.rstrip(b" \t")) for name, value in theirs.fields] == head.raw_headers
    assert theirs.parser.get_http_version() == head.version
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data[:end].lstrip(b"\r\n"))
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    assert request.method.decode() == head.method
    assert request.target == head.target
    assert [(name, value) for name, value in request.headers] == head.headers
    assert (connection.next_event() is h11.NEED_DATA) == head.has_body


def everything_of(head: RequestHead) -> dict[str, object]:
    """Give all that was read of a head, without what was remembered beside it."""
    kinds = ("length", "chunked", "has_body", "keep_alive", "expects_continue", "upgrade", "raw", "method", "target")
    return {name: getattr(head, name) for name in (*kinds, "version", "raw_headers", "headers", "fields")}


def outcome(parse: Callable[[], RequestHead]) -> object:
    """Give what is read, or how it is refused."""
    try:
        return everything_of(parse())
    except BadRequest as refused:
        return refused.status, refused.detail


TARGETS = [
    b"/", b"/other?x=1", b"*", b"http://h/p", b"//h/../p", b"/ HTTP/1.1\r\nHost: g\r\nA: /", b"/\x7f", b"/ b", b"",
]  # fmt: skip


@given(heads, heads, st.sampled_from(TARGETS))
@example(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n", b"/b")
@example(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", b"", b"/ HTTP/1.1\r\nA: /")
def test_a_head_is_read_alike_with_and_without_the_one_before(before, other, target):
    """A head that repeats the fields of the one before reads as it reads by itself; so does any other head."""
    last = read(before)
    if last is None:
        return
    around = last.raw[: last.target_start], last.raw[last.target_start + len(last.target) :]
    for data in (other, around[0] + target + around[1]):
        end = find_end(data)
        if end:
            raw = data[:end]
            compared = outcome(lambda raw=raw: read_after(last, raw))
            assert compared == outcome(lambda raw=raw: parse_head(raw))


def read_after(last: RequestHead, raw: bytes) -> RequestHead:
    """Read a head on a connection that has read `last`."""
    heads = HeadReader()
    heads._remember(last)
    head = heads.read(raw)
    assert head is not None
    return head


LENGTHS = [b"7", b"0", b"007", b"", b"1" * 18, b"1" * 19, b"5, 5", b"+5", b"5\r\nTransfer-Encoding: chunked", b"\xb2"]


@pytest.mark.parametrize("digits", LENGTHS)
def test_a_head_with_another_length_is_read_alike_with_and_without_the_one_before(digits):
    last = parse_head(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5 \r\nExpect: 100-continue\r\nA: b\r\n\r\n")
    raw = digits.join(last.raw.split(b"5"))
    assert outcome(lambda: read_after(last, raw)) == outcome(lambda: parse_head(raw))


def test_what_was_learnt_of_a_head_counts_for_another_length_and_target():
    """A head is classified and written for the upstream once, however often its length and its target change."""
    first = parse_head(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
    first.classified = True
    first.upstream_head = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-Forwarded-For: p\r\n\r\n"
    longer = read_after(first, first.raw.replace(b"5", b"12"))
    assert longer.classified
    assert longer.upstream_head == first.upstream_head.replace(b"5", b"12")
    other = read_after(longer, longer.raw.replace(b"/a", b"/bc"))
    assert (other.target, other.length, other.classified) == (b"/bc", 12, False)
    assert outcome(lambda: read_after(other, other.raw.replace(b"12", b"3"))) == outcome(
        lambda: parse_head(other.raw.replace(b"12", b"3"))
    )


def find_end(data: bytes) -> int:
    """Give the length of the head at the start of `data`; 0 where it is refused or has no end."""
    try:
        return find_head(data)
    except BadRequest:
        return 0


@given(heads, st.data())
def test_where_a_head_is_cut_changes_nothing(data, draw):
    """A beginning that is refused belongs to a head that is refused with the same status."""
    cut = draw.draw(st.integers(0, len(data)))
    early = status_of(data[:cut])
    if early is not None:
        assert status_of(data) == early


@given(heads, st.data())
def test_what_was_seen_before_need_not_be_seen_again(data, draw):
    """Looking at the new bytes alone finds the same end and the same faults."""
    seen = draw.draw(st.integers(0, len(data)))
    if status_of(data[:seen]) is None:
        assert status_of(data, seen) == status_of(data)


@pytest.mark.parametrize("empty", [0, 1, 16])
def test_a_few_empty_lines_come_before_a_request(empty):
    """A few empty lines before a request are skipped (RFC 9112, section 2.2)."""
    assert status_of(b"\r\n" * empty + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == 200


def test_many_empty_lines_are_no_request():
    """More empty lines than a few are refused."""
    assert status_of(b"\r\n" * 16) is None
    assert status_of(b"\r\n" * 17) == 400
    assert status_of(b"\r\n" * 17 + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == 400


def status_of(data: bytes, seen: int = 0) -> int | None:
    """Give 200 for a head that is taken, the status of one that is refused, and None where the end has not come."""
    try:
        end = find_head(data, seen)
        return (parse_head(data[:end]) and 200) if end else None
    except BadRequest as error:
        return error.status


@pytest.mark.parametrize(
    ("data", "target"),
    [
        (b"GET /a%2Fb//c?d=e&f#g HTTP/1.1\r\n", b"/a%2Fb//c?d=e&f#g"),
        (b"GET /? HTTP/1.1\r\n", b"/?"),
        (b"GET http://other/p HTTP/1.1\r\n", b"http://other/p"),
        (b"OPTIONS * HTTP/1.1\r\n", b"*"),
        (b'GET /"<>\\^`{|} HTTP/1.1\r\n', b'/"<>\\^`{|}'),
    ],
)
def test_targets_stay_as_they_came(data, target):
    """A target is kept byte for byte."""
    head = read(data + b"Host: h\r\n\r\n")
    assert head is not None
    assert head.target == target


def test_any_method_is_taken():
    """Any token is a method."""
    head = read(b"FROBNICATE / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert head is not None
    assert head.method == "FROBNICATE"


def test_names_are_given_in_both_cases_and_values_without_white_space_around_them():
    """Field names are kept as they came and in lower case, in their order, with duplicates."""
    head = read(b"GET / HTTP/1.1\r\nHost: h\r\nX-One:  a \t\r\nx-one:\r\n\r\n")
    assert head is not None
    assert head.raw_headers == [(b"Host", b"h"), (b"X-One", b"a"), (b"x-one", b"")]
    assert head.headers == [(b"host", b"h"), (b"x-one", b"a"), (b"x-one", b"")]


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", True),
        (b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", True),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n", True),
        (b"Upgrade: websocket\r\n", False),
        (b"Connection: Upgrade\r\n", False),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", False),
    ],
)
def test_only_a_get_without_body_may_upgrade(fields, allowed):
    """An upgrade is honoured for a GET without a body, and never to h2c."""
    get = read(b"GET / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n")
    post = read(b"POST / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n")
    assert get is not None
    assert post is not None
    assert get.upgrade == allowed
    assert not post.upgrade


def test_http_1_0_neither_persists_nor_waits_nor_upgrades():
    """An HTTP/1.0 request neither persists, nor expects 100, nor upgrades."""
    head = read(b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\nExpect: 100-continue\r\n\r\n")
    assert head is not None
    assert (head.keep_alive, head.expects_continue, head.upgrade, head.fields.get(b"host")) == (
        False,
        False,
        False,
        None,
    )


chunked = st.lists(st.binary(min_size=1, max_size=20), max_size=5)


def encode(pieces: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return chunks + b"0" + extension + b"\r\n" + trailer + b"\r\n"


@given(
    chunked,
    st.sampled_from([b"", b";a", b';a="b c";d=e']),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    st.binary(max_size=8),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_a_chunked_body_is_the_same_however_it_is_cut(pieces, extension, trailer, rest, cuts):
    """The data of a chunked body is the same however it is cut, and what follows is left alone."""
    data = encode(pieces, extension, trailer) + rest
    body = ChunkedBody()
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    got = left = b""
    for start, end in itertools.pairwise(edges):
        if body.complete:
            left += data[start:end]
        else:
            piece, after = body.take(data[start:end])
            got += piece
            left += after
    assert body.complete
    assert got == b"".join(pieces)
    assert left == rest


@given(st.lists(st.sampled_from([b"5", b"\r\n", b"hello", b"0", b"\n", b";", b" ", b"\r", b"x: y", b"a"]), max_size=10))
@example([b"0", b";", b"\r\n", b"\r\n"])
@example([b"0", b';a="b;\\"c"', b"\r\n", b"\r\n"])
def test_what_is_taken_for_a_chunked_body_llhttp_reads_alike(pieces):
    """A sequence of pieces that is a complete body here is the same body to llhttp."""
    data = b"".join(pieces)
    body = ChunkedBody()
    try:
        got, rest = body.take(data)
    except BadRequest:
        return
    if not body.complete:
        return
    theirs = bytearray()
    reader = Llhttp(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    parser = httptools.HttpRequestParser(_Collector(theirs))
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    parser.feed_data(data[: len(data) - len(rest)])
    assert reader.complete
    assert bytes(theirs) == got + b"."


class _Collector:
    def __init__(self, into: bytearray) -> None:
        self.into = into

    def on_body(self, body: bytes) -> None:
        self.into += body

    def on_message_complete(self) -> None:
        self.into += b"."


def test_a_chunk_extension_and_a_trailer_have_a_limit():
    """A chunk extension and a trailer are refused beyond a limit."""
    for start in (b"1;", b"0\r\nA: "):
        with pytest.raises(BadRequest):
            ChunkedBody().take(start + b"x" * 9000)


@given(st.binary(max_size=30), st.integers(0, 20))
def test_a_body_of_declared_length_ends_there(data, length):
    """A body of declared length ends there, and what follows is left alone."""
    body = LengthBody(length)
    piece, rest = body.take(data)
    assert (piece, rest) == (data[:length], data[length:])
    assert body.complete == (len(data) >= length)
