"""agno 2.3.16, whose create overwrites: behind profile `agno` a write of one user does no harm to another's session."""

from __future__ import annotations

import uuid

import httpx

from tests.interop.conftest import Sidecar
from tests.support.foreign import ForeignServer

RUNS = "/agents/parrot/runs"


def test_anns_runs_survive_bobs_write(old_agno: ForeignServer, sidecar: Sidecar) -> None:
    """Bob names her session, and his run is refused; nothing is created, so nothing is overwritten."""
    session_id = str(uuid.uuid4())
    form = {"message": "hi", "session_id": session_id, "user_id": "ann", "stream": "false"}
    assert httpx.post(old_agno.url + RUNS, data=form, timeout=60).status_code == 200
    hers = f"{old_agno.url}/sessions/{session_id}?type=agent&user_id=ann"
    before = httpx.get(hers).json()
    client = sidecar(old_agno, "agno")
    refused = client.post(RUNS, data={**form, "user_id": "bob"})
    assert (refused.status_code, refused.json()["reason"]) == (404, "session_not_found")
    assert httpx.get(hers).json() == before
    assert len(before["chat_history"]) == 2
    assert client.post(RUNS, data=form).status_code == 200
