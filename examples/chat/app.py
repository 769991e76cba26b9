"""A chat endpoint that remembers: `POST /api/chat`, with a sidecar in front of it and one in front of its memory.

    CHAT_MEMORY=http://127.0.0.1:8080 uvicorn --factory examples.chat.app:from_environment --port 8000

The endpoint needs no session service: a session that it names in a write to its memory exists by then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import httpx
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field

from examples.chat.ids import new_session_id_for, user_uuid

_PASSED_ON: Final = ("content-type", "retry-after", "x-sidecar-reason")
"""The fields of a refusal that a client can act upon."""


class Message(BaseModel):
    """What a client says. Without a session id a conversation begins."""

    user_id: str = Field(min_length=1)
    session_id: str | None = None
    message: str = Field(min_length=1)


class Reply(BaseModel):
    """What is answered, and the ids to go on with."""

    user_id: str
    session_id: str
    reply: str


class Refused(Exception):
    """The sidecar in front of the memory, or the memory itself, did not take a call; holds its answer."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(answer.text)
        self.answer = answer


def from_environment() -> FastAPI:
    """The application as `CHAT_MEMORY` (a base URL) and `CHAT_UUID_USERS` (`true` or `false`) describe it."""
    uuid_users = os.environ.get("CHAT_UUID_USERS", "false") == "true"
    return chat_app(os.environ.get("CHAT_MEMORY", "http://127.0.0.1:8080"), uuid_users=uuid_users)


def chat_app(memory_url: str, *, uuid_users: bool) -> FastAPI:
    """The application. `uuid_users` turns the user ids of other systems into UUIDs, for platforms that want those."""
    memory = httpx.AsyncClient(base_url=memory_url, timeout=30)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with memory:
            yield

    app = FastAPI(title="Chat", lifespan=lifespan)

    @app.post("/api/chat")
    async def chat(message: Message) -> Reply:
        user_id = user_uuid(message.user_id) if uuid_users else message.user_id
        session_id = message.session_id or new_session_id_for(user_id)
        await _remember(memory, user_id, session_id, message.message, "user")
        reply = await _answer(memory, user_id, session_id)
        await _remember(memory, user_id, session_id, reply, "assistant")
        return Reply(user_id=user_id, session_id=session_id, reply=reply)

    @app.exception_handler(Refused)
    async def refused(_request: object, error: Exception) -> Response:
        assert isinstance(error, Refused)  # noqa: S101 -- FastAPI's signature
        answer = error.answer
        headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        return Response(answer.content, answer.status_code, headers)

    return app


async def _remember(memory: httpx.AsyncClient, user_id: str, session_id: str, text: str, role: str) -> None:
    body = {"user_id": user_id, "session_id": session_id, "message_content": text, "role": role}
    await _call(memory.build_request("POST", "/api/v1/memories/session/store", json=body), memory)


async def _answer(memory: httpx.AsyncClient, user_id: str, session_id: str) -> str:
    """Where a real endpoint asks a model, with the session's context: tell how much of it there is."""
    path = f"/api/v1/memories/session/{quote(session_id, safe='')}/context"
    context = await _call(memory.build_request("GET", path, params={"user_id": user_id}), memory)
    return f"I know {context['total_messages']} messages of this session."


async def _call(request: httpx.Request, memory: httpx.AsyncClient) -> dict[str, Any]:
    answer = await memory.send(request)
    if answer.status_code != 200:
        raise Refused(answer)
    return dict(answer.json())
