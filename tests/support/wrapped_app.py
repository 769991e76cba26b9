"""An application that knows nothing of any guard, for `session-sidecar wrap` to serve; it tells what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

JOURNAL = Path(os.environ.get("JOURNAL", os.devnull))
GO_ON = Path("go-on")
SEEN: list[tuple[str, str]] = []


def note(line: str) -> None:
    """Write down what happened, so that it can be read when the process is gone."""
    with JOURNAL.open("a") as journal:
        journal.write(f"{line}\n")


async def told_to_go_on() -> None:
    """Wait until the test makes the file."""
    while not GO_ON.exists():  # noqa: ASYNC110, ASYNC240 # another process makes it
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
    if os.environ.get("FAILS_TO_START"):
        raise RuntimeError("no database")
    if os.environ.get("WAITS_TO_START"):
        note("starting")
        await asyncio.Event().wait()
    note("started")
    yield {"greeting": "hello"}
    if os.environ.get("WAITS_TO_STOP"):
        note("stopping")
        await asyncio.Event().wait()
    note("stopped")


app = FastAPI(lifespan=lifespan)
not_an_application = 7


@app.get("/seen")
async def seen() -> list[tuple[str, str]]:
    return SEEN


@app.get("/state")
async def state(request: Request) -> str:
    return str(request.state.greeting)


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await told_to_go_on()
        yield b"two"

    return StreamingResponse(pieces())


@app.get("/slow")
async def slow() -> str:
    note("slow began")
    await told_to_go_on()
    return "done"


@app.websocket("/api/v1/memories/session/{session_id}/socket")
async def guarded_socket(websocket: WebSocket, session_id: str) -> None:
    await socket(websocket)


@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="echo" if "echo" in websocket.scope["subprotocols"] else None)
    note("socket open")
    async for text in websocket.iter_text():
        await websocket.send_text(f"{websocket.state.greeting} {text}")
    note("socket closed")


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def anything(path: str, request: Request) -> dict[str, bool]:
    SEEN.append((request.method, (await request.body()).hex()))
    return {"success": True}
