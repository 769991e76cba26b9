"""Answers off a connection: the same calls in the same order, however the bytes were cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http.client.response import BadResponse
from sidecar.http.client.response_reader import ResponseReader, ResponseReceiver

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"
CHUNKS = (
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n"
)
EMPTY = b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


class Heard(ResponseReceiver):
    """A sink that remembers."""

    def __init__(self) -> None:
        self.calls = []
        self.text = b""

    def interim(self, head):
        self.calls.append((head.status, head.headers))

    def head(self, head):
        self.calls.append((head.status, head.reason, head.headers, head.until_close))

    def body(self, data):
        self.text += data


def read(data: bytes, cuts=(), *, is_head=False, upgrade=False):
    """Read one answer; gives what was heard, and the reader."""
    heard, reader = Heard(), ResponseReader()
    reader.begin(heard, is_head=is_head, upgrade=upgrade)
    for start, end in itertools.pairwise(sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})):
        reader.feed(data[start:end])
    return (heard.calls, heard.text, reader.done, reader.unfit), reader


@given(st.sampled_from([LONG, CHUNKS, EMPTY, HINTS + LONG, HINTS + HINTS + CHUNKS]), st.lists(st.integers(1, 150)))
def test_where_the_bytes_are_cut_changes_nothing(data, cuts):
    """The receiver is told the same, and the connection ends in the same state, wherever the bytes are cut."""
    assert read(data, cuts)[0] == read(data)[0]
    assert read(data)[0][2:] == (True, False)


@pytest.mark.parametrize("cut", range(1, len(LONG)))
def test_bytes_behind_an_answer_make_the_connection_unfit(cut):
    """Bytes behind an answer make the connection unfit, in the same read or a later one."""
    (_, text, done, unfit), _ = read(LONG + LONG[:cut])
    assert (text, done, unfit) == (b"hello", True, True)


def test_an_answer_to_head_ends_with_its_head():
    """An answer to HEAD ends with its head, and a body that comes all the same makes the connection unfit."""
    head = LONG.removesuffix(b"hello")
    assert read(head, is_head=True)[0][1:] == (b"", True, False)
    assert read(LONG, is_head=True)[0][1:] == (b"", True, True)


def test_after_head_the_next_answer_is_read_as_ever():
    """The answer after one to HEAD is read with its body."""
    _, reader = read(LONG.removesuffix(b"hello"), is_head=True)
    heard = Heard()
    reader.begin(heard, is_head=False, upgrade=False)
    reader.feed(LONG)
    assert (heard.text, reader.done, reader.unfit) == (b"hello", True, False)


@pytest.mark.parametrize("last", [b"Connection: close\r\n", b""])
def test_a_body_may_end_with_the_connection(last):
    """A body without a length ends with the connection."""
    (calls, text, done, unfit), _ = read(b"HTTP/1.1 200 OK\r\n" + last + b"\r\nhello")
    assert (calls[0][3], text, done, unfit) == (True, b"hello", False, True)


def test_an_upgrade_is_given_where_one_was_asked_for():
    """An upgrade is reported with the bytes behind it, where one was asked for."""
    switching = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    reader = ResponseReader()
    reader.begin(Heard(), is_head=False, upgrade=True)
    assert reader.feed(switching + b"first") == b"first"
    assert reader.switching_head().reason == b"Switching"
    for data, upgrade in ((switching, False), (b"HTTP/1.1 101 Switching\r\n\r\n", True)):
        with pytest.raises(BadResponse):
            read(data, upgrade=upgrade)


@pytest.mark.parametrize(
    ("data", "is_familiar"),
    [
        (LONG, True),
        (CHUNKS, False),
        (EMPTY, False),
        (HINTS + LONG, False),
        (LONG + b"x", False),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_only_a_whole_answer_of_declared_length_becomes_familiar(data, is_familiar):
    """Only a whole answer of declared length, in one read, on a connection that persists, becomes a template."""
    assert (read(data)[1].template(data) is not None) == is_familiar


def test_a_familiar_answer_is_recognised_by_every_byte_of_its_head():
    """A template is recognised by each byte of the head, with a body of the same length."""
    template = read(LONG)[1].template(LONG)
    reader = ResponseReader()
    reader.begin(Heard(), is_head=False, upgrade=False)
    for other in (LONG[:-1], LONG + b"!", LONG.replace(b"X-A: b", b"X-A: c"), LONG.replace(b"200", b"201"), EMPTY):
        assert reader.recognise(template, other) is None
    assert reader.recognise(template, LONG.replace(b"hello", b"olleh")) == b"olleh"
    assert reader.recognise(template, LONG) is None
    reader.begin(Heard(), is_head=True, upgrade=False)
    assert reader.recognise(template, LONG) is None


@given(st.binary(max_size=40))
def test_a_body_that_looks_like_an_answer_is_a_body(tail):
    """A body that looks like an answer is read as a body, in whatever pieces it comes."""
    body = LONG + tail
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    heard, reader = Heard(), ResponseReader()
    template = read(LONG)[1].template(LONG)
    reader.begin(heard, is_head=False, upgrade=False)
    reader.feed(data)
    for piece in (LONG, tail):
        assert reader.recognise(template, piece) is None
        if piece:
            reader.feed(piece)
        assert reader.template(piece) is None
    assert heard.text == body
