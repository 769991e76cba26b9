"""Recovery through a real sidecar, with the fast path on and off: JSON, chunked bodies, deletions, shadow mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.servers import served
from tests.support.sidecar_process import sidecar_process
from tests.support.ways import WAYS, Way

PROFILE = """
name = "checks-itself"
prefixes = ["/runs", "/notes", "/sessions"]
owner = "none"
after_delete = "refuse"

[ids.session_id]
json = ["session"]

[[rules]]
kind = "recover"
methods = ["POST"]
paths = ["/runs"]
says_missing = { status = 404, at = "/error", equals = "no session {session_id}" }

[[rules]]
kind = "ensure"
methods = ["POST"]
paths = ["/notes"]

[[rules]]
kind = "forget"
paths = ["/sessions/{session_id}"]

[session_service]
style = "post"
at = "upstream"
id_field = "id"
credentials = ["authorization"]

[session_service.look]
path = "/sessions/{session_id}"
statuses = { found = [200], absent = [404] }

[session_service.create]
path = "/sessions"
body = { id = "{session_id}" }
statuses = { created = [201], taken = [409] }
"""


class Server:
    """A memory server that checks its sessions itself. `calls` are its requests, `bodies` those of runs."""

    def __init__(self) -> None:
        self.sessions: dict[str, str] = {}
        self.calls: list[str] = []
        self.bodies: list[bytes] = []
        routes = [
            Route("/runs", self.run, methods=["POST"]),
            Route("/sessions", self.create, methods=["POST"]),
            Route("/sessions/{id}", self.look, methods=["GET"]),
            Route("/sessions/{id}", self.delete, methods=["DELETE"]),
            Route("/notes", lambda _request: JSONResponse({}), methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def run(self, request: Request) -> Response:
        self.calls.append("run")
        self.bodies.append(await request.body())
        session = (await request.json()).get("session")
        if session not in self.sessions:
            return JSONResponse({"error": f"no session {session}"}, 404, headers={"x-own": "1"})
        return JSONResponse({"owner": self.sessions[session]})

    async def create(self, request: Request) -> Response:
        self.calls.append("create")
        session = (await request.json())["id"]
        if session in self.sessions:
            return JSONResponse({"error": "taken"}, 409)
        self.sessions[session] = request.headers.get("authorization", "nobody")
        return JSONResponse({"id": session}, 201)

    async def look(self, request: Request) -> Response:
        session = request.path_params["id"]
        return JSONResponse({"id": session}, 200 if session in self.sessions else 404)

    async def delete(self, request: Request) -> Response:
        self.sessions.pop(request.path_params["id"], None)
        return Response(status_code=204)


@pytest.fixture
def server() -> Server:
    return Server()


def client_of(url: str, folder: Path, way: Way = Way.FAST_PATH, **env: str) -> Any:
    (folder / "profile.toml").write_text(PROFILE)
    # The profile has its session service at the upstream, also where `wrap` forwards nothing there.
    return sidecar_process(url, folder, way, SIDECAR_PROFILE="profile.toml", SIDECAR_UPSTREAM=url, **env)


@pytest.fixture(params=WAYS, ids=str)
def client(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[httpx.Client]:
    with (
        served(server.app) as url,
        client_of(url, tmp_path, request.param) as sidecar,
        httpx.Client(base_url=sidecar.process.url()) as client,
    ):
        yield client


def test_a_run_creates_its_session_with_the_clients_credentials(client: httpx.Client, server: Server) -> None:
    """The first run creates the session, and later runs pass."""
    for _ in range(3):
        answer = client.post("/runs", json={"session": "s-1"}, headers={"authorization": "Bearer ann"})
        assert (answer.status_code, answer.json()) == (200, {"owner": "Bearer ann"})
    assert server.calls == ["run", "create", "run", "run", "run"]


def test_a_chunked_body_is_sent_again_as_it_came(client: httpx.Client, server: Server) -> None:
    """The chunks are sent again, without a declared length."""
    pieces = [b'{"session": ', b'"s-1", "text": "', b"x" * 100_000, b'"}']
    answer = client.post("/runs", content=iter(pieces), headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert server.bodies == [b"".join(pieces)] * 2


def test_an_answer_that_stands_is_the_upstreams_own(client: httpx.Client, server: Server) -> None:
    """A run that names no session gets the upstream's own answer."""
    answer = client.post("/runs", json={"a": 1})
    assert (answer.status_code, answer.json(), answer.headers["x-own"]) == (404, {"error": "no session None"}, "1")
    assert server.calls == ["run"]


def test_a_restarted_server_is_healed(client: httpx.Client, server: Server) -> None:
    """Sessions that a restart lost are created again."""
    assert client.post("/runs", json={"session": "s-1"}).status_code == 200
    server.sessions.clear()
    assert client.post("/runs", json={"session": "s-1"}).status_code == 200


def test_a_session_that_is_known_by_another_rule_is_healed_too(client: httpx.Client, server: Server) -> None:
    """A session that another rule has made known is still recovered."""
    assert client.post("/notes", json={"session": "s-1"}).status_code == 200
    server.sessions.clear()
    assert client.post("/runs", json={"session": "s-1"}).status_code == 200


def test_a_deleted_session_does_not_come_back(client: httpx.Client, server: Server) -> None:
    """The profile says `refuse`, and the upstream's own answer stands."""
    assert client.post("/runs", json={"session": "s-1"}).status_code == 200
    assert client.delete("/sessions/s-1").status_code == 204
    answer = client.post("/runs", json={"session": "s-1"})
    assert (answer.status_code, answer.json()) == (404, {"error": "no session s-1"})
    assert server.sessions == {}


def test_in_shadow_mode_nothing_is_created(server: Server, tmp_path: Path) -> None:
    """Shadow mode forwards and creates nothing."""
    with served(server.app) as url, client_of(url, tmp_path, SIDECAR_MODE="shadow") as sidecar:
        answer = httpx.post(f"{sidecar.process.url()}/runs", json={"session": "s-1"})
    assert (answer.status_code, server.calls) == (404, ["run"])


def test_the_authoriser_does_not_take_its_own_answer_for_a_deletion(server: Server, tmp_path: Path) -> None:
    """It admits a DELETE that the memory service has yet to carry out, and may refuse."""
    server.sessions["s-1"] = "nobody"
    with served(server.app) as url, client_of(url, tmp_path, SIDECAR_AUTHZ="127.0.0.1:0") as sidecar:
        authz = sidecar.process.url("authz")
        assert httpx.delete(f"{authz}/envoy/sessions/s-1").status_code == 200
        assert httpx.post(f"{authz}/envoy/notes", json={"session": "s-1"}).status_code == 200
