"""What works in the background: a side server answers when `start` returns, or `start` says why it does not."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator

import pytest
from starlette.responses import PlainTextResponse

from service_kit.process.address import Tcp, bound_address, listening
from sidecar.background import SideServer, started
from tests.support.wire import ask, get


@pytest.fixture
def side_server() -> Iterator[tuple[SideServer, Tcp]]:
    """A side server that is not started yet, and its address."""
    with listening(Tcp("127.0.0.1", 0)) as listener:
        address = bound_address(listener)
        assert isinstance(address, Tcp)
        yield SideServer(PlainTextResponse("here"), listener, drain_timeout=1.0), address


async def test_it_answers_from_its_start_on(side_server: tuple[SideServer, Tcp]) -> None:
    server, address = side_server
    async with started(server):
        assert (await ask(address.port, get())).body == b"here"


async def test_a_server_that_cannot_accept_connections_fails_to_start(
    side_server: tuple[SideServer, Tcp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`start` raises an error that names the address, instead of waiting for a server that has ended."""
    server, address = side_server

    async def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", fail)
    with pytest.raises(OSError, match=rf"^cannot accept connections on {address}: Too many open files$"):
        async with asyncio.timeout(10):
            await server.start()
