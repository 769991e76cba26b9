"""agno 3: a run continues a session of its own user, and no other; agno's own create decides who that is."""

from __future__ import annotations

import asyncio
import uuid

import httpx

from tests.interop.conftest import Sidecar
from tests.support.foreign import ForeignServer

RUNS = "/agents/parrot/runs"


def said(session_id: str, user: str, text: str = "hi") -> dict[str, str]:
    """The form of a run."""
    return {"message": text, "session_id": session_id, "user_id": user, "stream": "false"}


def test_without_the_sidecar_a_mistyped_session_id_makes_a_new_session(agno: ForeignServer) -> None:
    """The problem: the run is answered as if the conversation went on."""
    session_id = str(uuid.uuid4())
    assert httpx.post(agno.url + RUNS, data=said(session_id, "ann"), timeout=60).status_code == 200
    assert httpx.get(f"{agno.url}/sessions/{session_id}?type=agent&user_id=ann").status_code == 200


def test_a_run_for_a_session_that_does_not_exist_is_refused(agno: ForeignServer, sidecar: Sidecar) -> None:
    """No session comes of it."""
    client, session_id = sidecar(agno, "agno"), str(uuid.uuid4())
    refused = client.post(RUNS, data=said(session_id, "ann"))
    assert (refused.status_code, refused.json()["reason"]) == (404, "session_not_found")
    assert httpx.get(f"{agno.url}/sessions/{session_id}?type=agent&user_id=ann").status_code == 404


async def test_of_two_users_who_want_one_new_session_one_gets_it_everywhere(
    agno: ForeignServer, sidecar: Sidecar
) -> None:
    """25 create and write as one user, 25 as the other, through two sidecars; the session is listed under its agent."""
    session_id = str(uuid.uuid4())
    sidecars = [str(sidecar(agno, "agno").base_url), str(sidecar(agno, "agno").base_url)]

    async def write(number: int) -> tuple[str, int]:
        user, through = ("ann", "bob")[number % 2], sidecars[number // 2 % 2]
        wanted = {"session_id": session_id, "user_id": user, "agent_id": "parrot"}
        async with httpx.AsyncClient(base_url=through, timeout=60) as client:
            await client.post("/sessions?type=agent", json=wanted)
            answer = await client.post(RUNS, data=said(session_id, user))
        return user, answer.status_code

    outcomes = set(await asyncio.gather(*(write(number) for number in range(50))))
    (owner,) = (user for user, status in outcomes if status == 200)
    # agno hides a session of another user (404); what a sidecar knows already it refuses as owned by another (403).
    assert {status for user, status in outcomes if user == owner} == {200}
    assert {status for user, status in outcomes if user != owner} <= {403, 404}
    async with httpx.AsyncClient(base_url=agno.url) as client:
        listed = await client.get(f"/sessions?type=agent&component_id=parrot&user_id={owner}&limit=100")
    assert session_id in [session["session_id"] for session in listed.json()["data"]]
