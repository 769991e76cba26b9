"""Ids in log lines, hidden or not."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from sidecar.observability.log_ids import HashedIds, digest
from sidecar.profile.loading import find_profile
from tests.support.built import ROOT


def test_a_digest_is_what_sha256sum_prints_first() -> None:
    assert digest("s-1") == hashlib.sha256(b"s-1").hexdigest()[:16]


def test_ids_are_replaced_wherever_they_stand() -> None:
    hidden = HashedIds({"api", "session"}).hidden(
        {"session_id": "app/s 1", "user_id": "ada", "path": "/api/session/s%201/ada", "detail": "one sentence"}
    )
    assert hidden == {
        "session_id": f"{digest('app')}/{digest('s 1')}",
        "user_id": digest("ada"),
        "path": f"/api/session/{digest('s 1')}/{digest('ada')}",
        "detail": "one sentence",
    }


@pytest.mark.parametrize("profile", ["isa", "adk", "langgraph", "mem0"])
def test_no_literal_of_a_shipped_profile_captures_an_id(profile: str) -> None:
    literals = find_profile(profile).literals
    assert literals
    assert not [literal for literal in literals if "*" in literal or "{" in literal]


def test_a_route_is_hidden_as_a_path_is() -> None:
    assert HashedIds({"api"}).hidden({"route": "/api/*/ada"}) == {"route": f"/api/*/{digest('ada')}"}


FAILING = """
import asyncio, logging, sys
from sidecar.observability.log_ids import HashedIds
from service_kit.logs import configure_logging

log = configure_logging(sys.argv[1], "sidecar", ids=HashedIds(()))

def fail(text):
    raise RuntimeError(text)

def caused():
    try:
        fail("secret-1 in a cause")
    except RuntimeError as error:
        error.add_note("secret-2 in a note")
        raise ValueError("secret-3 in its effect") from error

try:
    caused()
except ValueError as error:
    log.exception("by structlog")
    log.error("by structlog, given", exc_info=error)
    logging.getLogger("sidecar").exception("by the standard library")
try:
    raise ExceptionGroup("secret-4", [KeyError("secret-5"), OSError(111, "Connection refused")])
except ExceptionGroup:
    log.exception("a group")

async def leave_a_task():
    asyncio.ensure_future(asyncio.sleep(0, fail)).add_done_callback(lambda done: done.result()("secret-6"))
    await asyncio.sleep(0.01)
    async def failing():
        fail("secret-7")
    task = asyncio.create_task(failing())
    await asyncio.wait({task})

asyncio.run(leave_a_task())
fail("secret-8 in what nothing catches")
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_text_of_an_exception_reaches_a_line(style: str) -> None:
    """Causes, notes, groups, callbacks, tasks and what nothing catches included; types and places stay."""
    command = [sys.executable, "-c", FAILING, style]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stderr
    assert "secret" not in printed
    for kept in ("RuntimeError", "ValueError", "KeyError", "in caused", "Connection refused", "direct cause"):
        assert kept in printed
    for event in ("by structlog", "by the standard library", "a group", "an exception was not handled"):
        assert event in printed
