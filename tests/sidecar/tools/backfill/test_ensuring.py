"""What a session service says of many pairs is believed only if it speaks of these pairs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
import stamina

from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Gone, Invalid, Unknown, Verdict
from sidecar.model import UNOWNED, Reference, Session, SessionStatus
from sidecar.session_client.discovery import FixedAddress
from sidecar.tools.backfill.ensuring import InBulk, OneCallEach, Outcome, ServiceFailed
from sidecar.tools.backfill.pairs import Pair
from tests.support.callers import HttpxCaller
from tests.support.sessions import target

URL = "http://session.test"
PAIRS = [Pair(1, "u1", "s1"), Pair(2, "u2", "s2")]
GOOD = {"results": [{"session_id": "s1", "result": "created"}, {"session_id": "s2", "result": "gone"}]}


@pytest.fixture(autouse=True)
def _no_pauses() -> Iterator[None]:
    """Ask again as often as ever, without waiting in between."""
    stamina.set_testing(True, attempts=8)
    yield
    stamina.set_testing(False)


async def in_bulk(*answers: httpx.Response | Exception) -> tuple[list[Outcome], list[httpx.Request]]:
    """Ask a service that gives these answers in turn; gives the outcome and what was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        given = answers[min(len(asked), len(answers)) - 1]
        if isinstance(given, Exception):
            raise given
        return given

    caller = HttpxCaller(httpx.MockTransport(answer))
    return await InBulk(caller, FixedAddress(URL), "/api/v1/sessions:ensure")(PAIRS), asked


async def test_sends_all_pairs_in_one_call() -> None:
    """One call carries all pairs, and the outcomes come in their order."""
    outcomes, (request,) = await in_bulk(httpx.Response(200, json=GOOD))
    assert outcomes == [Outcome.CREATED, Outcome.GONE]
    assert (request.method, request.url.host, target(request)) == ("POST", "session.test", "/api/v1/sessions:ensure")
    assert json.loads(request.content) == {
        "sessions": [{"user_id": "u1", "session_id": "s1"}, {"user_id": "u2", "session_id": "s2"}]
    }


@pytest.mark.parametrize(
    "trouble", [httpx.Response(503), httpx.Response(429), httpx.ConnectError("refused"), httpx.ReadTimeout("late")]
)
async def test_asks_again_while_the_service_is_away(trouble: httpx.Response | Exception) -> None:
    """A call that failed is repeated while the service restarts."""
    outcomes, asked = await in_bulk(trouble, trouble, httpx.Response(200, json=GOOD))
    assert outcomes == [Outcome.CREATED, Outcome.GONE]
    assert len(asked) == 3


async def test_gives_up_with_one_readable_line() -> None:
    """The last error names the service and what was wrong."""
    with pytest.raises(ServiceFailed, match=r"^the session service at http://session\.test does not answer: refused$"):
        await in_bulk(httpx.ConnectError("refused"))


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (httpx.Response(401, json={"detail": "A token is required", "reason": "x"}), "401: A token is required"),
        (httpx.Response(401, json={"detail": "\x1b[2J\x9bm\n"}), r"401: \\x1b\[2J\\x9bm\\n$"),
        (httpx.Response(404, text="<html>"), "404: no reason given"),
        (httpx.Response(302, headers={"Location": "http://elsewhere"}), "302"),
        (httpx.Response(200, text="<html>"), "no result"),
        (httpx.Response(200, json=[]), "no result"),
        (httpx.Response(200, json={"results": None}), "no result"),
        (httpx.Response(200, json={"results": [{"session_id": "s1", "result": "maybe"}]}), "no result"),
        (httpx.Response(200, json={"results": GOOD["results"][:1]}), "other sessions"),
        (httpx.Response(200, json={"results": GOOD["results"][::-1]}), "other sessions"),
    ],
)
async def test_does_not_believe_what_proves_nothing(answer: httpx.Response, named: str) -> None:
    """A refusal, a page, a wrong shape or an answer about another session ends the work at once."""
    with pytest.raises(ServiceFailed, match=named):
        await in_bulk(answer)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Created(Session("u1", SessionStatus.ACTIVE)), Outcome.CREATED),
        (Absent(), Outcome.CREATED),
        (Found(Session("u1", SessionStatus.ACTIVE)), Outcome.FOUND),
        (Found(Session("u1", SessionStatus.ENDED)), Outcome.FOUND),
        (Found(Session(UNOWNED, SessionStatus.ACTIVE)), Outcome.FOUND),
        (Found(Session("u9", SessionStatus.ACTIVE)), Outcome.CONFLICT),
        (Found(Session("u1", SessionStatus.DELETED)), Outcome.GONE),
        (Conflict(), Outcome.CONFLICT),
        (Gone(), Outcome.GONE),
        (Invalid(), Outcome.INVALID),
    ],
)
async def test_one_call_each_reads_every_answer(answer: Verdict, outcome: Outcome) -> None:
    """Each answer to a look gives the outcome that ensuring would have."""

    async def ask(reference: Reference) -> Verdict:
        return answer

    assert await OneCallEach(ask)(PAIRS[:1]) == [outcome]


async def test_one_call_each_keeps_the_order_and_its_bound() -> None:
    """Pairs are asked about at the same time up to a bound, and outcomes keep their order."""
    under_way, most = 0, 0

    async def ask(reference: Reference) -> Verdict:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return Gone() if int(reference.session_id) % 3 else Absent()

    pairs = [Pair(number, "u", str(number)) for number in range(100)]
    outcomes = await OneCallEach(ask, at_once=8)(pairs)
    assert outcomes == [Outcome.GONE if number % 3 else Outcome.CREATED for number in range(100)]
    assert most == 8


async def test_one_call_each_asks_again_and_then_gives_up() -> None:
    """An unknown answer is asked for again, and never becomes an outcome."""
    asked = 0

    async def ask(reference: Reference) -> Verdict:
        nonlocal asked
        asked += 1
        return Unknown("connection refused")

    with pytest.raises(ServiceFailed, match="cannot say: connection refused"):
        await OneCallEach(ask)(PAIRS[:1])
    assert asked > 1
