"""The wire is tested on the event loop that carries it in production, without and with the fast path."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import uvloop

from tests.support import wire

Run = Callable[..., AbstractAsyncContextManager[wire.Running]]
Stage = Callable[..., AbstractAsyncContextManager[tuple[wire.RawUpstream, wire.Running]]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


WAYS: dict[str, dict[str, bool]] = {"application": {}, "fast path": {"fast_path": True}, "hosted": {"hosted": True}}
HOSTED = {
    "test_cuts.py",
    "test_disconnects.py",
    "test_drain.py",
    "test_hostile.py",
    "test_server.py",
    "test_smuggling.py",
}
"""What the server makes of its clients' bytes, of those that leave, of a stop and of a body that its application breaks
off is asserted of `wrap`, too; its application here is one that forwards. The other files are about what lies between a
client and an upstream: connections to it, its answers, tunnels through to it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test in all ways to serve that its file is about."""
    if "running" in metafunc.fixturenames:
        ways = [name for name in WAYS if name != "hosted" or metafunc.definition.path.name in HOSTED]
        metafunc.parametrize("running", ways, indirect=True)


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Run:
    """`wire.running` without and with the fast path: what is asserted of one is asserted of the other."""
    return functools.partial(wire.running, **WAYS[request.param])


@pytest.fixture
def stage(running: Run) -> Stage:
    """Make an upstream and a sidecar in front of it; nothing may be left over at the end."""

    @contextlib.asynccontextmanager
    async def make(
        answer: wire.Answer | bytes = wire.OK, *, read_body: bool = True, **options: Any
    ) -> AsyncIterator[tuple[wire.RawUpstream, wire.Running]]:
        async with (
            wire.raw_upstream(answer, read_body=read_body) as upstream,
            running(upstream.url, **options) as sidecar,
        ):
            yield upstream, sidecar
            await sidecar.quiet()

    return make
