"""The requests that are sent mean what the cases say they mean."""

import json

import pytest

from benchmarks import wire

WRITES = (wire.SMALL_WRITE, wire.CHINESE_RAW, wire.CHINESE_ESCAPED, wire.TOOLS_CALL, wire.LARGE_WRITE)


@pytest.mark.parametrize("number", [0, 1, 999_999, 0xFFFF0000])
def test_ids_have_the_width_that_content_length_counts_on(number: int) -> None:
    """The placeholders keep their lengths for every number."""
    assert len(wire.session_id(number)) == wire.SESSION_WIDTH
    assert number >= 10**8 or len(wire.user_id(number)) == wire.USER_WIDTH


@pytest.mark.parametrize("template", WRITES)
def test_a_filled_write_is_one_whole_request(template: wire.Template) -> None:
    """Content-Length is the body's, and the body is JSON that names the session once."""
    head, _, body = template.fill(7).partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert int(fields[b"Content-Length"]) == len(body)
    assert body.count(wire.session_id(7).encode()) == 1
    assert json.loads(body)


def test_chinese_text_is_sent_both_ways() -> None:
    """Raw UTF-8 in one, escapes alone in the other, the same text in both."""
    raw, escaped = (each.fill(7).partition(b"\r\n\r\n")[2] for each in (wire.CHINESE_RAW, wire.CHINESE_ESCAPED))
    assert json.loads(raw) == json.loads(escaped)
    assert escaped.isascii()
    assert b"\\u" not in raw
