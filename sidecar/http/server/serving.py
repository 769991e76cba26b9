"""A client connection and the request that it serves: bytes not taken yet, where the body goes, tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.http.ports import BodySink, Served
from sidecar.http.server.connection import FAIL_BODY, ClientConnection, Timeouts
from sidecar.http.server.request_body import ChunkedBody, LengthBody
from sidecar.http.server.request_head import RequestHead

PIPELINE_HIGH_WATER: Final = 64 * 1024
"""Bytes kept from behind the request being served before the client is no longer read."""


@dataclass(slots=True)
class Shared:
    """What all connections of a server share: what each is made from, and what the server knows of all."""

    app: Any
    patience: Timeouts = field(default_factory=Timeouts)
    connections: set[ServingConnection] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    draining: bool = False
    responses: list[int] = field(default_factory=lambda: [0] * 10)
    """How many responses had a status code of each class, `responses[2]` being 200 to 299."""


class ServingConnection(ClientConnection):
    """A client connection and its request.

    `_buffer` are bytes that came and were not taken yet, `_head` is the head of the request that `_served` serves,
    `_body` is its body while that is read, and `_sink` takes it. `_when_over` is called when the request is over.
    """

    __slots__ = ("_body", "_buffer", "_head", "_served", "_sink", "_when_over", "peer", "shared")

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.patience)
        self.shared = shared
        self.peer: str | None = None
        self._buffer = b""
        self._head: RequestHead | None = None
        self._served: Served | None = None
        self._body: LengthBody | ChunkedBody | None = None
        self._sink: BodySink | None = None
        self._when_over: Callable[[], None] | None = None

    def run_beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for the request being served; the server waits for it when it stops.

        Like the application it begins without context variables: where requests are pipelined, this is called in the
        task of the request before.
        """
        task = self.loop.create_task(work, context=Context())
        self.shared.tasks.add(task)
        task.add_done_callback(self.shared.tasks.discard)
        return task

    def release_reading(self) -> None:
        """Read on, unless too much is kept already."""
        if len(self._buffer) <= PIPELINE_HIGH_WATER:
            super().release_reading()

    def expect_body(self, *, waiting: bool) -> None:
        """Begin or cease to wait for a piece of the body."""
        if waiting:
            self._wait(self._patience.body, FAIL_BODY)
        elif self._on_deadline == FAIL_BODY:
            self._deadline = None

    def is_fed_to(self, sink: object) -> bool:
        """Whether `sink` still takes the body of a request."""
        return self._body is not None and self._sink is sink

    def drain_connection(self) -> None:
        """Begin to stop."""
        raise NotImplementedError

    async def tunnel(self, upstream: asyncio.Transport, first: bytes) -> None:
        """Hand the connection over to a tunnel; returns when that has ended."""
        upstream.write(self._buffer)
        self._buffer = b""
        await super().tunnel(upstream, first)
