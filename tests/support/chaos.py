"""A TCP proxy that delays, cuts and garbles what a server answers, as told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from enum import Enum


class Weather(Enum):
    """What happens to the bytes on their way back."""

    FAIR = "fair"
    DELAYED = "delayed"
    CUT = "cut"
    GARBLED = "garbled"


class ChaosProxy:
    """Stands before `upstream` (host and port); requests go on untouched, so that no write is altered."""

    def __init__(self, upstream: tuple[str, int], seed: int) -> None:
        self.weather = Weather.FAIR
        self.port = 0
        self._upstream = upstream
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[ChaosProxy]:
        """Accept connections until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                back, forth = await asyncio.open_connection(*self._upstream)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._forth(reader, forth))
                        group.create_task(self._back(back, writer))
                except* (OSError, EOFError):
                    pass
                finally:
                    forth.transport.abort()
            finally:
                writer.transport.abort()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        raise EOFError

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            if self.weather is Weather.DELAYED:
                await asyncio.sleep(self._random.uniform(0, 0.3))
            elif self.weather is Weather.CUT and self._random.random() < 0.5:
                writer.write(piece[: self._random.randrange(len(piece))])
                raise EOFError
            elif self.weather is Weather.GARBLED and self._random.random() < 0.5:
                piece = self._garble(piece)
            writer.write(piece)
            await writer.drain()
        raise EOFError

    def _garble(self, piece: bytes) -> bytes:
        """Change a few bytes, in the head or in the body."""
        changed = bytearray(piece)
        for _ in range(self._random.randint(1, 4)):
            changed[self._random.randrange(len(changed))] = self._random.randrange(256)
        return bytes(changed)
