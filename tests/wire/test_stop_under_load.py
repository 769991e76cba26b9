"""A real process that is told to stop under load answers all that it accepted and ends with 0."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.sidecar_process import SidecarProcess, sidecar_process
from tests.support.wire import RawClient, Seen, get, post, raw_client, raw_upstream

CLIENTS = 24
BEFORE_THE_SIGNAL = 200
BODY = b"0123456789" * 2_000


class BusyUpstream:
    """Takes its time for every third answer, and gives it in two parts with a breath between them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.seen: set[bytes] = set()

    async def answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        name = seen.line.split()[1]
        assert name not in self.seen, "sent on twice"
        self.seen.add(name)
        if self._chance.random() < 0.3:
            await asyncio.sleep(self._chance.uniform(0, 0.1))
        body = name + BODY
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:10_000])
        await writer.drain()
        if self._chance.random() < 0.3:
            await asyncio.sleep(self._chance.uniform(0, 0.1))
        writer.write(body[10_000:])


@dataclass
class Load:
    """Clients that ask without a pause until their connections are refused.

    `sent` holds what was written before the signal on connections that had been answered before: those are surely
    accepted. `cut` holds every answer that had begun and did not end.
    """

    sidecar: SidecarProcess
    chance: random.Random
    signalled: bool = False
    sent: set[bytes] = field(default_factory=set)
    answered: set[bytes] = field(default_factory=set)
    cut: list[bytes] = field(default_factory=list)

    async def client(self, number: int) -> None:
        count = 0
        while True:
            try:
                async with raw_client(self.sidecar.port) as client:
                    accepted = False
                    while await self.ask(client, b"/%d-%d" % (number, count), accepted=accepted):
                        accepted = True
                        count += 1
            except ConnectionError:
                # Refused, or reset in the queue of connections that were not accepted yet.
                assert self.signalled, self.sidecar.process.stderr[-20:]
            if self.signalled:
                return
            count += 1

    async def ask(self, client: RawClient, name: bytes, *, accepted: bool) -> bool:
        """Ask once; says whether the connection may be used again."""
        target = name.decode()
        request = post(target) if self.chance.random() < 0.5 else get(target)
        if accepted and not self.signalled:
            self.sent.add(name)
        await client.send(request)
        try:
            answer = await client.answer()
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.cut.append(name)
            assert self.signalled, self.sidecar.process.stderr[-20:]
            return False
        if not answer.complete:
            self.cut.append(name)
            return False
        assert (answer.status, answer.body) == (200, name + BODY)
        self.answered.add(name)
        return answer.values("connection") != [b"close"]


async def stop_under_load(cwd: Path, seed: int) -> int:
    """Run one round; gives how many requests were answered in all."""
    chance = random.Random(seed)
    busy = BusyUpstream(chance)
    async with raw_upstream(busy.answer) as upstream, contextlib.AsyncExitStack() as stack:
        sidecar = await asyncio.to_thread(stack.enter_context, sidecar_process(upstream.url, cwd))
        load = Load(sidecar, chance)
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(load.client(number))
            await eventually(lambda: len(load.answered) > BEFORE_THE_SIGNAL + chance.randrange(100))
            in_flight = len(load.sent - load.answered)
            load.signalled = True
            sidecar.process.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(sidecar.process.wait)
        assert load.cut == []
        assert busy.seen - load.answered == set(), "reached the upstream, and its answer never came back"
        assert load.sent - load.answered == set(), "was sent on an accepted connection before the signal"
        assert in_flight
        assert code == 0
    return len(load.answered)


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
async def test_every_accepted_request_gets_its_full_answer(tmp_path, rounds):
    """A request that was accepted is answered whole, and one that comes too late is refused."""
    for seed in range(rounds):
        answered = await stop_under_load(tmp_path, seed)
        print(f"round {seed}: {answered} answered")
