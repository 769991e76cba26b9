"""Everything fails in turn under steady writes; at the end no promise is broken.

Every acknowledged write is stored exactly once, every stored write has its session with the right owner, every refusal
was well formed, and no write to a deleted session is admitted beyond the staleness bound. Some ids can never be
created: the session service's database fails for them, and only in `forward` mode are they owed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from sidecar.doors.refusal import STATUS
from sidecar.model import Reason
from tests.support.chaos import ChaosProxy, Weather
from tests.support.cluster import Cluster
from tests.support.eventually import eventually
from tests.support.platform import STORE
from tests.support.postgres import PostgresServer

WRITERS = 8  # 24 in the long run
PAUSE = 0.1  # of a writer between two writes: writers / PAUSE is the rate at the most
NEW = 0.3  # the share of writes that are a session's first
NEVER = "never-"  # ids that begin so can never be created
BOUND = 45.0  # seconds after its deletion until which a session may still be believed in
MOST_SECONDS = 3000.0  # that the long run takes before it stops by itself
LONG_OPERATIONS = 500_000
WORKING = 0.4  # how long the writers meet each fault, in seconds; 5 in the long run


@dataclass
class Ledger:
    """What the writers saw."""

    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)
    attempted: set[tuple[str, str]] = field(default_factory=set)
    refusals: Counter[str] = field(default_factory=Counter)
    malformed: list[str] = field(default_factory=list)
    broken: int = 0
    operations: int = 0
    deleted: dict[str, float] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)

    def note_admitted(self, session: str, sent: float, decision: str | None) -> None:
        """Hold a write that was admitted, but not owed, against the deletion of its session."""
        if decision != "owed" and session in self.deleted and sent - self.deleted[session] > BOUND:
            self.late.append(f"{session}: {decision} {sent - self.deleted[session]:.1f} s after its deletion")

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


async def write_steadily(
    base: str, ledger: Ledger, users: list[str], sessions: list[str], stop: asyncio.Event, *, new: float, pause: float
) -> None:
    """Write as a client does: one request after another, new sessions among known ones, a new connection if need be."""
    chance = random.Random(str(users))
    async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as http:
        while not stop.is_set():
            user = chance.choice(users)
            if chance.random() < new:
                sessions.append(f"s-{uuid.uuid4()}")
            session, message = chance.choice(sessions), str(uuid.uuid4())
            if chance.random() < 0.02:
                session = f"{NEVER}{users[0]}-{chance.randrange(3)}"
            ledger.attempted.add((user, session))
            try:
                body = {"user_id": user, "session_id": session, "message_content": message}
                ledger.operations += 1
                sent = time.monotonic()
                response = await http.post(STORE, json=body)
                ledger.note(user, session, message, response)
                if response.status_code == 200:
                    ledger.note_admitted(session, sent, response.headers.get("x-sidecar-session"))
            except httpx.HTTPError:
                ledger.broken += 1
            await asyncio.sleep(pause)


async def delete_steadily(sessions_base: str, ledger: Ledger, stop: asyncio.Event) -> None:
    """Delete a session that was written to, now and then, at the session service itself."""
    chance = random.Random(3)
    async with httpx.AsyncClient(base_url=sessions_base, timeout=20, trust_env=False) as http:
        while not stop.is_set():
            await asyncio.sleep(0.5)
            if not ledger.acknowledged:
                continue
            user, session, _ = chance.choice(ledger.acknowledged)
            with contextlib.suppress(httpx.HTTPError):
                response = await http.delete(f"/api/v1/sessions/{session}", params={"user_id": user})
                if response.status_code == 204:
                    ledger.deleted.setdefault(session, time.monotonic())


@contextlib.asynccontextmanager
async def writers(
    base: str, sessions_base: str, ledger: Ledger, *, count: int, contended: bool, new: float, pause: float
) -> AsyncIterator[None]:
    """Keep writers at work until the block ends. Contended ones race each other for the same new sessions."""
    stop = asyncio.Event()
    shared: list[str] = [f"s-{uuid.uuid4()}"]
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            if contended:
                users, sessions = ["ann", "bob"], shared
            else:
                users, sessions = [f"user-{number}"], [f"s-{uuid.uuid4()}"]
            group.create_task(write_steadily(base, ledger, users, sessions, stop, new=new, pause=pause))
        group.create_task(delete_steadily(sessions_base, ledger, stop))
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
        freezes = [lambda service=service: self._freeze(service) for service in services]
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
            # A changed byte may have fallen into a session's id: then nothing is created until a restart.
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


async def never_create(database: str) -> None:
    """Have the database fail for every session whose id begins with `NEVER`, as a broken row does."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(f"""
            CREATE FUNCTION dev.refuse_never() RETURNS trigger AS $$
            BEGIN RAISE EXCEPTION 'never' USING ERRCODE = 'check_violation'; END $$ LANGUAGE plpgsql;
            CREATE TRIGGER never BEFORE INSERT ON dev.sessions FOR EACH ROW
            WHEN (NEW.session_id LIKE '{NEVER}%') EXECUTE FUNCTION dev.refuse_never();
        """)  # a constant of this test
    finally:
        await connection.close()


async def audit(cluster: Cluster, ledger: Ledger, *, owed: Sequence[str]) -> None:
    """Hold the ledger against what the two services have."""
    stored: Counter[tuple[str, str, str]] = Counter()
    limit = asyncio.Semaphore(16)
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:

        async def get(port: int, path: str, **params: str | int) -> dict[str, Any]:
            async with limit:
                return (await http.get(f"http://127.0.0.1:{port}{path}", params=params)).json()

        async def note_stored(user: str, session: str) -> None:
            path = f"/api/v1/memories/session/{session}/context"
            found = await get(cluster.memory_port, path, user_id=user, max_recent_messages=1000)
            stored.update((user, session, message["message_content"]) for message in found["recent_messages"])

        async def note_owner(session: str) -> None:
            owners[session] = (await get(cluster.session_port, f"/api/v1/sessions/{session}")).get("user_id")

        owners: dict[str, str | None] = {}
        await asyncio.gather(*(note_stored(user, session) for user, session in ledger.attempted))
        await asyncio.gather(*(note_owner(session) for session in {session for _, session, _ in stored}))
    assert not ledger.malformed
    assert ledger.acknowledged, "nothing was acknowledged at all"
    lost = [write for write in ledger.acknowledged if stored[write] != 1]
    assert not lost
    assert max(stored.values()) == 1, "something was stored twice"
    excused = ledger.deleted.keys() | set(owed)
    orphans = {(user, session) for user, session, _ in stored if owners[session] != user and session not in excused}
    assert not orphans
    assert not ledger.late


async def run_faults(
    directory: Path,
    postgres: PostgresServer,
    on_outage: str,
    *,
    operations: int = 0,
    count: int = WRITERS,
    new: float = NEW,
    pause: float = PAUSE,
    working: float = WORKING,
) -> Ledger:
    """Run the platform through every fault, again until so many writes were tried, and audit it."""
    started = time.monotonic()
    database = await asyncio.to_thread(postgres.create_database)
    cluster = Cluster(directory, database, database)
    ledger = Ledger()
    with cluster.services_up():
        await never_create(database)
        to_sessions = ChaosProxy(("127.0.0.1", cluster.session_port), seed=1)
        to_memories = ChaosProxy(("127.0.0.1", cluster.memory_port), seed=2)
        async with to_sessions.serving(), to_memories.serving():
            cluster.configure_sidecar(
                SIDECAR_UPSTREAM=f"http://127.0.0.1:{to_memories.port}",
                SIDECAR_SESSION_SERVICE=f"http://127.0.0.1:{to_sessions.port}",
                SIDECAR_ON_OUTAGE=on_outage,
                SIDECAR_UPSTREAM_TIMEOUT="5s",
                SIDECAR_OUTBOX=str(directory / "outbox.db"),
                SIDECAR_DECISION_HEADER="true",
            )
            await asyncio.to_thread(cluster.sidecar.start)
            base = f"http://127.0.0.1:{cluster.sidecar_port}"
            sessions_base = f"http://127.0.0.1:{cluster.session_port}"
            contended = on_outage == "reject"
            async with writers(base, sessions_base, ledger, count=count, contended=contended, new=new, pause=pause):
                while True:
                    for fault in Faults(cluster, postgres, [to_sessions, to_memories]).all():
                        async for _during in fault():
                            await asyncio.sleep(working)
                        await asyncio.sleep(working / 2)
                    if ledger.operations >= operations or time.monotonic() - started > MOST_SECONDS:
                        break
            outbox = directory / "outbox.db"
            await eventually(lambda: all(session.startswith(NEVER) for session in debts(outbox)), within=100)
            await audit(cluster, ledger, owed=debts(outbox))
            await a_new_session_is_created(base)
    return ledger


def debts(path: Path) -> list[str]:
    """The sessions that are owed; reads without holding up the sidecar."""
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return [session_id for (session_id,) in connection.execute("SELECT session_id FROM debts")]


async def a_new_session_is_created(base: str) -> None:
    """Nothing new is owed while the session service answers, also with unpayable debts in the file."""
    body = {"user_id": "ann", "session_id": f"s-{uuid.uuid4()}", "message_content": "hello"}
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=20) as http:
        response = await http.post(STORE, json=body)
    assert (response.status_code, response.headers["x-sidecar-session"]) == (200, "created")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("on_outage", ["reject", "forward"])
async def test_when_everything_fails_once_in_turn_no_promise_is_broken(
    tmp_path: Path, own_postgres: PostgresServer, on_outage: str
) -> None:
    """Kill -9, freeze, delay, cut and garble, each once; in `forward` mode the debts are paid at the end."""
    ledger = await run_faults(tmp_path, own_postgres, on_outage)
    assert ledger.broken or ledger.refusals
    assert not [process for process in psutil.Process().children() if process.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.long
@pytest.mark.timeout(4500)
@pytest.mark.parametrize("on_outage", ["reject", "forward"])
async def test_when_everything_fails_many_times_no_promise_is_broken(
    tmp_path: Path, own_postgres: PostgresServer, on_outage: str
) -> None:
    """The same until half of 500,000 writes were tried in each mode, or the time is over."""
    half = LONG_OPERATIONS // 2
    ledger = await run_faults(
        tmp_path, own_postgres, on_outage, operations=half, count=24, new=0.02, pause=0.0, working=5.0
    )
    counts = {"operations": ledger.operations, "acknowledged": len(ledger.acknowledged), "broken": ledger.broken}
    print(on_outage, counts, "deleted", len(ledger.deleted), dict(ledger.refusals))
    assert ledger.operations >= half, counts
