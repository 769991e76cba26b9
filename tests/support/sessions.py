"""A session service whose every answer a test sets, below the adapter that asks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from sidecar.profile.session_api import SessionApi
from sidecar.session_client.client import HttpSessionService
from sidecar.testing import FakeClock, FakeDiscovery, FakeTelemetry
from tests.support.callers import HttpxCaller

BASE = "http://sessions.test:8205"


class Recorder(httpx.AsyncBaseTransport):
    """Keeps the requests and gives `answers` in turn, the last of them for ever; an exception is raised.

    With `reply`, that is asked instead.
    """

    def __init__(self, api: SessionApi, *, token: str | None = "secret", timeout: float = 5.0, **more: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[httpx.Response | Exception] = []
        self.before: Callable[[], Awaitable[object]] | None = None
        self.reply: Callable[[httpx.Request], Awaitable[httpx.Response]] | None = None
        self.clock = FakeClock()
        self.discovery = FakeDiscovery([BASE])
        self.telemetry = FakeTelemetry()
        self.service = HttpSessionService(
            HttpxCaller(self),
            self.discovery,
            self.telemetry,
            api,
            token=token,
            timeout=timeout,
            clock=self.clock,
            **more,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        if self.before is not None:
            await self.before()
        if self.reply is not None:
            return await self.reply(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def session(code: int, **fields: Any) -> httpx.Response:
    """A session as the service answers it; fields can be changed, and left out with None."""
    whole = {
        "session_id": "s-1",
        "user_id": "ann",
        "status": "active",
        "conversation_data": {},
        "metadata": {},
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        **fields,
    }
    return httpx.Response(code, json={name: value for name, value in whole.items() if value is not None})


def error(code: int, reason: str) -> httpx.Response:
    """An error as the service answers it."""
    return httpx.Response(code, json={"detail": "A sentence.", "reason": reason})


def target(request: httpx.Request) -> str:
    """The request target as it goes over the wire."""
    return request.extensions["target"].decode("ascii")
