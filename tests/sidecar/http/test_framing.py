"""What the fields of an answer say of its body and its connection."""

from __future__ import annotations

import pytest

from sidecar.http import framing
from sidecar.http.framing import Framing, read_framing


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([], Framing()),
        ([(b"X", b"1"), (b"Content-Length", b"5"), (b"Y", b"2")], Framing(length=5)),
        ([(b"CONTENT-LENGTH", b"0")], Framing(length=0)),
        ([(b"Transfer-Encoding", b"chunked")], Framing(chunked=True)),
        ([(b"transfer-encoding", b"Chunked")], Framing(chunked=True)),
        ([(b"transfer-encoding", b"gzip")], Framing(odd_coding=True)),
        ([(b"transfer-encoding", b"gzip, chunked")], Framing(odd_coding=True)),
        ([(b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")], Framing(chunked=True, odd_coding=True)),
        ([(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"gzip")], Framing(odd_coding=True)),
        ([(b"content-type", b"text/event-stream; charset=utf-8")], Framing(event_stream=True)),
        ([(b"Content-Type", b"Text/Event-Stream")], Framing(event_stream=True)),
        ([(b"content-type", b"text/plain")], Framing()),
        ([(b"connection", b"keep-alive")], Framing(names_connection=True)),
        ([(b"Connection", b"x, Close"), (b"connection", b"y")], Framing(names_connection=True, close=True)),
    ],
)
def test_fields_are_read_whatever_their_case(headers, said):
    """Framing fields are read in any letter case, the first time and when the name is known."""
    assert read_framing(headers) == said
    assert read_framing(headers) == said


def test_a_length_that_is_no_number_is_an_error():
    """A length that is no number is an error."""
    with pytest.raises(ValueError, match="invalid literal"):
        read_framing([(b"content-length", b"five")])


def test_names_are_remembered_within_bounds(monkeypatch):
    """The number of remembered names is bounded, and further names are read all the same."""
    monkeypatch.setattr(framing, "_names", {})
    made_up = [(b"X-%d" % number, b"") for number in range(2 * framing._REMEMBERED_NAMES)]
    assert read_framing([*made_up, (b"Content-Length", b"7")]) == Framing(length=7)
    assert len(framing._names) == framing._REMEMBERED_NAMES


def test_what_a_name_means_is_remembered(monkeypatch):
    """A name is remembered by its spelling, with its meaning or with none."""
    monkeypatch.setattr(framing, "_names", {})
    read_framing([(b"Content-Type", b"a/b"), (b"Server", b"x")])
    assert framing._names == {b"Content-Type": b"content-type", b"Server": b""}
