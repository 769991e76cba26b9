"""LangGraph's server: a run on a thread that does not exist finds it, created with the client's own credentials."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from sidecar.profile.loading import shipped_text
from tests.interop.conftest import Sidecar
from tests.support.foreign import ForeignServer

RUN: dict[str, Any] = {"assistant_id": "agent", "input": {"text": "hi"}}
ANN, BOB = {"authorization": "Bearer ann"}, {"authorization": "Bearer bob"}


def test_without_the_sidecar_a_run_on_a_new_thread_is_404(langgraph: ForeignServer) -> None:
    """The problem."""
    answer = httpx.post(f"{langgraph.url}/threads/{uuid.uuid4()}/runs/wait", json=RUN)
    assert (answer.status_code, answer.json()["detail"]) == (404, "Thread or assistant not found.")


@pytest.mark.parametrize("path", ["runs", "runs/wait", "runs/stream"])
def test_a_run_on_a_new_thread(langgraph: ForeignServer, sidecar: Sidecar, path: str) -> None:
    """The thread exists, and the run with it."""
    thread = str(uuid.uuid4())
    answer = sidecar(langgraph, "langgraph").post(f"/threads/{thread}/{path}", json=RUN)
    assert answer.status_code == 200, answer.text
    assert httpx.get(f"{langgraph.url}/threads/{thread}").json()["metadata"]["graph_id"] == "agent"


def test_state_of_a_new_thread(langgraph: ForeignServer, sidecar: Sidecar, tmp_path: Path) -> None:
    """A body with state names no graph; a copy of the profile for a server with one graph names it as the default."""
    text = shipped_text("langgraph").replace('json = ["assistant_id"]', 'json = ["assistant_id"]\ndefault = "agent"')
    profile, thread = tmp_path / "langgraph.toml", str(uuid.uuid4())
    profile.write_text(text)
    client = sidecar(langgraph, str(profile))
    assert client.post(f"/threads/{thread}/state", json={"values": {"text": "hi"}}).status_code == 200
    assert client.get(f"/threads/{thread}/state").json()["values"] == {"text": "hi"}


def test_an_unknown_graph_keeps_its_404_although_the_thread_is_there_then(
    langgraph: ForeignServer, sidecar: Sidecar
) -> None:
    """LangGraph does not say which of both is missing, so a thread is left; the answer is its own."""
    answer = sidecar(langgraph, "langgraph").post(
        f"/threads/{uuid.uuid4()}/runs/wait", json={**RUN, "assistant_id": str(uuid.uuid4())}
    )
    assert answer.status_code == 404


def test_an_id_in_upper_case_works_and_so_does_the_next_clients_first_write(
    langgraph: ForeignServer, sidecar: Sidecar
) -> None:
    """Answers spell it in lower case; that is no other id, and creation goes on for all."""
    client = sidecar(langgraph, "langgraph")
    for thread in (str(uuid.uuid4()).upper(), str(uuid.uuid4())):
        assert client.post(f"/threads/{thread}/runs/wait", json=RUN).status_code == 200


def test_an_id_that_is_no_uuid_keeps_its_answer(langgraph: ForeignServer, sidecar: Sidecar) -> None:
    """The server's own answer stands."""
    direct = httpx.post(f"{langgraph.url}/threads/chat-1/runs/wait", json=RUN)
    through = sidecar(langgraph, "langgraph").post("/threads/chat-1/runs/wait", json=RUN)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    assert 400 <= through.status_code < 500


@pytest.mark.parametrize(("after_delete", "status"), [("recreate", 200), ("refuse", 404)])
def test_a_write_after_a_deletion(langgraph: ForeignServer, sidecar: Sidecar, after_delete: str, status: int) -> None:
    """A setting says whether the write brings the thread back."""
    client, thread = sidecar(langgraph, "langgraph", SIDECAR_AFTER_DELETE=after_delete), str(uuid.uuid4())
    assert client.post(f"/threads/{thread}/runs/wait", json=RUN).status_code == 200
    assert client.delete(f"/threads/{thread}").status_code == 204
    assert client.post(f"/threads/{thread}/runs/wait", json=RUN).status_code == status


def test_a_thread_belongs_to_the_client_that_wrote_first(langgraph_with_auth: ForeignServer, sidecar: Sidecar) -> None:
    """Not to the sidecar, whose own token is not used; another user keeps the server's 404, and creates nothing."""
    server, thread = langgraph_with_auth, str(uuid.uuid4())
    client = sidecar(server, "langgraph", SIDECAR_SESSION_SERVICE_TOKEN="sidecar")
    assert client.post(f"/threads/{thread}/runs/wait", json=RUN, headers=ANN).status_code == 200
    assert httpx.get(f"{server.url}/threads/{thread}", headers=ANN).json()["metadata"]["owner"] == "ann"
    direct = httpx.post(f"{server.url}/threads/{thread}/runs/wait", json=RUN, headers=BOB)
    through = client.post(f"/threads/{thread}/runs/wait", json=RUN, headers=BOB)
    assert (direct.status_code, through.status_code, through.content) == (404, 404, direct.content)
    assert httpx.get(f"{server.url}/threads/{thread}", headers=ANN).json()["metadata"]["owner"] == "ann"


def test_existing_threads_go_on(langgraph_with_auth: ForeignServer, sidecar: Sidecar) -> None:
    """A thread that its user created before there was a sidecar."""
    thread = str(uuid.uuid4())
    httpx.post(f"{langgraph_with_auth.url}/threads", json={"thread_id": thread}, headers=ANN)
    client = sidecar(langgraph_with_auth, "langgraph")
    assert client.post(f"/threads/{thread}/runs/wait", json=RUN, headers=ANN).status_code == 200


def test_without_credentials_nothing_is_created(langgraph_with_auth: ForeignServer, sidecar: Sidecar) -> None:
    """The server's own refusal."""
    client = sidecar(langgraph_with_auth, "langgraph")
    assert client.post(f"/threads/{uuid.uuid4()}/runs/wait", json=RUN).status_code in {401, 403}
