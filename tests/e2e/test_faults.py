"""Everything fails in turn under steady writes; at the end no promise is broken.

Every acknowledged write is stored exactly once, every stored write has its session with the right owner, and every
refusal was well formed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from sidecar.doors.refusal import STATUS
from sidecar.model import Reason
from tests.support.chaos import ChaosProxy, Weather
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.platform import STORE, metric
from tests.support.postgres import PostgresServer

WRITERS = 24
PAUSE = 0.1  # of a writer between two writes: WRITERS / PAUSE is the rate at the most
WORKING = 1.0  # how long the writers meet each fault, in seconds


@dataclass
class Ledger:
    """What the writers saw."""

    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)
    attempted: set[tuple[str, str]] = field(default_factory=set)
    refusals: Counter[str] = field(default_factory=Counter)
    malformed: list[str] = field(default_factory=list)
    broken: int = 0

    def note(self, user: str, session: str, message: str, response: httpx.Response) -> None:
        """File one answer."""
        if response.status_code == 200 and response.json().get("success") is True:
            self.acknowledged.append((user, session, message))
            return
        reason = response.headers.get("x-sidecar-reason")
        if reason is None:
            # The memory service's own error, as it says it while its database is away.
            if response.status_code not in {500, 503}:
                self.malformed.append(f"{response.status_code} {response.text[:200]}")
            return
        self.refusals[reason] += 1
        body = response.json()
        well_formed = (
            set(body) == {"detail", "reason", "session_id"}
            and body["reason"] == reason
            and response.status_code == STATUS[Reason(reason)]
            and (response.status_code != 503 or int(response.headers["retry-after"]) >= 1)
        )
        if not well_formed:
            self.malformed.append(f"{response.status_code} {response.text[:200]}")


async def write_steadily(base: str, ledger: Ledger, users: list[str], sessions: list[str], stop: asyncio.Event) -> None:
    """Write as a client does: one request after another, new sessions among known ones, a new connection if need be."""
    chance = random.Random(str(users))
    async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as http:
        while not stop.is_set():
            user = chance.choice(users)
            if chance.random() < 0.3:
                sessions.append(f"s-{uuid.uuid4()}")
            session, message = chance.choice(sessions), str(uuid.uuid4())
            ledger.attempted.add((user, session))
            try:
                body = {"user_id": user, "session_id": session, "message_content": message}
                ledger.note(user, session, message, await http.post(STORE, json=body))
            except httpx.HTTPError:
                ledger.broken += 1
            await asyncio.sleep(PAUSE)


@contextlib.asynccontextmanager
async def writers(base: str, ledger: Ledger, *, contended: bool) -> AsyncIterator[None]:
    """Keep writers at work until the block ends. Contended ones race each other for the same new sessions."""
    stop = asyncio.Event()
    shared: list[str] = [f"s-{uuid.uuid4()}"]
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            if contended:
                users, sessions = ["ann", "bob"], shared
            else:
                users, sessions = [f"user-{number}"], [f"s-{uuid.uuid4()}"]
            group.create_task(write_steadily(base, ledger, users, sessions, stop))
        try:
            yield
        finally:
            stop.set()


class Faults:
    """What can go wrong, one method each; afterwards everything is well again."""

    def __init__(self, cluster: Cluster, postgres: PostgresServer, proxies: list[ChaosProxy]) -> None:
        self._cluster = cluster
        self._postgres = postgres
        self._proxies = proxies

    def all(self) -> list[Callable[[], AsyncIterator[None]]]:
        """Every fault, in an order that leaves each some time to heal."""
        services = [self._cluster.sessions, self._cluster.memories, self._cluster.sidecar]
        crashes = [lambda service=service: self._crash(service) for service in services]
        freezes = [lambda service=service: self._freeze(service) for service in services[:2]]
        weathers = [
            lambda proxy=proxy, weather=weather: self._weather(proxy, weather)
            for proxy in self._proxies
            for weather in (Weather.DELAYED, Weather.CUT, Weather.GARBLED)
            # A garbled answer of the memory service reaches the client as it is, with or without a sidecar.
            if proxy is self._proxies[0] or weather is not Weather.GARBLED
        ]
        return [*crashes, *freezes, *weathers, self._crash_postgres]

    async def _crash(self, service: object) -> AsyncIterator[None]:
        await asyncio.to_thread(service.kill)  # type: ignore[attr-defined]
        yield
        await asyncio.to_thread(service.start)  # type: ignore[attr-defined]

    async def _freeze(self, service: object) -> AsyncIterator[None]:
        service.freeze()  # type: ignore[attr-defined]
        yield
        service.thaw()  # type: ignore[attr-defined]

    async def _weather(self, proxy: ChaosProxy, weather: Weather) -> AsyncIterator[None]:
        proxy.weather = weather
        yield
        proxy.weather = Weather.FAIR
        if weather is Weather.GARBLED:
            # A changed byte may have fallen into a session's id: then nothing is created until somebody restarts it.
            await asyncio.to_thread(self._cluster.sidecar.kill)
            await asyncio.to_thread(self._cluster.sidecar.start)

    async def _crash_postgres(self) -> AsyncIterator[None]:
        await asyncio.to_thread(self._postgres.kill)
        yield
        await asyncio.to_thread(self._postgres.restart)


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    """A server that no other test uses, because this one kills it."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    yield server  # type: ignore[misc]
    server.stop()


async def audit(cluster: Cluster, ledger: Ledger, *, conflicts: set[str]) -> None:
    """Hold the ledger against what the two services have."""
    stored: Counter[tuple[str, str, str]] = Counter()
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        for user, session in sorted(ledger.attempted):
            path = f"http://127.0.0.1:{cluster.memory_port}/api/v1/memories/session/{session}/context"
            found = (await http.get(path, params={"user_id": user, "max_recent_messages": 1000})).json()
            stored.update((user, session, message["message_content"]) for message in found["recent_messages"])
        owners = {}
        for session in {session for _, session, _ in stored}:
            answer = await http.get(f"http://127.0.0.1:{cluster.session_port}/api/v1/sessions/{session}")
            owners[session] = answer.json().get("user_id")
    assert not ledger.malformed
    assert ledger.acknowledged, "nothing was acknowledged at all"
    lost = [write for write in ledger.acknowledged if stored[write] != 1]
    assert not lost
    assert max(stored.values()) == 1, "something was stored twice"
    orphans = {(user, session) for user, session, _ in stored if owners[session] != user and session not in conflicts}
    assert not orphans


async def run_faults(directory: Path, postgres: PostgresServer, on_outage: str, rounds: int) -> Ledger:
    """Run the platform through every fault `rounds` times and audit it."""
    database = await asyncio.to_thread(postgres.create_database)
    cluster = Cluster(directory, database, database)
    ledger = Ledger()
    with cluster.services_up():
        to_sessions = ChaosProxy(("127.0.0.1", cluster.session_port), seed=1)
        to_memories = ChaosProxy(("127.0.0.1", cluster.memory_port), seed=2)
        async with to_sessions.serving(), to_memories.serving():
            cluster.configure_sidecar(
                SIDECAR_UPSTREAM=f"http://127.0.0.1:{to_memories.port}",
                SIDECAR_SESSION_SERVICE=f"http://127.0.0.1:{to_sessions.port}",
                SIDECAR_ON_OUTAGE=on_outage,
                SIDECAR_UPSTREAM_TIMEOUT="5s",
                SIDECAR_OUTBOX=str(directory / "outbox.db"),
            )
            await asyncio.to_thread(cluster.sidecar.start)
            base = f"http://127.0.0.1:{cluster.sidecar_port}"
            async with writers(base, ledger, contended=on_outage == "reject"):
                for _ in range(rounds):
                    for fault in Faults(cluster, postgres, [to_sessions, to_memories]).all():
                        async for _during in fault():
                            await asyncio.sleep(WORKING)
                        await asyncio.sleep(WORKING / 2)

            async def all_paid() -> bool:
                async with httpx.AsyncClient(trust_env=False) as http:
                    text = (await http.get(f"http://127.0.0.1:{cluster.admin_port}/metrics")).text
                return metric(text, "sidecar_debts") == 0

            await eventually(all_paid)
            await audit(cluster, ledger, conflicts=set())
    return ledger


@pytest.mark.timeout(180)
@pytest.mark.parametrize("on_outage", ["reject", "forward"])
async def test_when_everything_fails_once_in_turn_no_promise_is_broken(
    tmp_path: Path, own_postgres: PostgresServer, on_outage: str
) -> None:
    """Kill -9, freeze, delay, cut and garble, each once; in `forward` mode the debts are paid at the end."""
    ledger = await run_faults(tmp_path, own_postgres, on_outage, rounds=1)
    assert ledger.broken or ledger.refusals
    assert not [process for process in psutil.Process().children() if process.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("on_outage", ["reject", "forward"])
async def test_when_everything_fails_many_times_no_promise_is_broken(
    tmp_path: Path, own_postgres: PostgresServer, on_outage: str
) -> None:
    """The same, fifteen rounds."""
    await run_faults(tmp_path, own_postgres, on_outage, rounds=15)
