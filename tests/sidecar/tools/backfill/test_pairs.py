"""Pairs are read from JSON lines and CSV line by line; what is none is named with its line."""

from __future__ import annotations

import io
import itertools
import os

import pytest

from sidecar.tools.backfill.pairs import MOST_LINE, Bad, Pair, PairFile, Record, UnreadableSource


def read(content: bytes, name: str = "pairs") -> list[Record]:
    """All records of a file with this content."""
    return list(PairFile(io.BytesIO(content), name))


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.ndjson", "pairs", "pairs.txt"])
def test_reads_json_lines(name: str) -> None:
    """Each line is one object; other fields, empty lines and a byte order mark are accepted."""
    content = (
        b'\xef\xbb\xbf{"user_id": "u1", "session_id": "s1", "more": 1}\r\n\n  \n{"session_id":"s2","user_id":"u2"}'
    )
    assert read(content, name) == [Pair(1, "u1", "s1"), Pair(4, "u2", "s2")]


@pytest.mark.parametrize("name", ["pairs.csv", "PAIRS.CSV", "pairs"])
def test_reads_csv_by_its_header(name: str) -> None:
    """Columns are found by name, in any order, among others, quoted or not."""
    content = b'\xef\xbb\xbfSession_ID,note, user_id\r\ns1,"a\nb",u1\r\n\r\n"s2",,u2\n'
    assert read(content, name) == [Pair(3, "u1", "s1"), Pair(5, "u2", "s2")]


def test_an_empty_file_has_no_pairs() -> None:
    """A file without pairs is read without an error."""
    assert read(b"") == []


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b'{"user_id": "u1"', "not JSON"),
        (b'{"user_id": "u1", "session_id": "\xff"}', "not JSON"),
        (b'{"user_id": "u1"} {}', "not JSON"),
        (b"5", "not a JSON object"),
        (b'{"user_id": "u1"}', "no session_id"),
        (b'{"session_id": "s1"}', "no user_id"),
        (b'{"user_id": null, "session_id": "s1"}', "no user_id"),
        (b'{"user_id": 5, "session_id": "s1"}', "user_id is not a string"),
        (b'{"user_id": "u1", "session_id": ""}', "session_id '' is no id: 1 to 255"),
        (b'{"user_id": "u1", "session_id": ".."}', "session_id '..' is no id"),
        (b'{"user_id": "u1", "session_id": "a/b"}', "session_id 'a/b' is no id"),
        (b'{"user_id": "\xe4\xbd\xa0", "session_id": "s1"}', "user_id"),
        (b'{"user_id": "u1", "session_id": "' + b"x" * 256 + b'"}', "is no id"),
        (b'{"user_id": "' + b"u" * MOST_LINE + b'"}', f"longer than {MOST_LINE} bytes"),
    ],
)
def test_says_why_a_json_line_is_bad(content: bytes, named: str) -> None:
    """A bad line is reported with what was found and what is allowed, and the lines around it are read."""
    good = b'{"user_id": "u", "session_id": "s"}\n'
    records = read(good + content + b"\n" + good, "pairs.jsonl")
    assert [type(record) for record in records] == [Pair, Bad, Pair]
    assert isinstance(records[1], Bad)
    assert records[1].line == 2
    assert named in records[1].why


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (b"s1", "no user_id"),
        (b",u1", "session_id '' is no id"),
        (b"a b,u1", "session_id 'a b' is no id"),
        (b"s\xff,u1", "is no id"),
        (b's1,"' + b"u" * 200_000 + b'"', "not CSV: field larger"),
        (b"s1," + b"u" * MOST_LINE, "not CSV: field larger"),
    ],
)
def test_says_why_a_csv_row_is_bad(row: bytes, named: str) -> None:
    """A bad row is reported, and the rows after it are read."""
    records = read(b"session_id,user_id\n" + row + b"\ns2,u2\n", "pairs.csv")
    assert records[-1] == Pair(3, "u2", "s2")
    assert isinstance(records[0], Bad)
    assert named in records[0].why


@pytest.mark.parametrize(
    ("content", "name", "named"),
    [
        (b"a,b\n1,2\n", "pairs.csv", "pairs.csv, line 1: .*user_id and session_id among them; found a, b"),
        (b"session_id;user_id\n", "pairs", "found session_id;user_id"),
        (b"", "pairs.csv", "found nothing"),
        (b'[{"user_id": "u1", "session_id": "s1"}]', "pairs.json", "a JSON array; one object a line"),
    ],
)
def test_refuses_a_file_that_is_wrong_as_a_whole(content: bytes, name: str, named: str) -> None:
    """A file that is wrong as a whole is refused in one sentence."""
    with pytest.raises(UnreadableSource, match=named):
        read(content, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs.jsonl", b"".join(b'{"user_id": "u", "session_id": "s%d"}\n\n' % number for number in range(9))),
        ("pairs.csv", b"user_id,session_id,note\n" + b"".join(b'u,s%d,"x\ny"\n' % number for number in range(9))),
    ],
)
def test_goes_on_where_it_stopped(name: str, content: bytes) -> None:
    """The pairs before a position and those after it are all pairs, each once."""
    everything = read(content, name)
    for stop in range(1, 9):
        before = PairFile(io.BytesIO(content), name)
        some = list(itertools.islice(before, stop))
        after = PairFile(io.BytesIO(content), name)
        after.go_on_at(before.position)
        assert some + list(after) == everything


def test_a_pipe_is_read_as_it_comes() -> None:
    """A pipe is read without rewinding it."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
        sink.write(b'{"user_id": "u1", "session_id": "s1"}\n')
        sink.close()
        assert list(PairFile(source, "standard input")) == [Pair(1, "u1", "s1")]
