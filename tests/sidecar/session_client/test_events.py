"""What the session service ends or deletes is no longer believed, and a lost stream is noticed and resumed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from unittest.mock import call, create_autospec

import httpx
import pytest

from sidecar.background import started
from sidecar.cache.session_cache import SessionCache
from sidecar.guard.ports import Telemetry
from sidecar.model import Session, SessionStatus
from sidecar.session_client.consul_discovery import Rotation
from sidecar.session_client.discovery import Discovery, FixedAddress
from sidecar.session_client.events import EventFollower
from sidecar.testing import FakeClock
from tests.support.eventually import eventually
from tests.support.migrated import migrate
from tests.support.ports import free_ports
from tests.support.processes import Running, running

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
HEARTBEAT = b": heartbeat\n\n"


def event(kind: str, number: int, session_id: str) -> bytes:
    """An event as the session service writes it."""
    return f'event: {kind}\nid: {number}\ndata: {{"session_id": "{session_id}"}}\n\n'.encode()


Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Stage:
    """A session service that plays one scene for each connection; the last one for all that follow."""

    def __init__(self, *scenes: bytes | Script) -> None:
        self.heads: list[str] = []
        self.url = ""
        self._scenes = list(scenes)
        self._playing: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def playing(self) -> AsyncIterator[Stage]:
        """Accept connections until the block ends; bytes are sent and the connection is then left open."""
        async with await asyncio.start_server(self._play, "127.0.0.1", 0) as server:
            self.url = "http://{}:{}".format(*server.sockets[0].getsockname())
            try:
                yield self
            finally:
                for scene in self._playing:
                    scene.cancel()
                await asyncio.gather(*self._playing, return_exceptions=True)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._playing.add(task)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            scene = self._scenes.pop(0) if len(self._scenes) > 1 else self._scenes[0]
            if isinstance(scene, bytes):
                writer.write(scene)
                await reader.read()
            else:
                await scene(writer)


def ending_with(content: bytes) -> Script:
    """A scene that sends this and closes the connection."""

    async def scene(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return scene


@pytest.fixture
def news() -> SessionCache:
    """Takes note of everything it hears."""
    return create_autospec(SessionCache, instance=True)  # type: ignore[no-any-return] # it has the port's shape


@pytest.fixture
def telemetry() -> Telemetry:
    """Takes note of the stream's state."""
    return create_autospec(Telemetry, instance=True)  # type: ignore[no-any-return] # it has the port's shape


@contextlib.asynccontextmanager
async def following(
    discovery: Discovery, news: SessionCache, telemetry: Telemetry, *, token: str | None = None, silence: float = 15.0
) -> AsyncIterator[EventFollower]:
    """A follower at work."""
    async with started(EventFollower(discovery, news, telemetry, token=token, silence=silence)) as follower:
        yield follower


@contextlib.asynccontextmanager
async def followed(
    *scenes: bytes | Script, news: SessionCache, telemetry: Telemetry, token: str | None = None, silence: float = 15.0
) -> AsyncIterator[Stage]:
    """A stage with a follower in the audience."""
    async with contextlib.AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage(*scenes).playing())
        address = FixedAddress(stage.url)
        await stack.enter_async_context(following(address, news, telemetry, token=token, silence=silence))
        yield stage


def heard(news: SessionCache) -> list[object]:
    """Everything that was told, in order, signs of life left out."""
    return [one for one in news.mock_calls if one[0] != "alive"]  # type: ignore[attr-defined] # autospec


async def test_tells_of_ends_and_deletions_in_order(news: SessionCache, telemetry: Telemetry) -> None:
    """Ends and deletions are told in their order; creations and unknown events are ignored."""
    told = (event("created", 1, "a"), event("ended", 2, "a"), event("deleted", 3, "a"), event("merged", 4, "a"))
    async with followed(HEAD + HEARTBEAT + b"".join(told), news=news, telemetry=telemetry):
        await eventually(lambda: len(heard(news)) >= 3)
    assert heard(news)[:3] == [call.stream_up(), call.ended("a"), call.deleted("a")]


async def test_tells_of_a_session_under_the_spelling_that_is_known(news: SessionCache, telemetry: Telemetry) -> None:
    """Where a session id may be spelled in several ways, an event may use another one than requests."""
    told = HEAD + HEARTBEAT + event("ended", 1, "A") + event("deleted", 2, "A")
    async with Stage(told).playing() as stage:
        follower = EventFollower(FixedAddress(stage.url), news, telemetry, canonical=str.lower)
        async with started(follower):
            await eventually(lambda: len(heard(news)) >= 3)
    assert heard(news)[1:3] == [call.ended("a"), call.deleted("a")]


async def test_is_up_only_once_everything_was_told(news: SessionCache, telemetry: Telemetry) -> None:
    """The stream counts as up at the first heartbeat, after the events that were missed."""
    async with followed(HEAD + event("deleted", 1, "a") + HEARTBEAT + HEARTBEAT, news=news, telemetry=telemetry):
        await eventually(lambda: call.stream_up() in heard(news))
    assert heard(news) == [call.deleted("a"), call.stream_up()]
    telemetry.events_connected.assert_called_once_with(connected=True)  # type: ignore[attr-defined] # autospec


async def test_resumes_after_the_last_event_it_heard(news: SessionCache, telemetry: Telemetry) -> None:
    """A new connection asks for the events after the last one that was heard."""
    scenes = (ending_with(HEAD + HEARTBEAT + event("ended", 41, "a")), HEAD + event("deleted", 42, "a") + HEARTBEAT)
    async with followed(*scenes, news=news, telemetry=telemetry) as stage:
        await eventually(lambda: heard(news).count(call.stream_up()) == 2)
    assert heard(news) == [
        call.stream_up(),
        call.ended("a"),
        call.stream_down(),
        call.deleted("a"),
        call.stream_up(),
    ]
    assert "last-event-id" not in stage.heads[0].lower()
    assert "last-event-id: 41\r\n" in stage.heads[1].lower()


async def test_forgets_all_when_there_is_nothing_to_resume_from(news: SessionCache, telemetry: Telemetry) -> None:
    """Where no event was ever heard, a new connection makes the cache forget all."""
    async with followed(ending_with(HEAD + HEARTBEAT), HEAD + HEARTBEAT, news=news, telemetry=telemetry):
        await eventually(lambda: heard(news).count(call.stream_up()) == 2)
    assert heard(news) == [call.stream_up(), call.stream_down(), call.forget_all(), call.stream_up()]


async def test_forgets_all_when_the_past_is_not_kept(news: SessionCache, telemetry: Telemetry) -> None:
    """`reset` makes the cache forget all, and names where to go on."""
    reset = b"event: reset\nid: 100\ndata: {}\n\n"
    scenes = (ending_with(HEAD + event("ended", 1, "a")), ending_with(HEAD + reset + HEARTBEAT), HEAD)
    async with followed(*scenes, news=news, telemetry=telemetry) as stage:
        await eventually(lambda: len(stage.heads) == 3)
    assert call.forget_all() in heard(news)
    assert "last-event-id: 100\r\n" in stage.heads[2].lower()


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"session_id": 5}', b"{}"])
async def test_forgets_all_when_an_event_cannot_be_read(data: bytes, news: SessionCache, telemetry: Telemetry) -> None:
    """An event that cannot be read makes the cache forget all: it may have been any deletion."""
    async with followed(HEAD + b"event: deleted\nid: 9\ndata: " + data + b"\n\n", news=news, telemetry=telemetry):
        await eventually(lambda: call.forget_all() in heard(news))


async def test_silence_counts_as_down(news: SessionCache, telemetry: Telemetry) -> None:
    """An open connection without a sign of life counts as lost."""
    async with followed(HEAD + HEARTBEAT, news=news, telemetry=telemetry, silence=0.2) as stage:
        await eventually(lambda: call.stream_down() in heard(news))
        await eventually(lambda: len(stage.heads) > 1)
    assert telemetry.events_connected.mock_calls[:2] == [call(connected=True), call(connected=False)]  # type: ignore[attr-defined] # autospec


async def test_half_a_heartbeat_is_silence(news: SessionCache, telemetry: Telemetry) -> None:
    """Bytes that form no whole line are no sign of life."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + HEARTBEAT)
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with followed(drip, news=news, telemetry=telemetry, silence=0.2):
        await eventually(lambda: call.stream_down() in heard(news))


async def test_stays_up_while_there_are_heartbeats(news: SessionCache, telemetry: Telemetry) -> None:
    """Heartbeats alone keep the stream up."""
    beats = 0

    async def beat(writer: asyncio.StreamWriter) -> None:
        nonlocal beats
        writer.write(HEAD)
        while not writer.is_closing():
            writer.write(HEARTBEAT)
            await writer.drain()
            beats += 1
            await asyncio.sleep(0.02)

    async with followed(beat, news=news, telemetry=telemetry, silence=1.0):
        await eventually(lambda: beats > 100)
    assert heard(news) == [call.stream_up()]


async def test_a_sign_of_life_says_no_more_than_was_read_before_it(news: SessionCache, telemetry: Telemetry) -> None:
    """A sign of life counts for the time before the previous read."""
    clock = FakeClock()
    go_on = asyncio.Event()

    async def beat(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + HEARTBEAT)
        await go_on.wait()
        writer.write(HEARTBEAT)
        await asyncio.Event().wait()

    async with Stage(beat).playing() as stage:
        follower = EventFollower(FixedAddress(stage.url), news, telemetry, clock=clock)
        async with started(follower):
            await eventually(lambda: call.alive(1000.0) in news.mock_calls)  # type: ignore[attr-defined] # autospec
            clock.advance(9)
            go_on.set()
            await eventually(lambda: len(news.mock_calls) == 3)  # type: ignore[attr-defined] # autospec
    assert news.mock_calls == [call.stream_up(), call.alive(1000.0), call.alive(1000.0)]  # type: ignore[attr-defined] # autospec


async def test_no_sign_of_life_counts_from_another_that_came_with_it(news: SessionCache, telemetry: Telemetry) -> None:
    """Heartbeats that one read brings, each in a chunk of its own, were all sent before that read."""
    clock = itertools.count(1000)
    go_on = asyncio.Event()

    def chunk(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    async def beat(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"))
        writer.write(chunk(HEARTBEAT) * 3)
        await go_on.wait()
        writer.write(chunk(event("ended", 1, "a")))
        await asyncio.Event().wait()

    async with Stage(beat).playing() as stage:
        follower = EventFollower(FixedAddress(stage.url), news, telemetry, clock=lambda: float(next(clock)))
        async with started(follower):
            await eventually(lambda: call.stream_up() in heard(news))
            go_on.set()
            await eventually(lambda: call.ended("a") in heard(news))
    assert news.mock_calls == [call.stream_up(), call.alive(1000.0), call.ended("a"), call.alive(1001.0)]  # type: ignore[attr-defined] # autospec


async def test_what_was_not_read_for_long_counts_as_down(news: SessionCache, telemetry: Telemetry) -> None:
    """After a long pause of this process the stream counts as down and is resumed from its place."""
    clock = FakeClock()
    go_on = asyncio.Event()

    async def beat(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + event("ended", 1, "a") + HEARTBEAT)
        await go_on.wait()
        writer.write(HEARTBEAT + event("deleted", 2, "a"))

    async with Stage(beat, HEAD + event("deleted", 2, "a") + HEARTBEAT).playing() as stage:
        follower = EventFollower(FixedAddress(stage.url), news, telemetry, clock=clock)
        async with started(follower):
            await eventually(lambda: call.stream_up() in heard(news))
            clock.advance(60)
            go_on.set()
            await eventually(lambda: heard(news).count(call.stream_up()) == 2)
    assert heard(news)[2:] == [call.stream_down(), call.deleted("a"), call.stream_up()]
    assert "last-event-id: 1\r\n" in stage.heads[1].lower()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + HEARTBEAT,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n" + HEARTBEAT,
        b"HTTP/1.1 500 Oops\r\nContent-Type: text/event-stream\r\n\r\n" + HEARTBEAT,
        b"SSH-2.0-OpenSSH\r\n",
        HEAD + b"data: " + b"x" * 100_000,
    ],
)
async def test_what_is_no_event_stream_is_down(answer: bytes, news: SessionCache, telemetry: Telemetry) -> None:
    """Errors, redirects, pages and endless lines count as down, and the stream is tried again."""
    async with followed(answer, news=news, telemetry=telemetry, silence=1.0) as stage:
        await eventually(lambda: len(stage.heads) > 1)
    assert call.stream_up() not in heard(news)
    assert call.stream_down() in heard(news)


async def test_moves_to_another_instance_when_one_dies(news: SessionCache, telemetry: Telemetry) -> None:
    """The instance that broke is reported, and the next one is asked for what came after."""
    dying = Stage(ending_with(HEAD + HEARTBEAT + event("ended", 5, "a")))
    living = Stage(HEAD + event("deleted", 6, "a") + HEARTBEAT)
    rotation = Rotation()
    async with dying.playing(), living.playing():
        rotation.replace([dying.url, living.url])
        async with following(rotation, news, telemetry):
            await eventually(lambda: call.deleted("a") in heard(news))
            await eventually(lambda: heard(news)[-1] == call.stream_up())


async def test_reports_an_instance_that_refuses_connections(news: SessionCache, telemetry: Telemetry) -> None:
    """An instance that refuses the connection is reported as failed."""
    discovery = create_autospec(Discovery, instance=True)
    discovery.pick.return_value = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with following(discovery, news, telemetry):
        await eventually(lambda: discovery.report.called)
    discovery.report.assert_called_with(discovery.pick.return_value, ok=False)


async def test_waits_for_an_instance(news: SessionCache, telemetry: Telemetry) -> None:
    """The stream is down while there is no instance, and comes up once there is one."""
    discovery = create_autospec(Discovery, instance=True)
    discovery.pick.return_value = None
    async with Stage(HEAD + HEARTBEAT).playing() as stage, following(discovery, news, telemetry):
        await eventually(lambda: call.stream_down() in heard(news))
        discovery.pick.return_value = stage.url
        await eventually(lambda: call.stream_up() in heard(news))


async def test_shows_its_token(news: SessionCache, telemetry: Telemetry) -> None:
    """The request for the stream carries the token."""
    async with followed(HEAD + HEARTBEAT, news=news, telemetry=telemetry, token="hush") as stage:
        await eventually(lambda: stage.heads)
    assert "authorization: bearer hush\r\n" in stage.heads[0].lower()


async def test_reaches_an_instance_on_a_unix_socket(news: SessionCache, telemetry: Telemetry, tmp_path: Path) -> None:
    """A `unix:/path` address is followed like any other."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + HEARTBEAT)
        await reader.read()
        writer.close()

    address = FixedAddress(f"unix:{tmp_path}/s.sock")
    async with await asyncio.start_unix_server(play, tmp_path / "s.sock"), following(address, news, telemetry):
        await eventually(lambda: call.stream_up() in heard(news))


def known_sessions(*session_ids: str) -> SessionCache:
    """A cache that believes these sessions are active."""
    known = SessionCache(100, 300.0)
    for session_id in session_ids:
        known.remember(session_id, Session("alice", SessionStatus.ACTIVE), known.ticket())
    return known


async def test_an_answer_that_an_event_overtook_is_not_believed(telemetry: Telemetry) -> None:
    """An answer that is older than the event of a deletion is not cached."""
    known = known_sessions()
    async with Stage(HEAD + HEARTBEAT + event("deleted", 1, "a")).playing() as stage:
        ticket = known.ticket()
        async with following(FixedAddress(stage.url), known, telemetry):
            await eventually(lambda: known.get("a") is not None)
            assert not known.remember("a", Session("alice", SessionStatus.ACTIVE), ticket)
            assert not known.admits("a", "alice")


class TestAgainstTheRealService:
    """The session service itself, as a process on SQLite."""

    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        """One database for every life of the process."""
        environment = {
            "SESSION_SERVICE_LISTEN": "127.0.0.1:0",
            "SESSION_DATABASE_URL": f"sqlite:///{tmp_path}/sessions.db",
        }
        migrate("session_service", environment["SESSION_DATABASE_URL"])
        return environment

    @contextlib.contextmanager
    def alive(self, environment: dict[str, str], tmp_path: Path) -> Iterator[Running]:
        """One life of the process."""
        with running("session_service", "serve", role="session-service", env=environment, cwd=tmp_path) as service:
            yield service

    async def test_a_deletion_reaches_the_cache(
        self, environment: dict[str, str], tmp_path: Path, telemetry: Telemetry
    ) -> None:
        """The cache holds a tombstone after a deletion, and an ended session after an end."""
        known = known_sessions("a", "b")
        with self.alive(environment, tmp_path) as service:
            async with following(FixedAddress(service.url()), known, telemetry), sessions(service) as client:
                await eventually(lambda: telemetry.events_connected.called)  # type: ignore[attr-defined] # autospec
                await create(client, "a", "b")
                assert known.admits("a", "alice")
                (await client.delete("/api/v1/sessions/a")).raise_for_status()
                (await client.post("/api/v1/sessions/b/end")).raise_for_status()
                await eventually(lambda: known.get("a") == Session(None, SessionStatus.DELETED))
                await eventually(lambda: known.get("b") == Session("alice", SessionStatus.ENDED))

    async def test_a_deletion_during_an_interruption_is_told_afterwards(
        self, environment: dict[str, str], tmp_path: Path, telemetry: Telemetry
    ) -> None:
        """A deletion during an interruption is told once the stream is back."""
        known = known_sessions("a")
        connected = telemetry.events_connected  # type: ignore[attr-defined] # autospec
        discovery = create_autospec(Discovery, instance=True)
        with self.alive(environment, tmp_path) as service:
            discovery.pick.return_value = service.url()
            async with following(discovery, known, telemetry) as follower:
                await eventually(lambda: connected.called)
                async with sessions(service) as client:
                    await create(client, "a")
                await eventually(lambda: follower._position)
                discovery.pick.return_value = None
                await asyncio.to_thread(service.kill)
                await eventually(lambda: connected.mock_calls[-1] == call(connected=False))
                with self.alive(environment, tmp_path) as again:
                    async with sessions(again) as client:
                        (await client.delete("/api/v1/sessions/a")).raise_for_status()
                    assert known.admits("a", "alice")
                    discovery.pick.return_value = again.url()
                    await eventually(lambda: known.get("a") == Session(None, SessionStatus.DELETED))


def sessions(service: Running) -> httpx.AsyncClient:
    """A client of the session service."""
    return httpx.AsyncClient(base_url=service.url(), trust_env=False)


async def create(client: httpx.AsyncClient, *session_ids: str) -> None:
    """Make sure of these sessions for one user."""
    for session_id in session_ids:
        (await client.put(f"/api/v1/sessions/{session_id}", json={"user_id": "alice"})).raise_for_status()
