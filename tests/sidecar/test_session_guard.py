"""The public names: a guard in process, around an application that knows nothing of it, under foreign servers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

import sidecar
from sidecar import SessionGuard, SessionGuardMiddleware, Settings
from sidecar.testing import SessionServiceApp, serve_session_service
from tests.doors.cases import CASES, MAX_BODY, OUTAGE_CASES, STORE, Case
from tests.support.doors import Door, Recorder, Serve, under_hypercorn, under_uvicorn
from tests.support.eventually import eventually

WRITE = {"user_id": "ann", "session_id": "s1", "message_content": "hi"}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"]


def unchanged_app(recorder: Recorder) -> FastAPI:
    """A FastAPI application that answers everything with 200 and knows nothing of any guard."""
    app = FastAPI()

    @app.api_route("/{path:path}", methods=METHODS)
    async def anything(path: str, request: Request) -> dict[str, bool]:
        recorder.seen.append((request.method, await request.body()))
        recorder.permits.append(request.scope.get("session_guard"))
        return {"success": True}

    return app


@pytest.fixture(scope="module", params=[under_uvicorn, under_hypercorn], ids=["uvicorn", "hypercorn"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    serve: Serve = request.param
    recorder = Recorder()
    app = unchanged_app(recorder)
    with serve_session_service() as sessions, pytest.MonkeyPatch.context() as environment:
        environment.setenv("SIDECAR_SESSION_SERVICE", sessions.url)
        environment.setenv("SIDECAR_MAX_BODY", str(MAX_BODY))
        app.add_middleware(SessionGuardMiddleware)
        with serve(app) as port:
            yield Door(port, sessions, recorder)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_middleware_around_an_unchanged_application_passes_the_table(door: Door, case: Case) -> None:
    """Status, reason, sessions created, and what the application saw are as the table says."""
    await door.passes(case)


@pytest.mark.parametrize("case", OUTAGE_CASES, ids=str)
async def test_the_middleware_passes_the_table_of_outages(door: Door, case: Case) -> None:
    """While the session service is down, guarded writes are refused and all else passes."""
    await door.passes(case, in_outage=True)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Say on what grounds the request was admitted, and for which sessions."""
    permit = scope["session_guard"]
    named = [reference.session_id for reference in permit.references]
    await JSONResponse({"grounds": permit.grounds.value, "sessions": named})(scope, receive, send)


@pytest.fixture
def sessions() -> Iterator[SessionServiceApp]:
    with serve_session_service() as service:
        yield service


@pytest.fixture
async def guard(sessions: SessionServiceApp) -> AsyncIterator[SessionGuard]:
    async with SessionGuard.from_settings(Settings(session_service=sessions.url)) as guard:
        # Until the stream of events is up, an answer may count as overtaken and be asked for again.
        await eventually(lambda: guard.metrics.events_connected)
        yield guard


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://memory.example")


async def test_the_application_finds_grounds_and_references_in_its_scope(guard: SessionGuard) -> None:
    """`scope["session_guard"]` says why the request was admitted and which sessions it names."""
    async with client_of(SessionGuardMiddleware(answer, guard=guard)) as client:
        assert (await client.post(STORE, json=WRITE)).json() == {"grounds": "created", "sessions": ["s1"]}
        assert (await client.post(STORE, json=WRITE)).json() == {"grounds": "known", "sessions": ["s1"]}
        assert (await client.get("/anything")).json() == {"grounds": "passed", "sessions": []}


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("/pre", f"/pre{STORE}"),
        ("/pre fix", f"/pre%20fix{STORE}"),
        ("/pre", f"/%70re{STORE}"),
        ("/pre", f"/pre{STORE.replace('store', '%73tore')}"),
        ("/pre", STORE),
    ],
)
async def test_a_root_path_lets_no_write_pass(guard: SessionGuard, root: str, path: str) -> None:
    """The profile speaks of what the application routes, which is what stands below the root path."""
    transport = httpx.ASGITransport(SessionGuardMiddleware(answer, guard=guard), root_path=root)
    async with httpx.AsyncClient(transport=transport, base_url="http://memory.example") as client:
        assert (await client.post(path, json=WRITE)).json() == {"grounds": "created", "sessions": ["s1"]}


async def test_a_mounted_application_is_guarded(guard: SessionGuard) -> None:
    """Rules that let a request pass hold there too, and a profile may speak of the whole path."""
    app = Starlette(routes=[Mount("/memory", app=SessionGuardMiddleware(answer, guard=guard))])
    async with client_of(app) as client:
        assert (await client.post(f"/memory{STORE}", json=WRITE)).json()["grounds"] == "created"
        assert (await client.post(f"/memory{STORE}", json=WRITE | {"user_id": "bob"})).status_code == 403
        deactivation = f"/memory{STORE.replace('store', 's1/deactivate')}"
        assert (await client.post(deactivation, json=WRITE)).json()["grounds"] == "passed"
        assert (await client.post(f"/memory{STORE}?x=1", content=b"{")).json()["reason"] == "unreadable_body"
    assert guard.metrics.unguarded_writes == 0


async def test_a_path_that_was_changed_before_the_guard_lets_no_write_pass(guard: SessionGuard) -> None:
    """A layer that takes a prefix away often leaves `raw_path` as it was; the application routes by `path`."""
    guarded = SessionGuardMiddleware(answer, guard=guard)

    async def changed(scope: Scope, receive: Receive, send: Send) -> None:
        await guarded({**scope, "path": scope["path"].removeprefix("/pre")}, receive, send)

    async with client_of(changed) as client:
        assert (await client.post(f"/pre{STORE}", json=WRITE)).json() == {"grounds": "created", "sessions": ["s1"]}


async def test_a_guard_serves_several_applications(guard: SessionGuard, sessions: SessionServiceApp) -> None:
    """A session that one application's request made known is known to the other's."""
    async with (
        client_of(SessionGuardMiddleware(answer, guard=guard)) as one,
        client_of(SessionGuardMiddleware(answer, guard=guard)) as other,
    ):
        assert (await one.post(STORE, json=WRITE)).json()["grounds"] == "created"
        assert (await other.post(STORE, json=WRITE)).json()["grounds"] == "known"
    assert sessions.calls == [("PUT", "/api/v1/sessions/s1")]


async def test_a_middleware_without_a_guard_and_without_lifespan_says_what_is_missing() -> None:
    """A request that comes before the guard has started is an error that names both remedies."""
    async with client_of(SessionGuardMiddleware(answer)) as client:
        with pytest.raises(RuntimeError, match="pass one, or serve with the lifespan protocol"):
            await client.post(STORE, json=WRITE)


@pytest.mark.parametrize(
    ("settings", "published"), [({}, True), ({"profile": "langgraph"}, False), ({"mode": "off"}, False)], ids=str
)
async def test_the_event_stream_is_published_only_where_there_is_one(
    sessions: SessionServiceApp, settings: dict[str, Any], published: bool
) -> None:
    """An alert asks for 0, which would fire for ever where no stream is followed."""
    async with SessionGuard.from_settings(Settings(session_service=sessions.url, **settings)) as guard:
        families = {family.name for family in guard.metrics.collect()}
        assert ("sidecar_events_connected" in families) is published


@pytest.mark.parametrize("mode", ["enforce", "shadow", "off"])
async def test_a_guard_outside_of_its_block_is_an_error_and_lets_no_write_pass(
    sessions: SessionServiceApp, mode: str
) -> None:
    """A server without lifespan never opens it, and a mounted application's lifespan does not run."""
    reached: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)

    guard = SessionGuard.from_settings(Settings(session_service=sessions.url, mode=mode))
    async with client_of(SessionGuardMiddleware(app, guard=guard)) as client:
        with pytest.raises(RuntimeError, match="not open"):
            await client.post(STORE, json=WRITE)
    with pytest.raises(RuntimeError, match="not open"):
        await guard.decide("POST", STORE)
    async with guard:
        assert (await guard.decide("GET", STORE)).permit is not None
    with pytest.raises(RuntimeError, match="not open"):
        await guard.decide("POST", STORE)
    assert reached == []


@pytest.mark.parametrize("mode", ["enforce", "shadow", "off"])
async def test_a_middleware_lets_no_write_pass_after_its_guard_was_closed(
    sessions: SessionServiceApp, mode: str
) -> None:
    """A session that was known, and a mode that permits everything, admit nothing that would go unwatched."""
    guard = SessionGuard.from_settings(Settings(session_service=sessions.url, mode=mode))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("ok")(scope, receive, send)

    async with client_of(SessionGuardMiddleware(app, guard=guard)) as client:
        async with guard:
            assert (await client.post(STORE, json=WRITE)).text == "ok"
        with pytest.raises(RuntimeError, match="not open"):
            await client.post(STORE, json=WRITE)


async def test_a_middleware_follows_its_guard_when_that_is_opened_again(sessions: SessionServiceApp) -> None:
    """A guard made once with its application is opened by each lifespan, with a new cache and new connections."""
    guard = SessionGuard.from_settings(Settings(session_service=sessions.url))
    async with client_of(SessionGuardMiddleware(answer, guard=guard)) as client:
        for session_id in ("s1", "s2"):
            async with guard:
                assert (await client.post(STORE, json=WRITE | {"session_id": session_id})).status_code == 200
                assert guard.known is not None
                assert guard.known.peek(session_id) is not None


async def test_an_application_that_fails_at_its_lifespan_gets_no_write_from_a_closed_guard(
    sessions: SessionServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some applications take the first message of any scope for a request; their servers go on without lifespan."""
    reached: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["type"] != "http":
            raise NotImplementedError
        reached.append(scope)

    async def startup() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(_message: Message) -> None:
        raise AssertionError

    monkeypatch.setenv("SIDECAR_SESSION_SERVICE", sessions.url)
    guarded = SessionGuardMiddleware(app)
    with pytest.raises(NotImplementedError):
        await guarded({"type": "lifespan"}, startup, send)
    async with client_of(guarded) as client:
        with pytest.raises(RuntimeError, match="not open"):
            await client.post(STORE, json=WRITE)
    assert reached == []


async def test_a_starlette_application_takes_the_middleware_and_keeps_its_own_lifespan(
    sessions: SessionServiceApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`add_middleware` opens the guard before the application starts and closes it after the application stops."""
    happened = []

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        happened.append("started")
        yield
        happened.append("stopped")

    app = Starlette(
        routes=[Route("/{path:path}", lambda _r: PlainTextResponse("ok"), methods=["POST"])], lifespan=lifespan
    )
    app.add_middleware(SessionGuardMiddleware)
    monkeypatch.setenv("SIDECAR_SESSION_SERVICE", sessions.url)
    with under_uvicorn(app) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.post(STORE, json=WRITE)).text == "ok"
            assert (await client.post(STORE, json=WRITE | {"user_id": "bob"})).status_code == 403
        assert happened == ["started"]
    assert happened == ["started", "stopped"]
    assert sessions.sessions["s1"].user_id == "ann"


@pytest.mark.parametrize("headers", [[], [(b"Upgrade", b"websocket")]], ids=["HTTP/2", "mixed case"])
async def test_a_websocket_handshake_is_guarded_whatever_its_fields(
    guard: SessionGuard, sessions: SessionServiceApp, headers: list[tuple[bytes, bytes]]
) -> None:
    """Over HTTP/2 it has no `Upgrade` field, and some servers keep the case of names: its scope's type decides."""
    sessions.add("s1", "ann")
    sent: list[Any] = []
    reached: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/api/v1/memories/session/s1/socket"
    for user in ("bob", "ann"):
        scope = {"type": "websocket", "path": path, "query_string": f"user_id={user}".encode(), "headers": headers}
        await SessionGuardMiddleware(app, guard=guard)(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert [one["session_guard"].references[0].user_id for one in reached] == ["ann"]


# A door as an outsider would write one. It uses public names alone.


async def checked(guard: SessionGuard, request: dict[str, Any]) -> tuple[int, bytes]:
    """Answer for a queue whose messages are HTTP requests as dicts."""
    decision = await guard.decide(request["method"], request["target"], request["headers"], request["body"])
    if decision.response is not None:
        return decision.response.status, decision.response.body
    return 200, b"taken"


async def test_an_outsider_writes_a_door_of_ten_lines(guard: SessionGuard, sessions: SessionServiceApp) -> None:
    """A door of its own kind creates sessions and refuses as the others do."""
    request = {"method": "POST", "target": STORE, "headers": {"Content-Type": "application/json"}}
    ann = b'{"user_id": "ann", "session_id": "s1"}'
    assert await checked(guard, {**request, "body": ann}) == (200, b"taken")
    assert sessions.sessions["s1"].user_id == "ann"
    status, body = await checked(guard, {**request, "body": ann.replace(b"ann", b"bob")})
    assert status == 403
    assert b"session_owned_by_another_user" in body


def test_the_package_names_what_is_public() -> None:
    """`dir` lists three names, and any other name is an error."""
    assert sidecar.__all__ == ["SessionGuard", "SessionGuardMiddleware", "Settings"]
    assert set(sidecar.__all__) <= set(dir(sidecar))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        sidecar.Nothing  # noqa: B018


def test_importing_a_part_of_the_package_does_not_import_the_rest() -> None:
    """The vocabulary alone needs neither a server nor an HTTP client."""
    code = (
        "import sys, sidecar.model; print([m for m in ('uvicorn', 'httpx', 'pydantic_settings') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
