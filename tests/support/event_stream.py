"""A client of the session event stream that keeps everything it was told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.eventually import eventually


@dataclass(frozen=True)
class Told:
    """One event as it stood in the stream; comments have the name `:`."""

    name: str
    number: int | None
    data: Any


class EventStream:
    """One connection to `/api/v1/session-events`, read in the background."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.ended = False

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Name and session of every change, in order."""
        return [(one.name, one.data["session_id"]) for one in self.told if one.name not in {":", "reset"}]

    @property
    def last_number(self) -> int | None:
        """The number to go on after."""
        return next((one.number for one in reversed(self.told) if one.number is not None), None)

    async def up(self) -> None:
        """Wait for the first sign that the stream is live."""
        await eventually(lambda: any(one.name == ":" for one in self.told))

    async def read(self, url: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Read until the stream ends or breaks."""
        timeout = httpx.Timeout(30)
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
                path = f"{url}/api/v1/session-events"
                async with client.stream("GET", path, params=params, headers=headers) as response:
                    response.raise_for_status()
                    assert response.headers["content-type"].startswith("text/event-stream")
                    await self._take(response.aiter_lines())
        self.ended = True

    async def _take(self, lines: AsyncIterator[str]) -> None:
        fields: dict[str, str] = {}
        async for line in lines:
            if line.startswith(":"):
                self.told.append(Told(":", None, line[1:].strip()))
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                self.told.append(Told(fields["event"], int(fields["id"]), json.loads(fields["data"])))
                fields = {}


@contextlib.asynccontextmanager
async def event_stream(
    url: str, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[EventStream]:
    """Follow the events of the service at `url` until the block ends."""
    stream = EventStream()
    reader = asyncio.create_task(stream.read(url, params or {}, headers or {}))
    try:
        yield stream
    finally:
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader
