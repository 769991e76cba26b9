"""Log lines: every line of the process, of libraries too, in one format."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from service_kit.logs import LogFormat, LogLevel, configure_logging
from sidecar.model import Reason, Reference
from sidecar.observability.log_ids import HashedIds, digest
from sidecar.observability.metrics import Metrics
from sidecar.observability.telemetry import LoggedMetrics
from sidecar.testing import FakeClock

EVERYTHING = """
import asyncio, gc, logging, sys, threading, warnings
from service_kit.logs import configure_logging

log = configure_logging("json", "test")
try:
    raise ValueError("caught\\nin two lines")
except ValueError:
    log.exception("structlog")
    logging.getLogger("library").exception("standard %s", "library")
logging.getLogger("uvicorn.error").error("uvicorn")
logging.getLogger("library").error("%d", "no number")
warnings.warn("a warning")
log.info("surrogates", value="\\udcff", huge=2**80)

class Bad:
    def __del__(self):
        raise RuntimeError("in a finalizer")

Bad()

def fail():
    raise RuntimeError("in a thread")

thread = threading.Thread(target=fail)
thread.start()
thread.join()

async def task():
    raise RuntimeError("in a task")

async def main():
    asyncio.get_running_loop().call_soon(fail)
    asyncio.create_task(task())
    await asyncio.sleep(0.01)
    gc.collect()

asyncio.run(main())
raise RuntimeError("in the main thread")
"""


pytestmark = pytest.mark.usefixtures("own_logging")


def logged(style: LogFormat, level: LogLevel = "info") -> tuple[io.StringIO, structlog.typing.FilteringBoundLogger]:
    stream = io.StringIO()
    return stream, configure_logging(style, "test", level=level, stream=stream)


def test_every_line_is_json_whatever_failed_and_whoever_says_so(tmp_path: Path) -> None:
    """structlog, the standard library, warnings, threads, tasks, callbacks and finalizers all write JSON lines."""
    command = [sys.executable, "-c", EVERYTHING]
    ended = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 1
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    exceptions = "\n".join(line.get("exception", "") for line in lines)
    for where in ("in two lines", "in a finalizer", "in a thread", "in a task", "in the main thread"):
        assert where in exceptions
    events = [line["event"] for line in lines]
    for event in ("structlog", "standard library", "uvicorn", "a log record could not be written", "surrogates"):
        assert event in events
    assert any("a warning" in event for event in events)


def test_a_value_cannot_leave_its_line_on_a_terminal() -> None:
    """An escape code or a line feed from a client is escaped on a terminal."""
    stream, log = logged("console")
    log.info("refused", session_id="a\nb\x1b[31m")
    (line,) = stream.getvalue().splitlines()
    assert r"a\nb\x1b[31m" in line


def test_the_text_of_an_exception_has_no_power_over_a_terminal() -> None:
    """It may repeat what a client sent."""
    stream, log = logged("console")
    try:
        raise ValueError("no such id: a\x1b[2J\x9bm")
    except ValueError:
        log.exception("it failed")
    assert r"ValueError: no such id: a\x1b[2J\x9bm" in stream.getvalue()
    assert stream.getvalue().replace("\n", "").isprintable()


def test_tracebacks_for_a_person_show_no_variables() -> None:
    """A traceback shows no variables, because a token may be among them."""
    stream, log = logged("console")
    secret = "hush"  # noqa: F841 -- it is there to be shown
    try:
        raise ValueError("failed")
    except ValueError:
        log.exception("it failed")
    assert "ValueError: failed" in stream.getvalue()
    assert "'hush'" not in stream.getvalue()


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_decides_what_is_written(level: LogLevel, heard: int) -> None:
    """structlog's lines below the level are not written."""
    stream, log = logged("json", level)
    for method in (log.debug, log.info, log.warning, log.error):
        method("line")
    assert len(stream.getvalue().splitlines()) == heard


def test_libraries_are_heard_from_warnings_on() -> None:
    """Libraries are heard from the level `warning` on."""
    stream, _ = logged("json")
    logging.getLogger("some.library").info("started")
    logging.getLogger("some.library").warning("odd")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["odd"]


def test_lines_of_every_logger_have_hidden_ids() -> None:
    """Ids are hidden in the lines of each logger where the settings say so."""
    stream = io.StringIO()
    configure_logging("json", "test", ids=HashedIds(()), stream=stream)
    structlog.get_logger().warning("refused", session_id="secret", user_id=None)
    line = json.loads(stream.getvalue())
    assert (line["session_id"], line["user_id"]) == (digest("secret"), None)


@pytest.mark.parametrize("char", ["\n", "\r", "\x1b", "\x00", "\x7f", "\x9b", "\u0085", "\u2028", "\u2029", "\u202e"])
def test_no_character_of_an_id_breaks_or_turns_a_json_line(char: str) -> None:
    """Line ends, escape codes and marks that turn the direction of text stay escaped in JSON."""
    stream, log = logged("json")
    log.warning("refused", session_id=f"a{char}b 你好")
    text = stream.getvalue().removesuffix("\n")
    assert char not in text
    assert "你好" in text
    assert json.loads(text)["session_id"] == f"a{char}b 你好"


def test_ten_thousand_refusals_leave_a_bounded_log() -> None:
    """Ten lines and a count are written, and another reason is still heard."""
    stream, log = logged("json")
    clock = FakeClock()
    telemetry = LoggedMetrics(Metrics(), log, clock=clock)
    for number in range(10_000):
        telemetry.decided("refused", Reason.SESSION_GONE, Reference(f"s{number}", "ada"), "deleted")
    telemetry.decided("refused", Reason.USER_ID_REQUIRED)
    clock.advance(1.5)
    telemetry.decided("refused", Reason.USER_ID_REQUIRED)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 13
    assert [line["count"] for line in lines if line["event"] == "lines were withheld"] == [9_990]
