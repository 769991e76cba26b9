"""Event streams are read as the standard says, however they are cut, and never without bounds."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.session_client.sse import MOST_EVENT, Comment, EndlessEvent, Event, EventStream

STREAMS = [
    (b"event: ended\nid: 7\ndata: {}\n\n", [Event("ended", "{}", "7")]),
    (b"data: no type\n\n", [Event("message", "no type", "")]),
    (b"data:no space\ndata:  two spaces\n\n", [Event("message", "no space\n two spaces", "")]),
    (b"data\n\n", [Event("message", "", "")]),
    (b": heartbeat\n\n", [Comment()]),
    (b":\n", [Comment()]),
    (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [Event("message", text, "") for text in "abc"]),
    (b"\xef\xbb\xbfdata: a byte order mark\n\n", [Event("message", "a byte order mark", "")]),
    (b"id: 1\ndata: a\n\ndata: b\n\n", [Event("message", "a", "1"), Event("message", "b", "1")]),
    (b"id: 5\0\ndata: a\n\n", [Event("message", "a", "")]),
    (b"event: ended\n\ndata: the type is gone\n\n", [Event("message", "the type is gone", "")]),
    (b"retry: 1\nunknown: 2\ndata: a\n\n", [Event("message", "a", "")]),
    (b"data: never finished\n", []),
    ("data: 你好\u2028\n\n".encode(), [Event("message", "你好\u2028", "")]),
    (b"data: \xff\n\n", [Event("message", "\ufffd", "")]),
]


@pytest.mark.parametrize(("stream", "items"), STREAMS)
def test_reads_what_the_standard_says(stream: bytes, items: list[object]) -> None:
    """Types, ids, several lines of data, all three line ends and comments are read as the standard says."""
    assert EventStream().feed(stream) == items


@given(stream=st.sampled_from(STREAMS), cuts=st.lists(st.integers(0, 80)))
def test_pieces_make_no_difference(stream: tuple[bytes, list[object]], cuts: list[int]) -> None:
    """Events are the same wherever the network cuts the bytes."""
    whole, items = stream
    edges = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    reader = EventStream()
    found = [item for start, end in itertools.pairwise(edges) for item in reader.feed(whole[start:end])]
    assert found == items


def test_remembers_where_to_go_on() -> None:
    """The last id counts once its event is complete; an event of an id alone counts too."""
    reader = EventStream("3")
    reader.feed(b"id: 4\n")
    assert reader.last_id == "3"
    reader.feed(b"\n")
    assert reader.last_id == "4"


@pytest.mark.parametrize("piece", [b"x" * 1000, b"data: " + b"x" * 1000 + b"\n"])
def test_refuses_an_event_without_end(piece: bytes) -> None:
    """An endless line, and an event of endless lines, are refused."""
    reader = EventStream()
    with pytest.raises(EndlessEvent):
        deque(map(reader.feed, [piece] * (MOST_EVENT // len(piece) + 2)), maxlen=0)


def test_many_events_are_not_one_long_event() -> None:
    """The bound holds for one event, not for the stream."""
    reader = EventStream()
    piece = b"data: " + b"x" * 1000 + b"\n\n"
    assert len(reader.feed(piece * 1000)) == 1000
