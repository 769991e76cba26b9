"""The ways to make sure of many sessions: one call for all, a question for each, and a look that creates nothing."""

from __future__ import annotations

import asyncio
import enum
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import orjson
import stamina

from service_kit.printable import printable
from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Gone, Invalid, Verdict
from sidecar.model import UNOWNED, Reference, Session, SessionStatus
from sidecar.session_client.answers import Reply
from sidecar.session_client.calls import bearer_field, write_call
from sidecar.session_client.discovery import Discovery
from sidecar.session_client.transport import NoAnswer, Transport
from sidecar.tools.backfill.pairs import Pair

MOST_AT_ONCE: Final = 1_000
CALL_TIMEOUT: Final = 30.0

# Long enough for a session service that is being restarted.
_RETRYING: Final = stamina.AsyncRetryingCaller(attempts=8, timeout=60.0, wait_initial=0.2, wait_max=5.0)


class Outcome(enum.StrEnum):
    """What came of a pair."""

    CREATED = "created"
    FOUND = "found"
    CONFLICT = "conflict"
    GONE = "gone"
    INVALID = "invalid"


class ServiceFailed(Exception):
    """The session service cannot be reached, or not be trusted; the message is one line for a person."""


class _NotNow(ServiceFailed):
    """It may help to ask again."""


Ensure: TypeAlias = Callable[[Sequence[Pair]], Awaitable[list[Outcome]]]
"""Says what came of each of at most `MOST_AT_ONCE` pairs, in their order. Raises ServiceFailed."""


class InBulk:
    """One call for all pairs, to a session service that has one. `token` is sent as a bearer token."""

    def __init__(self, transport: Transport, discovery: Discovery, path: str, token: str | None = None) -> None:
        self._transport = transport
        self._discovery = discovery
        self._path = path
        self._headers = [(b"content-type", b"application/json")]
        if token is not None:
            self._headers.append(bearer_field(token))

    async def __call__(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Create what is missing. Repeating it is safe, so it is repeated while the service is away."""
        return await _RETRYING(_NotNow, self._once, pairs)

    async def _once(self, pairs: Sequence[Pair]) -> list[Outcome]:
        url = self._discovery.pick()
        if url is None:
            raise _NotNow("no instance of the session service is known")
        body = orjson.dumps({"sessions": [{"user_id": pair.user_id, "session_id": pair.session_id} for pair in pairs]})
        call = write_call(url, "POST", self._path, self._headers, body)
        try:
            reply = await self._transport.call(call, asyncio.get_running_loop().time() + CALL_TIMEOUT)
        except (NoAnswer, TimeoutError) as error:
            self._discovery.report(url, ok=False)
            why = str(error) or f"nothing came in {CALL_TIMEOUT:g} s"
            raise _NotNow(f"the session service at {url} does not answer: {why}") from error
        self._discovery.report(url, ok=True)
        return _outcomes(pairs, reply, url)


class OneCallEach:
    """A call for each pair, `at_once` of them at most: to look only, or to a session service that has no bulk call."""

    def __init__(self, ask: Callable[[Reference], Awaitable[Verdict]], at_once: int = 32) -> None:
        self._ask = ask
        self._places = asyncio.Semaphore(at_once)

    async def __call__(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Ask about all pairs. The first that fails raises ServiceFailed at once; the calls for the others go on.

        What they create is found when the pairs are asked about again.
        """
        return await asyncio.gather(*map(self._patiently, pairs))

    async def _patiently(self, pair: Pair) -> Outcome:
        async with self._places:
            return await _RETRYING(_NotNow, self._once, pair)

    async def _once(self, pair: Pair) -> Outcome:
        answer = await self._ask(Reference(pair.session_id, pair.user_id))
        match answer:
            case Found(Session(status=SessionStatus.DELETED)) | Gone():
                return Outcome.GONE
            case Found(Session(owner=owner)):
                return Outcome.FOUND if owner in (UNOWNED, pair.user_id) else Outcome.CONFLICT
            case Created() | Absent():
                return Outcome.CREATED
            case Conflict():
                return Outcome.CONFLICT
            case Invalid():
                return Outcome.INVALID
            case _:
                raise _NotNow(f"the session service cannot say: {answer.why}")


class DryRun:
    """Looks only, by `look`. The first user of a missing session counts as its owner for the pairs that follow.

    These claims are in a temporary database of SQLite's own, which goes to disk when it grows.
    """

    def __init__(self, look: Ensure) -> None:
        self._look = look
        self._claims = sqlite3.connect("", isolation_level=None)
        self._claims.execute("CREATE TABLE claim (session_id TEXT PRIMARY KEY, user_id TEXT) WITHOUT ROWID")

    async def __call__(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Say what would come of the pairs. Batches that name one session must be given one after the other."""
        unclaimed = [pair for pair in pairs if self._owner(pair) is None]
        looked = dict(zip(unclaimed, await self._look(unclaimed), strict=True))
        return [self._outcome(pair, looked.get(pair)) for pair in pairs]

    def close(self) -> None:
        self._claims.close()

    def _outcome(self, pair: Pair, looked: Outcome | None) -> Outcome:
        owner = self._owner(pair)
        if owner is not None:
            return Outcome.FOUND if owner == pair.user_id else Outcome.CONFLICT
        assert looked is not None  # noqa: S101 # for the type checker: what has no owner was looked up
        if looked is Outcome.CREATED:
            self._claims.execute("INSERT INTO claim VALUES (?, ?)", (pair.session_id, pair.user_id))
        return looked

    def _owner(self, pair: Pair) -> str | None:
        row = self._claims.execute("SELECT user_id FROM claim WHERE session_id = ?", (pair.session_id,)).fetchone()
        return None if row is None else str(row[0])


def _outcomes(pairs: Sequence[Pair], reply: Reply, url: str) -> list[Outcome]:
    """Read a bulk answer, and accept it only if it is about the pairs that were sent, in their order."""
    if reply.status >= 500 or reply.status == 429:
        raise _NotNow(f"the session service at {url} answers {reply.status}")
    if reply.status != 200:
        raise ServiceFailed(f"the session service at {url} refuses with {reply.status}: {_detail(reply)}")
    try:
        results: list[Any] = orjson.loads(reply.body or b"")["results"]
        outcomes = [Outcome(result["result"]) for result in results]
        named = [result["session_id"] for result in results]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ServiceFailed(f"the session service at {url} answers with something that is no result") from error
    if named != [pair.session_id for pair in pairs]:
        raise ServiceFailed(f"the session service at {url} answers for other sessions than were sent")
    return outcomes


def _detail(reply: Reply) -> str:
    try:
        return printable(str(orjson.loads(reply.body or b"")["detail"])[:200])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "no reason given"
