"""Which record of an interrupted backfill counts for a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.tools.backfill.pairs import Position
from sidecar.tools.backfill.progress import Done, ProgressFile

LINES = [b"%06d\n" % number for number in range(100_000)]


def saved(folder: Path, lines: list[bytes], done: int) -> ProgressFile:
    """The record of a run that was broken off after so many lines."""
    source = folder / "pairs.jsonl"
    source.write_bytes(b"".join(lines))
    progress = ProgressFile(source, "http://sessions")
    progress.save(Done(Position(len(b"".join(lines[:done])), done)))
    return progress


@pytest.mark.parametrize("done", [1, 50_000])
def test_a_file_that_has_grown_goes_on(tmp_path: Path, done: int) -> None:
    progress = saved(tmp_path, LINES, done)
    with (tmp_path / "pairs.jsonl").open("ab") as source:
        source.write(b"more\n")
    assert progress.load().position.line == done


@pytest.mark.parametrize("place", [0, 20_000, 49_999])
def test_a_file_with_a_line_more_in_what_was_read_begins_anew(tmp_path: Path, place: int) -> None:
    """It was written anew, and its pairs up to there are not the ones that were acknowledged."""
    progress = saved(tmp_path, LINES, 50_000)
    (tmp_path / "pairs.jsonl").write_bytes(b"".join([*LINES[:place], b"new\n", *LINES[place:]]))
    assert progress.load() == Done()
