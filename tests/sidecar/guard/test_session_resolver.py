"""The state table of the session resolver holds, cell by cell: what a waiting request gets out of a leader's answer."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.session_resolver import SessionResolver, remember
from sidecar.guard.verdicts import (
    Absent,
    Conflict,
    Created,
    Found,
    Gone,
    Invalid,
    Owed,
    Unknown,
    Untrustworthy,
    Verdict,
)
from sidecar.model import Reference, Session, SessionStatus
from sidecar.testing import FakeClock
from tests.support.state_table import state_table

TABLE = state_table("guard/session_resolver.py")
STEPS = ("look", "create", "owe")
ANN, BOB = Reference("s-1", "ann"), Reference("s-1", "bob")
ELSEWHERE = Reference("s-1", "ann", variables=(("tenant", "t-2"),))
ANNS = Session("ann", SessionStatus.ACTIVE)
ANSWERS: dict[str, Verdict | Owed] = {
    "Found": Found(ANNS),
    "Created": Created(ANNS),
    "Gone": Gone(),
    "Owed": Owed("ann"),
    "Unknown": Unknown("it is down"),
    "Absent": Absent(),
    "Conflict": Conflict(),
    "Invalid": Invalid(),
    "Untrustworthy": Untrustworthy("it answers with another id"),
}
ITS_OWN = Unknown("the answer to a step of its own")


class Scene:
    """A resolver whose first step gives `answer` once it is let go, and each later step `ITS_OWN`."""

    def __init__(self, *answers: Verdict | Owed) -> None:
        self.resolver = SessionResolver(self, SessionCache(100, 300.0, followed=False))  # type: ignore[arg-type]
        self.let_go = asyncio.Event()
        self.begun = asyncio.Event()
        self._answers = list(answers)

    async def look(self, _reference: Reference) -> Verdict:
        return await self._take()  # type: ignore[return-value] # the table has answers that a look-up never gives

    ensure = look

    def start(self, step: str, reference: Reference) -> asyncio.Task[Verdict | Owed]:
        """Have a request take a step."""
        deadline = asyncio.get_running_loop().time() + 30
        if step == "owe":
            return asyncio.create_task(self.resolver.owe(reference, lambda _reference: self._take()))
        ask = self.resolver.look if step == "look" else self.resolver.ensure
        return asyncio.create_task(ask(reference, deadline))

    async def _take(self) -> Verdict | Owed:
        if not self._answers:
            return ITS_OWN
        answer = self._answers.pop()
        self.begun.set()
        await self.let_go.wait()
        return answer


async def settle(answer: Verdict | Owed, leading: str, waiting: str, waiter: Reference) -> Verdict | Owed:
    """Give what a request of `waiter` gets that wants the step `waiting` while the step `leading` is under way."""
    scene = Scene(answer)
    leader = scene.start(leading, ANN)
    await scene.begun.wait()
    follower = scene.start(waiting, waiter)
    await asyncio.sleep(0)  # the waiting request finds the step under way
    scene.let_go.set()
    assert await leader == answer
    return await follower


def test_the_table_names_every_answer() -> None:
    """The state table has a row for each verdict and for a debt."""
    assert {row["answer"] for row in TABLE} == set(ANSWERS)
    assert {answer.__name__ for answer in (*Verdict.__args__, Owed)} == set(ANSWERS)


@pytest.mark.parametrize("waiter", [ANN, BOB], ids=["same user", "another user"])
@pytest.mark.parametrize("waiting", STEPS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["answer"])
async def test_each_cell_of_the_state_table_holds(row: dict[str, str], waiting: str, waiter: Reference) -> None:
    """A request that waits to take its own step gets what the table says, whatever step leads."""
    answer = ANSWERS[row["answer"]]
    expected = {"same": answer, "Found": Found(ANNS), "retry": ITS_OWN}[row[waiting]]
    for leading in STEPS:
        if leading != waiting:
            assert await settle(answer, leading, waiting, waiter) == expected


@pytest.mark.parametrize("waiter", [ANN, BOB, ELSEWHERE], ids=["same user", "another user", "another variable"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["answer"])
async def test_the_answer_to_the_same_step_that_began_before_is_in_the_table_too(
    row: dict[str, str], step: str, waiter: Reference
) -> None:
    """A request takes from a step that was under way when it came what the table says, be it the same step."""
    answer = ANSWERS[row["answer"]]
    expected = {"same": answer, "Found": Found(ANNS), "retry": ITS_OWN}[row[step]]
    assert await settle(answer, step, step, waiter) == expected


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", ANSWERS)
async def test_a_step_that_begins_after_requests_have_come_answers_all_that_ask_the_same(name: str, step: str) -> None:
    """Requests that wait for another user's step take the next one together, with `Created` as `Found` but for one."""
    answer = ANSWERS[name]
    scene = Scene(answer, Conflict())
    leader = scene.start(step, BOB)
    await scene.begun.wait()
    waiting = [scene.start(step, ANN) for _ in range(3)]
    await asyncio.sleep(0)  # the waiting requests find the step under way
    scene.let_go.set()
    assert await leader == Conflict()
    shared = Found(ANNS) if name == "Created" else answer
    assert await asyncio.gather(*waiting) == [answer, shared, shared]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (Found(ANNS), Created(ANNS)),
        (Found(Session("ann", SessionStatus.ENDED)), Found(Session("ann", SessionStatus.ENDED))),
        (Found(Session("bob", SessionStatus.ACTIVE)), Found(Session("bob", SessionStatus.ACTIVE))),
        (Gone(), Gone()),
    ],
    ids=["as it was created", "ended since", "of another user", "deleted since"],
)
async def test_a_creation_whose_answer_is_overtaken_counts_as_one(second: Verdict, expected: Verdict) -> None:
    """A session that is found at the second question as the first one created it is answered as created."""
    known = SessionCache(10, 300.0, followed=True)
    answers = [second, Created(ANNS)]

    class Service:
        async def ensure(self, _reference: Reference) -> Verdict:
            answer = answers.pop()
            if isinstance(answer, Created):
                known.stream_up()
            return answer

    resolver = SessionResolver(Service(), known)  # type: ignore[arg-type]
    assert await resolver.ensure(ANN, asyncio.get_running_loop().time() + 30) == expected
    assert not answers


async def test_what_the_resolver_looks_up_by_itself_is_no_lookup_of_a_write() -> None:
    """The figures of the cache count one look for each write, none of the resolver's own."""
    known = SessionCache(10, 300.0, followed=False)
    scene = Scene()
    scene.let_go.set()
    resolver = SessionResolver(scene, known)  # type: ignore[arg-type]
    await resolver.ensure(ANN, asyncio.get_running_loop().time() + 1.0)
    assert remember(known, ANN, Gone(), known.ticket())
    assert remember(known, ANN, Gone(), known.ticket())
    assert (known.hits, known.misses) == (0, 0)


def test_hearing_of_a_deletion_leaves_its_tombstone_as_it_is() -> None:
    """A deletion through this process is known for good, also once the session service says that it is gone."""
    clock = FakeClock()
    known = SessionCache(10, 300.0, followed=False, clock=clock)
    known.bury("s-1")
    assert remember(known, ANN, Gone(), known.ticket())
    clock.advance(1000.0)
    assert known.get("s-1") == Session(None, SessionStatus.DELETED)
