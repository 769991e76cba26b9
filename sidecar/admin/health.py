"""Asks a service for its health while a dashboard is open; without one, the sidecar asks for no service's health."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from sidecar.session_client.calls import write_call
from sidecar.session_client.transport import NoAnswer, Transport

PATIENCE: Final = 0.7
"""Seconds after which a service counts as down: with a second between two looks, the page shows it within two."""

FRESH: Final = 0.5
"""Seconds for which an answer serves every dashboard that is open."""

State = Literal["up", "warning", "down", "off"]


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one thing, and a sentence about it for a person."""

    state: State
    detail: str


class HealthProbe:
    """Sends `GET /health` to the base URL that `pick` gives. Any answer below 500 means up: it need not know the path.

    `pick` gives None where there is no instance to ask.
    """

    def __init__(self, pick: Callable[[], str | None]) -> None:
        self._pick = pick
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[Health] | None = None

    async def look(self) -> Health:
        """Give the health of the service, at most `FRESH` seconds old. Never raises for what the service does."""
        if self._asking is None or (self._asking.done() and time.monotonic() - self._asked_at > FRESH):
            self._asked_at = time.monotonic()
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Health:
        url = self._pick()
        if url is None:
            return Health("down", "no instance is known")
        deadline = asyncio.get_running_loop().time() + PATIENCE
        try:
            async with Transport(tls=self._tls if url.startswith("https:") else None) as transport:
                reply = await transport.call(write_call(url, "GET", "/health", []), deadline)
        except TimeoutError:
            return Health("down", f"{url} gives no answer in {PATIENCE * 1000:.0f} ms")
        except NoAnswer as failure:
            return Health("down", f"{url} cannot be asked: {failure}")
        return Health("up" if reply.status < 500 else "down", f"{url} answers {reply.status}")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()
