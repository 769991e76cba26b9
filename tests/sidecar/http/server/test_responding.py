"""How answers are written: framing and persistence follow from the fields, the method and the client's version."""

from __future__ import annotations

import pytest

from sidecar.http.framing import read_framing
from sidecar.http.server.responding import ResponseWriter

LENGTH = (b"Content-Length", b"3")
CHUNKED = (b"Transfer-Encoding", b"chunked")
CLOSE = (b"Connection", b"close")


def write(*fields, method="GET", version="1.1", status=200, reason=None, closes=False, body=(b"ab", b"c")):
    """Write a whole answer; gives it, and whether the connection closes."""
    answer = ResponseWriter(method, version, status, reason, list(fields), closes=closes)
    return answer.head + b"".join(map(answer.piece, body)) + answer.end(), answer.closes


@pytest.mark.parametrize(
    ("fields", "options", "written", "closes"),
    [
        ([LENGTH], {}, b"Content-Length: 3\r\n\r\nabc", False),
        ([CHUNKED], {}, b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", False),
        ([], {}, b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", False),
        ([CLOSE], {}, b"Connection: close\r\n\r\nabc", True),
        ([LENGTH], {"closes": True}, b"Content-Length: 3\r\nConnection: close\r\n\r\nabc", True),
        ([LENGTH, CLOSE], {}, b"Content-Length: 3\r\nConnection: close\r\n\r\nabc", True),
        ([CHUNKED], {"version": "1.0", "closes": True}, b"Connection: close\r\n\r\nabc", True),
        ([], {"version": "1.0", "closes": True}, b"Connection: close\r\n\r\nabc", True),
        ([LENGTH], {"method": "HEAD"}, b"Content-Length: 3\r\n\r\n", False),
        ([CHUNKED], {"method": "HEAD"}, b"Transfer-Encoding: chunked\r\n\r\n", False),
        ([], {"method": "HEAD"}, b"\r\n", False),
    ],
)
def test_framing(fields, options, written, closes):
    """A declared length and chunks stay; a body with neither is chunked, or ends with the connection."""
    assert write(*fields, **options) == (b"HTTP/1.1 200 OK\r\n" + written, closes)


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status):
    """A response without a body may declare a length, and no transfer coding."""
    assert (
        write(LENGTH, CHUNKED, status=status, reason=b"X")[0] == b"HTTP/1.1 %d X\r\nContent-Length: 3\r\n\r\n" % status
    )


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [(404, None, b"404 Not Found"), (404, b"", b"404 "), (799, None, b"799 "), (200, b"Fine", b"200 Fine")],
)
def test_status_lines(status, reason, line):
    """A status line has the usual phrase where none is given."""
    assert write(LENGTH, status=status, reason=reason)[0].startswith(b"HTTP/1.1 " + line + b"\r\n")


def test_a_body_must_be_as_long_as_declared():
    """A body that is longer or shorter than declared is an error."""
    with pytest.raises(RuntimeError, match="longer"):
        write(LENGTH, body=[b"abcd"])
    with pytest.raises(RuntimeError, match="shorter"):
        write(LENGTH, body=[b"ab"])


@pytest.mark.parametrize("field", [(b"A", b"b\nC: d"), (b"A\nC", b"d"), (b"A", b"b\r\n\r\nbody")])
def test_a_line_feed_in_a_field_is_an_error(field):
    """A line feed in a field is an error."""
    with pytest.raises(RuntimeError, match="line feed"):
        write(LENGTH, field)


def test_only_delimited_answers_can_be_told_from_cut_ones():
    """A response with a length or chunks can be told from one that was cut."""
    assert ResponseWriter("GET", "1.1", 200, None, [LENGTH], closes=False).delimited
    assert ResponseWriter("GET", "1.1", 200, None, [], closes=False).delimited
    assert not ResponseWriter("GET", "1.0", 200, None, [CHUNKED], closes=True).delimited


def test_an_event_stream_is_known_by_its_type():
    """An event stream is known by its media type, with any parameters."""
    for content_type, is_one in (
        (b"text/event-stream", True),
        (b"Text/Event-Stream; a=b", True),
        (b"text/html", False),
    ):
        answer = ResponseWriter("GET", "1.1", 200, None, [(b"content-TYPE", content_type)], closes=False)
        assert answer.event_stream == is_one


def test_what_the_fields_say_may_be_known_before():
    """Framing that the caller knows is not read from the fields again."""
    fields = [LENGTH, (b"X-A", b"1")]
    known = ResponseWriter("GET", "1.1", 200, None, fields, closes=False, framing=read_framing(fields))
    assert known.head == ResponseWriter("GET", "1.1", 200, None, fields, closes=False).head
