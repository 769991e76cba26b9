"""The transcripts of `explain` and `probe` in the documentation are what the commands print.

`pytest tests/docs/test_transcripts.py` with WRITE_TRANSCRIPTS=1 in the environment writes them anew.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import sidecar.tools.probe.run
from sidecar.command_line import commands
from tests.support.built import ROOT
from tests.support.probed import PROFILE, Service
from tests.support.servers import served

PAGES = sorted((ROOT / "docs").rglob("*.md"))
COMMAND = r"(?:\w+=\S+ )*session-sidecar (?:explain|probe) [^\n]*"
TRANSCRIPT = re.compile(rf"^```text\n\$ ({COMMAND})\n(.*?)```", re.MULTILINE | re.DOTALL)
WITH_TRANSCRIPTS = [page for page in PAGES if TRANSCRIPT.search(page.read_text(encoding="utf-8"))]


def printed(command: str, sessions: str) -> str:
    """What a command prints; `sessions` is the address of a session service that does harm."""
    words = shlex.split(command)
    start = words.index("session-sidecar")
    env = dict(word.split("=", 1) for word in words[:start])
    result = CliRunner().invoke(commands, words[start + 1 :], env={"SIDECAR_SESSION_SERVICE": sessions, **env})
    return result.output.replace(sessions, "http://127.0.0.1:8205")


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tried.toml").write_text(PROFILE)
    init = sidecar.tools.probe.run.Probe.__init__
    monkeypatch.setattr(sidecar.tools.probe.run.Probe, "__init__", lambda *a, **k: init(*a, **{**k, "pause": 0.0}))
    with served(Service("wipes", "gives-away", "hides").app) as url:
        yield url


@pytest.mark.parametrize("page", WITH_TRANSCRIPTS, ids=lambda page: page.stem)
def test_a_page_shows_what_the_commands_print(page: Path, sessions: str) -> None:
    """Block by block."""
    text = page.read_text(encoding="utf-8")
    fresh = TRANSCRIPT.sub(lambda block: f"```text\n$ {block[1]}\n{printed(block[1], sessions)}```", text)
    if os.environ.get("WRITE_TRANSCRIPTS"):
        page.write_text(fresh, encoding="utf-8")
    assert text == fresh


def test_there_are_transcripts_of_both_commands() -> None:
    """Otherwise the test above would say nothing."""
    commands = [block[0] for page in WITH_TRANSCRIPTS for block in TRANSCRIPT.findall(page.read_text(encoding="utf-8"))]
    assert {"explain", "probe"} <= {word for command in commands for word in command.split()}
