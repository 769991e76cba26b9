"""Follows the session service's event stream, so that the cache learns of sessions that end or are deleted.

The stream counts as up from the first heartbeat, before which all missed events arrive. It counts as down when it
breaks or falls silent, or when this process did not read it for as long: what then lies in the buffers may be of any
age.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

import orjson
import structlog

from sidecar.cache.clock import elapsed
from sidecar.cache.invalidation import LIFE_WITHOUT_EVENTS, SILENCE
from sidecar.cache.session_cache import SessionCache
from sidecar.guard.ports import Telemetry
from sidecar.http.framing import ResponseHead
from sidecar.session_client.calls import bearer_field, write_call
from sidecar.session_client.discovery import Discovery
from sidecar.session_client.sse import Comment, EndlessEvent, Event, EventStream, Item
from sidecar.session_client.transport import NoAnswer, Transport

PATH: Final = "/api/v1/session-events"

CONNECT_TIMEOUT: Final = 5.0
SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0

_log = structlog.get_logger()


class StreamLost(Exception):
    """Why the stream is not, or no longer, followed."""


class EventFollower:
    """Keeps one connection to one instance of the session service; when that breaks, to the instance picked next."""

    def __init__(
        self,
        discovery: Discovery,
        news: SessionCache,
        telemetry: Telemetry,
        *,
        path: str = PATH,
        canonical: Callable[[str], str] = str,
        token: str | None = None,
        silence: float = SILENCE,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        """`path` is the stream's at every instance; `token` is sent as a bearer token.

        `canonical` gives the spelling of a session id under which `news` knows the session.
        `silence` is in seconds; the service sends a heartbeat every 2.5. `clock` is the one that `news` goes by.
        """
        self._discovery = discovery
        self._news = news
        self._telemetry = telemetry
        self._transport = Transport(connect_timeout=CONNECT_TIMEOUT)
        self._headers = [
            (b"accept", b"text/event-stream"),
            (b"accept-encoding", b"identity"),
            (b"cache-control", b"no-store"),
        ]
        if token is not None:
            self._headers.append(bearer_field(token))
        self._path = path
        self._canonical = canonical
        self._silence = silence
        self._clock = clock
        self._position = ""
        self._up: bool | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        self._task = asyncio.create_task(self._follow(), name="session events")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._transport.aclose()

    async def _follow(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            try:
                await self._follow_once()
            except StreamLost as lost:
                # A stream that was up is connected to again at once; after attempts that fail the pause grows.
                pause = SHORTEST_PAUSE if self._up else min(pause * 2, LONGEST_PAUSE)
                self._note_down(str(lost))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 # spreads load, keeps no secret

    async def _follow_once(self) -> None:
        """Follow one instance until that ends. Raises StreamLost in any case."""
        url = self._discovery.pick()
        if url is None:
            raise StreamLost("no instance of the session service is known")
        try:
            async with asyncio.timeout(self._silence) as silence:
                await self._read(url, silence)
        except TimeoutError:
            self._discovery.report(url, ok=False)
            raise StreamLost(f"nothing was heard for {self._silence:g} s") from None
        except NoAnswer as failure:
            self._discovery.report(url, ok=False)
            raise StreamLost(str(failure)) from failure
        except EndlessEvent as error:
            raise StreamLost(str(error)) from error
        raise StreamLost("the service ended it")

    async def _read(self, url: str, silence: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        read_at = self._clock()
        headers = self._headers
        if self._position:
            headers = [*headers, (b"last-event-id", self._position.encode("ascii"))]
        async with self._transport.stream(write_call(url, "GET", self._path, headers)) as (head, chunks):
            _check(head)
            stream = EventStream(self._position)
            async for chunk in chunks:
                # When this chunk was sent is not known, but not before the last one was read.
                sent_after, read_at = read_at, self._clock()
                if read_at - sent_after > self._silence:
                    raise StreamLost(f"it was not read for {read_at - sent_after:.0f} s")
                items = stream.feed(chunk)
                if items:
                    self._hear(items, stream.last_id)
                    silence.reschedule(loop.time() + self._silence)
                    if self._up:
                        self._news.alive(sent_after)

    def _hear(self, items: Sequence[Item], last_id: str) -> None:
        for item in items:
            if isinstance(item, Comment):
                self._note_up()
            else:
                self._tell(item)
        # Only what is a number can be asked for again.
        if last_id.isascii() and last_id.isdigit():
            self._position = last_id

    def _tell(self, event: Event) -> None:
        match event.type:
            case "ended" | "deleted":
                session_id = _session_id(event)
                if session_id is None:
                    _log.error("a session event that cannot be read; forgetting all sessions", event_id=event.id)
                    self._news.forget_all()
                elif event.type == "ended":
                    self._news.ended(self._canonical(session_id))
                else:
                    self._news.deleted(self._canonical(session_id))
            case "reset":
                _log.warning("the session service does not keep the events that were missed; forgetting all sessions")
                self._news.forget_all()

    def _note_up(self) -> None:
        """Note that everything that happened has arrived: only then can what is known be believed again."""
        if self._up:
            return
        if self._up is not None and not self._position:
            # There was nothing to resume from, so events in between will never arrive.
            self._news.forget_all()
        self._up = True
        self._news.stream_up()
        self._telemetry.events_connected(connected=True)
        _log.info("following session events")

    def _note_down(self, why: str) -> None:
        self._news.stream_down()
        if self._up is False:
            return
        self._up = False
        self._telemetry.events_connected(connected=False)
        _log.warning(
            f"session events are lost: sessions already known are believed for {LIFE_WITHOUT_EVENTS:g} s at most",
            why=why,
        )


def _check(head: ResponseHead) -> None:
    """Raises StreamLost where the answer is no event stream."""
    fields = {name.lower(): value for name, value in head.headers}
    kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    coding = fields.get(b"content-encoding", b"identity")
    if head.status != 200 or kind != "text/event-stream" or coding != b"identity":
        raise StreamLost(f"the session service answered {head.status} ({kind or 'no content type'})")


def _session_id(event: Event) -> str | None:
    try:
        session_id = orjson.loads(event.data)["session_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return session_id if isinstance(session_id, str) else None
