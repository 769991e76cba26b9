"""The proxy itself, as a process, passes the table of decisions that every door passes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.testing import serve_session_service
from tests.doors.cases import CASES, MAX_BODY, OUTAGE_CASES, Case
from tests.support.doors import Door, Recorder, recording, under_uvicorn
from tests.support.sidecar_process import sidecar_process


@pytest.fixture(scope="module", params=["true", "false"], ids=["fast path", "without fast path"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    recorder, folder = Recorder(), tmp_path_factory.mktemp("sidecar")
    with serve_session_service() as sessions, under_uvicorn(recording(recorder)) as upstream:
        settings = {
            "SIDECAR_SESSION_SERVICE": sessions.url,
            "SIDECAR_MAX_BODY": str(MAX_BODY),
            "SIDECAR_FAST_LANE": request.param,
        }
        with sidecar_process(f"http://127.0.0.1:{upstream}", folder, **settings) as process:
            yield Door(process.port, sessions, recorder)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_proxy_passes_the_table(door: Door, case: Case) -> None:
    """Status, reason, sessions created, and what the memory service saw are as the table says."""
    await door.passes(case)


@pytest.mark.parametrize("case", OUTAGE_CASES, ids=str)
async def test_the_proxy_passes_the_table_of_outages(door: Door, case: Case) -> None:
    """While the session service is down, guarded writes are refused and all else passes."""
    await door.passes(case, in_outage=True)
