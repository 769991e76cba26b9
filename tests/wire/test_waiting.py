"""Writes that wait for a connection to the memory service, and what became known meanwhile."""

from __future__ import annotations

import asyncio

from sidecar.doors.body.bounded_body import BodyBudget
from sidecar.doors.fast_path.parts import FastPath
from sidecar.guard.permit import Permit
from sidecar.http.client.upstream import Upstream
from sidecar.model import Session, SessionStatus
from tests.support.eventually import eventually
from tests.support.guarded import GuardedHouse
from tests.support.reading import STORE
from tests.support.wire import (
    OK,
    Admitting,
    App,
    BreaksUnderTheSecond,
    Seen,
    admitting,
    ask,
    get,
    in_plain_text,
    permit_while,
    post,
    raw_upstream,
)


async def test_a_write_whose_session_is_deleted_while_it_waits_never_reaches_the_memory_service(running):
    """The write is refused, and its connection serves the next request."""
    house = GuardedHouse()
    house.known.remember("s-1", Session("ann", SessionStatus.ACTIVE), house.known.ticket())
    go = asyncio.Event()

    async def answer(seen: Seen, _writer) -> bytes:
        if b"/slow" in seen.line:
            await go.wait()
        return OK

    async with (
        raw_upstream(answer) as upstream,
        running(upstream.url, app=house.app, connections=1) as sidecar,
    ):
        slow = asyncio.create_task(ask(sidecar.port, get("/slow")))
        await eventually(lambda: upstream.seen)
        write = asyncio.create_task(ask(sidecar.port, post(STORE, b'{"session_id": "s-1", "user_id": "ann"}')))
        await eventually(lambda: sidecar.upstream.connections()["waiting"] == 1)
        house.known.deleted("s-1")
        go.set()
        assert ((await slow).status, (await write).status) == (200, 410)
        assert (await ask(sidecar.port, get("/after"))).status == 200
        assert [seen.line.split()[1] for seen in upstream.seen] == [b"/slow", b"/after"]
        assert upstream.accepted == 1
        await sidecar.quiet()
    await house.guard.aclose()


def lapsing(upstream: Upstream) -> App:
    """Forward everything, but no PUT that had to wait."""
    return admitting(upstream, lambda scope: scope["method"] != "PUT")


class Lapsing(Admitting):
    """Permits everything at once, but nothing that had to wait."""

    def pass_through(self) -> Permit:
        return permit_while(lambda: False)


def lapsing_parts(upstream: Upstream) -> FastPath:
    """The fast path beside `lapsing`."""
    door = Lapsing()
    return FastPath(door.classify, door, upstream, in_plain_text, BodyBudget(limit=1 << 20, total=1 << 20))


async def test_what_lapsed_is_not_repeated_on_a_new_connection(running):
    """A body that was received already is not sent again once its permit has lapsed."""
    answer = BreaksUnderTheSecond()
    async with raw_upstream(answer) as upstream, running(upstream.url, app=lapsing, parts=lapsing_parts) as sidecar:
        await ask(sidecar.port, get())
        got = await ask(sidecar.port, post("/", b"x", method="PUT"))
        assert (got.status, answer.counted) == (502, 2)
        await sidecar.quiet()
