"""Asks a service for its health while a dashboard is open; without one, the sidecar asks for no service's health."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import httpx

from service_kit.address import socket_path
from sidecar.session_client.transport import PooledTransport

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

    def __init__(self, pick: Callable[[], str | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._pick = pick
        self._clock = clock
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[Health] | None = None

    async def look(self) -> Health:
        """Give the health of the service, at most `FRESH` seconds old. Never raises for what the service does."""
        if self._asking is None or (self._asking.done() and self._clock() - self._asked_at > FRESH):
            self._asked_at = self._clock()
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Health:
        url = self._pick()
        if url is None:
            return Health("down", "no instance is known")
        socket = socket_path(url)
        tls = self._tls if url.startswith("https:") else None
        transport = PooledTransport(connections=1, unix=socket, tls=tls)
        try:
            async with (
                asyncio.timeout(PATIENCE),
                httpx.AsyncClient(transport=transport, trust_env=False) as client,
                client.stream("GET", f"{'http://localhost' if socket else url}/health") as response,
            ):
                status = response.status_code
        except TimeoutError:
            return Health("down", f"{url} gives no answer in {PATIENCE * 1000:.0f} ms")
        except (httpx.HTTPError, OSError) as error:
            return Health("down", f"{url} cannot be reached ({type(error).__name__})")
        return Health("up" if status < 500 else "down", f"{url} answers {status}")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()
