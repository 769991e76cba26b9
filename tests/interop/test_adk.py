"""Google ADK: a run for a session that does not exist finds it, and a mistyped application leaves none."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.interop.conftest import Sidecar
from tests.support.foreign import ForeignServer


def run(session_id: str, user: str = "ann", app: str = "echo") -> dict[str, Any]:
    """The body of a run."""
    message = {"role": "user", "parts": [{"text": "hi"}]}
    return {"appName": app, "userId": user, "sessionId": session_id, "newMessage": message}


def session(session_id: str, user: str = "ann", app: str = "echo") -> str:
    return f"/apps/{app}/users/{user}/sessions/{quote(session_id, safe='')}"


WRITES = {
    "run": lambda one: ("POST", "/run", run(one)),
    "run_sse": lambda one: ("POST", "/run_sse", run(one)),
    "patch session": lambda one: ("PATCH", session(one), {"stateDelta": {"a": 1}}),
    "patch memory": lambda one: ("PATCH", "/apps/echo/users/ann/memory", {"session_id": one}),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_for_a_session_that_nobody_created(adk: ForeignServer, sidecar: Sidecar, name: str) -> None:
    """404 directly, 200 through the sidecar, and the session is its user's."""
    session_id = f"s-{uuid.uuid4()}"
    method, path, body = WRITES[name](session_id)
    direct = httpx.request(method, adk.url + path, json=body)
    assert direct.status_code == 404
    through = sidecar(adk, "adk").request(method, path, json=body)
    assert through.status_code == 200, through.text
    assert httpx.get(adk.url + session(session_id)).status_code == 200


def test_two_users_each_have_their_own_session_of_one_id(adk: ForeignServer, sidecar: Sidecar) -> None:
    """Ids belong to a user here."""
    client = sidecar(adk, "adk")
    assert [client.post("/run", json=run("shared", user)).status_code for user in ("ann", "bob")] == [200, 200]


@pytest.mark.parametrize("session_id", ["my session", "sitzung-\u00fc", "会话"])
def test_ids_with_spaces_and_letters_of_any_language(adk: ForeignServer, sidecar: Sidecar, session_id: str) -> None:
    """ADK takes them, and so does its profile."""
    assert sidecar(adk, "adk").post("/run", json=run(session_id, "cleo")).status_code == 200
    assert httpx.get(adk.url + session(session_id, "cleo")).json()["id"] == session_id


def test_a_mistyped_app_keeps_its_404_and_leaves_no_session(adk: ForeignServer, sidecar: Sidecar) -> None:
    """The answer is ADK's own, byte for byte."""
    body = run("s-typo", app="ehco")
    direct = httpx.post(adk.url + "/run", json=body)
    through = sidecar(adk, "adk").post("/run", json=body)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    assert through.status_code >= 400
    left = httpx.get(adk.url + "/apps/ehco/users/ann/sessions")
    assert left.status_code >= 400 or left.json() == []


async def test_events_arrive_apart(adk: ForeignServer, sidecar: Sidecar) -> None:
    """The agent pauses between its events; the replayed run's events are not held back."""
    url = str(sidecar(adk, "adk").base_url)
    arrived: list[tuple[float, str]] = []
    async with (
        httpx.AsyncClient(base_url=url, timeout=60) as client,
        client.stream("POST", "/run_sse", json=run(f"s-{uuid.uuid4()}")) as answer,
    ):
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line:
                arrived += [(time.monotonic(), line)]
    events = [json.loads(line.removeprefix("data: ")) for _, line in arrived]
    assert [event["content"]["parts"][0]["text"] for event in events] == ["one", "two", "three"]
    # Far less than the agent's pause, which is 0.3 s: what was held back would come all at once.
    assert arrived[-1][0] - arrived[0][0] > 0.2


async def test_first_writes_at_once_all_arrive(adk: ForeignServer, sidecar: Sidecar) -> None:
    """Five at once share one create call, and the sidecar turns none away; ADK itself fails some (StaleSession)."""
    url, body = str(sidecar(adk, "adk").base_url), run(f"s-{uuid.uuid4()}")
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answers = await asyncio.gather(*(client.post("/run", json=body) for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {200, 500}
    assert 200 in {answer.status_code for answer in answers}


def test_a_restart_on_empty_memory_is_healed(adk: ForeignServer, sidecar: Sidecar) -> None:
    """What the sidecar has seen before does not matter: the next write finds its session again."""
    client, body = sidecar(adk, "adk"), run("s-restart")
    assert client.post("/run", json=body).status_code == 200
    adk.stop()
    for left in adk.folder.glob("sessions.db*"):
        left.unlink()
    adk.start()
    assert httpx.post(adk.url + "/run", json=body).status_code == 404
    assert client.post("/run", json=body).status_code == 200


@pytest.mark.parametrize(("after_delete", "status"), [("recreate", 200), ("refuse", 404)])
def test_a_write_after_a_deletion(adk: ForeignServer, sidecar: Sidecar, after_delete: str, status: int) -> None:
    """A setting says whether the write brings the session back; refused, the answer is ADK's own."""
    client, session_id = sidecar(adk, "adk", SIDECAR_AFTER_DELETE=after_delete), f"s-{uuid.uuid4()}"
    assert client.post("/run", json=run(session_id)).status_code == 200
    assert client.delete(session(session_id)).status_code == 200
    assert client.post("/run", json=run(session_id)).status_code == status
    assert httpx.get(adk.url + session(session_id)).status_code == status


async def test_a_live_run_finds_its_session(adk: ForeignServer, sidecar: Sidecar) -> None:
    """A WebSocket: the session is created before the upgrade."""
    where = str(sidecar(adk, "adk").base_url).replace("http:", "ws:")
    session_id = f"s-{uuid.uuid4()}"
    async with connect(f"{where}/run_live?app_name=echo&user_id=ann&session_id={session_id}"):
        pass
    async with httpx.AsyncClient(base_url=adk.url) as client:
        assert (await client.get(session(session_id))).status_code == 200
