"""The guard, its cache and the real adapter against a model of the truth: writes, deletions, ends, expiry, events,
outages and lies in any order, with every step of a question under the test's control and a clock of its own.

The invariant: a write is admitted only if its session existed, for that user, within the staleness bound. In `forward`
mode the exception is a debt that was on disk first.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sidecar.cache.session_cache import SessionCache
from sidecar.guard.decisions import OnEnded, OnOutage, Policy
from sidecar.guard.guard import Guard
from sidecar.guard.permit import Permit
from sidecar.guard.session_resolver import remember
from sidecar.guard.verdicts import Conflict, Created, Found, Gone, Owed
from sidecar.model import Call, Extraction, Grounds, Reason, Reference, RefusalFormat, Refusals, RuleKind, SessionStatus
from sidecar.profile.session_api import DEFAULT_API
from sidecar.session_client.client import HttpSessionService
from sidecar.testing import FakeClock, FakeDebts, FakeDiscovery, FakeTelemetry
from tests.support.callers import HttpxCaller
from tests.support.sessions import BASE, session
from tests.support.sessions_world import Question, Truth, World, Write

IDS = st.sampled_from(["s-1", "s-1", "s-1", "s-2", "s-3"])
USERS = st.sampled_from(["ann", "ann", "bob"])
KINDS = st.sampled_from([RuleKind.ENSURE, RuleKind.ENSURE, RuleKind.ENSURE, RuleKind.REQUIRE])
REFERENCES = st.builds(Reference, IDS, USERS, KINDS)
TIMEOUT = 2.0
LATE = 14.5  # of the adapter, by the test's clock and by the real one: more than any question really takes
SILENCE = 15.0
GRACE = 30.0
HEARTBEAT = 5.0


class SlowDebts(FakeDebts):
    """A disk that takes its time: what is to be written waits in `writing` until told, unless `immediate`."""

    def __init__(self) -> None:
        super().__init__()
        self.immediate = False
        self.writing: list[asyncio.Event] = []

    async def owe(self, reference: Reference) -> Owed:
        if not self.immediate:
            written = asyncio.Event()
            self.writing.append(written)
            await written.wait()
        return await super().owe(reference)


class Guarding(RuleBasedStateMachine):
    """Everything that can happen, in any order."""

    on_outage = OnOutage.REJECT
    on_ended = OnEnded.FORWARD
    scope: tuple[str, ...] = ()
    kind: RuleKind | None = None
    hides = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.world = World(self.clock)
        self.world.hides = self.hides
        self.debts = SlowDebts()
        telemetry = FakeTelemetry()
        self.service = HttpSessionService(
            HttpxCaller(self.world),
            FakeDiscovery([BASE]),
            telemetry,
            DEFAULT_API,
            timeout=LATE,
            scope_names=self.scope,
            clock=self.clock,
        )
        self.known = SessionCache(2, 300.0, ended_admits=self.on_ended is OnEnded.FORWARD, clock=self.clock)
        self.guard = Guard(
            self.known,
            self.service,
            telemetry,
            Policy(3600.0, self.on_outage, self.on_ended),
            self.debts,
        )
        self.writes: list[Write] = []
        self.asked_for: set[tuple[str, str | None]] = set()
        self.fresh = 0
        # The event stream: broken is what it is, down is what the sidecar has noticed. All that happened until
        # `told_until` is known to be told, or is on its way.
        self.told_until = self.clock.now
        self.broken_at: float | None = self.clock.now
        self.is_down = True
        # That a session is somebody else's can be told to a look without proof; it refuses, and is remembered.
        self.was_slandered = False

    @initialize(known=st.booleans())
    def usually_the_stream_is_up_and_a_session_known(self, known: bool) -> None:
        self.the_stream_comes_back(forgotten=False)
        if known:
            self.a_write_is_decided_at_once(Reference("s-1", "ann"))

    # Writes and their questions

    @precondition(lambda self: not (self.world.questions or self.debts.writing))
    @rule(reference=REFERENCES)
    def a_write_is_decided_at_once(self, reference: Reference) -> None:
        self.world.immediate = self.debts.immediate = True
        self.write([reference])
        self.world.immediate = self.debts.immediate = False

    @rule(references=st.lists(REFERENCES, min_size=1, max_size=3))
    def write(self, references: list[Reference]) -> None:
        references = [replace(one, scope=self.scope, kind=self.kind or one.kind) for one in references]
        calls = tuple(Call(reference) for reference in references)
        reading = Extraction(RefusalFormat.BATCH if len(calls) > 1 else RefusalFormat.REST, calls)
        self.asked_for |= {(one.session_id, one.user_id) for one in references if one.kind is RuleKind.ENSURE}
        admit = self.guard.permit_known(reading)
        if admit is not None:
            self._check_admit(references, admit)
            return
        task = self.loop.create_task(self.guard.authorize(reading))
        self.writes.append(Write(tuple(references), task, self.world.there()))
        self._settle()

    @precondition(lambda self: self.world.questions)
    @rule(data=st.data())
    def a_question_arrives(self, data: st.DataObject) -> None:
        question = data.draw(st.sampled_from(self.world.questions))
        if not self.world.up and question.failure is None and not question.arrive.is_set():
            question.failure = httpx.Response(503)
            question.worked = data.draw(st.booleans())
        question.arrive.set()
        self._settle()

    @precondition(lambda self: self.world.questions)
    @rule(data=st.data())
    def an_answer_arrives(self, data: st.DataObject) -> None:
        question = data.draw(st.sampled_from(self.world.questions))
        self._deliver(question)

    @precondition(lambda self: self.world.questions)
    @rule(data=st.data())
    def an_answer_is_a_lie_or_gets_lost(self, data: st.DataObject) -> None:
        question = data.draw(st.sampled_from(self.world.questions))
        lies = [
            httpx.Response(200, text="<html>"),
            httpx.Response(404, text="<html>"),
            session(200, session_id="s-1", user_id="eve"),
            session(200, session_id="s-never", user_id="ann"),
            session(201, session_id="s-never", user_id="ann"),
            httpx.ReadError("cut"),
            httpx.Response(302),
        ]
        question.failure = data.draw(st.sampled_from(lies))
        self.was_slandered |= question.failure is lies[2]
        question.worked = data.draw(st.booleans())
        self._deliver(question)

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def a_client_goes_away(self, data: st.DataObject) -> None:
        write = data.draw(st.sampled_from(self.writes))
        write.task.cancel()
        self._settle()

    # What others do to sessions

    @rule(session_id=IDS, owner=USERS)
    def somebody_creates(self, session_id: str, owner: str) -> None:
        self.world.sessions.setdefault(session_id, Truth(owner, since=self.clock.now))

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def a_client_writes_once_its_session_is_there(self, data: st.DataObject) -> None:
        """A client creates a session while the answer to another write of it is under way, then it writes itself."""
        other = data.draw(st.sampled_from(self.writes)).references[0]
        for question in self.world.questions:
            question.arrive.set()
        self._settle()
        self.somebody_creates(other.session_id, other.user_id)
        self.write([replace(other, user_id=self.world.sessions[other.session_id].owner)])

    @precondition(lambda self: self.world.sessions)
    @rule(data=st.data(), status=st.sampled_from([SessionStatus.ENDED, SessionStatus.DELETED]))
    def somebody_ends_or_deletes(self, data: st.DataObject, status: SessionStatus) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.world.sessions)))
        if self.world.sessions[session_id].status not in (status, SessionStatus.DELETED):
            self.world.change(session_id, status)

    # The event stream

    @precondition(lambda self: self.world.events and self.broken_at is None)
    @rule()
    def an_event_arrives(self) -> None:
        self._tell(*self.world.events.pop(0))

    @precondition(lambda self: self.broken_at is None)
    @rule()
    def the_stream_breaks(self) -> None:
        self.broken_at = self.clock.now

    @precondition(lambda self: self.broken_at is not None and not self.is_down)
    @rule()
    def the_loss_is_noticed(self) -> None:
        self.known.stream_down()
        self.is_down = True

    @precondition(lambda self: self.broken_at is not None)
    @rule(forgotten=st.booleans())
    def the_stream_comes_back(self, forgotten: bool) -> None:
        if not self.is_down:
            self.the_loss_is_noticed()
        if forgotten:
            self.world.events.clear()
            self.known.forget_all()
        while self.world.events:
            self._tell(*self.world.events.pop(0))
        self.known.stream_up()
        self.broken_at, self.is_down, self.told_until = None, False, self.clock.now

    # Time, outages, debts

    @rule(seconds=st.sampled_from([1.0, 14.0, 31.0, 46.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        if seconds > TIMEOUT:
            for question in list(self.world.questions):
                question.failure = httpx.ReadTimeout("late")
                question.worked = question.arrive.is_set()
                self._deliver(question)
        if self.broken_at is not None and not self.is_down:
            unnoticed = min(seconds, self.broken_at + SILENCE - self.clock.now)
            self.clock.advance(unnoticed)
            seconds -= unnoticed
            if self.clock.now >= self.broken_at + SILENCE:
                self.the_loss_is_noticed()
        while self.broken_at is None and seconds > 0:
            self.clock.advance(min(seconds, HEARTBEAT))
            seconds -= HEARTBEAT
            self.told_until = self.clock.now
            self.known.alive(self.clock.now)
        self.clock.advance(max(seconds, 0.0))

    @rule(seconds=st.sampled_from([14.0, 46.0, 60.0]))
    def the_process_is_stopped(self, seconds: float) -> None:
        """The clock jumps: nothing is read or noticed meanwhile, not even that questions took too long."""
        self.clock.advance(seconds)

    @rule(up=st.booleans())
    def the_service_goes_down_or_comes_back(self, up: bool) -> None:
        self.world.up = up

    @precondition(lambda self: self.service.mints)
    @rule()
    def somebody_looks_at_a_minting_service(self) -> None:
        self.service.mints = False

    @precondition(lambda self: self.on_outage is OnOutage.FORWARD)
    @rule(broken=st.booleans())
    def the_disk_fails_or_recovers(self, broken: bool) -> None:
        self.debts.broken = broken

    @precondition(lambda self: self.debts.writing)
    @rule(data=st.data())
    def a_debt_is_on_disk(self, data: st.DataObject) -> None:
        written = data.draw(st.integers(0, len(self.debts.writing) - 1))
        self.debts.writing.pop(written).set()
        self._settle()

    @precondition(lambda self: self.debts.owed and not self.debts.broken)
    @rule(set_aside=st.booleans())
    def a_debt_is_paid(self, set_aside: bool) -> None:
        due = self.loop.run_until_complete(self.debts.due(1, set_aside=set_aside))
        for reference in due:
            self.world.immediate = True
            ticket = self.known.ticket()
            answer = self.loop.run_until_complete(self.service.ensure(reference))
            self.world.immediate = False
            if isinstance(answer, Found | Created | Conflict | Gone):
                remember(self.known, reference, answer, ticket)
                self.loop.run_until_complete(self.debts.settle(reference, answer))

    @precondition(lambda self: self.debts.any_owed() and not self.debts.broken)
    @rule()
    def a_debt_turns_out_to_be_unpayable(self) -> None:
        [reference] = self.loop.run_until_complete(self.debts.due(1))
        self.loop.run_until_complete(self.debts.set_aside(reference, "it answered with another session"))

    @precondition(lambda self: self.world.up and not (self.world.questions or self.debts.writing))
    @rule()
    def a_new_session_is_not_owed_while_the_service_answers(self) -> None:
        if self.service.mints or self.service._breaker.is_open:
            return
        self.fresh += 1
        reference = Reference(f"s-fresh-{self.fresh}", "ann", scope=self.scope)
        self.asked_for.add((reference.session_id, reference.user_id))
        self.world.immediate = True
        decided = self.loop.run_until_complete(self.guard.authorize(Extraction(RefusalFormat.REST, (Call(reference),))))
        self.world.immediate = False
        assert decided.grounds is Grounds.CREATED

    # What must hold

    @invariant()
    def decided_writes_were_decided_rightly(self) -> None:
        for write in [write for write in self.writes if write.task.done()]:
            self.writes.remove(write)
            if write.task.cancelled():
                continue
            decision = write.task.result()
            if isinstance(decision, Permit):
                self._check_admit(write.references, decision)
            else:
                self._check_refusals(write, decision)

    @invariant()
    def no_session_exists_that_nobody_asked_for(self) -> None:
        for reference in self.world.created:
            assert (reference.session_id, reference.user_id) in self.asked_for

    @invariant()
    def no_debt_exists_that_nobody_asked_for(self) -> None:
        for reference in self.debts.owed.values():
            assert (reference.session_id, reference.user_id) in self.asked_for
        assert not self.debts.owed or self.on_outage is OnOutage.FORWARD

    @invariant()
    def the_cache_keeps_its_bound(self) -> None:
        assert len(self.known) <= 2

    def teardown(self) -> None:
        """Whatever happened, everything comes to its end, and a healthy service serves a new session."""
        try:
            self._come_to_an_end()
        finally:
            self.loop.close()

    def _come_to_an_end(self) -> None:
        self.world.up, self.service.mints, self.debts.broken = True, False, False
        while self.world.questions or self.debts.writing:
            while self.world.questions:
                self._deliver(self.world.questions[0])
            while self.debts.writing:
                self.debts.writing.pop().set()
            self._settle()
        self.decided_writes_were_decided_rightly()
        assert not self.writes
        self.clock.advance(400.0)
        for set_aside in (False, True):
            for _ in range(len(self.debts.owed)):
                self.a_debt_is_paid(set_aside)
        assert not self.debts.owed
        self.world.immediate = True
        last = Extraction(RefusalFormat.REST, (Call(Reference("s-last", "ann", scope=self.scope)),))
        decided = self.loop.run_until_complete(self.guard.authorize(last))
        # A service that answered with an id of its own, and lacks the one that was asked for, creates nothing any more.
        if self.service.mints:
            assert [one.reason for one in decided.refusals] == [Reason.SESSION_SERVICE_UNTRUSTWORTHY]
        else:
            assert decided.grounds is Grounds.CREATED
        self.loop.run_until_complete(self.guard.aclose())

    def _check_admit(self, references: tuple[Reference, ...] | list[Reference], admit: Permit) -> None:
        for reference in references:
            claim = self.debts.claimant(reference.key)
            if admit.grounds is Grounds.OWED and claim is not None:
                assert claim.owner == reference.user_id
                remembered = self.known.recall(reference.key)
                assert remembered is None or remembered.owner == reference.user_id
                continue
            truth = self.world.sessions.get(reference.session_id)
            assert truth is not None, "admitted, and never existed"
            assert truth.owner == reference.user_id, "admitted for another user"
            refusing = (
                {SessionStatus.DELETED}
                if self.on_ended is OnEnded.FORWARD
                else {SessionStatus.DELETED, SessionStatus.ENDED}
            )
            if truth.status in refusing:
                self._check_staleness(reference, truth)

    def _check_staleness(self, reference: Reference, truth: Truth) -> None:
        told = not any(session_id == reference.session_id for session_id, _ in self.world.events)
        assert not told, "admitted, although the event had arrived"
        # An event that was still on its way when the stream was last heard counts from there.
        since = max(truth.since, self.told_until)
        assert self.clock.now - since <= SILENCE + GRACE, "admitted beyond the staleness bound"

    def _check_refusals(self, write: Write, refused: Refusals) -> None:
        references = write.references
        assert len(refused.refusals) == len(references)
        assert any(refused.refusals)
        for reference, refusal in zip(references, refused.refusals, strict=True):
            if refusal is None:
                continue
            truth = self.world.sessions.get(reference.session_id)
            assert refusal.session_id == reference.session_id
            match refusal.reason:
                case Reason.SESSION_GONE:
                    assert truth is not None
                    assert truth.status is SessionStatus.DELETED
                case Reason.SESSION_OWNED_BY_ANOTHER_USER:
                    assert self._is_anothers(reference, references, truth)
                case Reason.SESSION_ENDED:
                    assert self.on_ended is OnEnded.REJECT
                case Reason.SESSION_NOT_FOUND:
                    assert reference.kind is RuleKind.REQUIRE
                    assert (reference.session_id, reference.user_id) not in write.there, "missed, and there all along"
                case _:
                    assert refusal.reason in {
                        Reason.SESSION_SERVICE_UNAVAILABLE,
                        Reason.SESSION_SERVICE_UNTRUSTWORTHY,
                    }

    def _is_anothers(self, reference: Reference, company: tuple[Reference, ...], truth: Truth | None) -> bool:
        if self.was_slandered:
            return True
        others = {one.user_id for one in company if one.key == reference.key}
        claim = self.debts.claimant(reference.key)
        settled = {debt.user_id for debt, _ in self.debts.settled if debt.key == reference.key}
        owners = {truth.owner if truth else None, claim.owner if claim else None, *others, *settled}
        return bool(owners - {reference.user_id, None})

    def _tell(self, session_id: str, event: str) -> None:
        (self.known.ended if event == "ended" else self.known.deleted)(session_id)

    def _deliver(self, question: Question) -> None:
        question.arrive.set()
        self._settle()
        question.leave.set()
        self._settle()

    def _settle(self) -> None:
        self.loop.run_until_complete(_everything_stands_still())


async def _everything_stands_still() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


class GuardingEnded(Guarding):
    on_ended = OnEnded.REJECT


class GuardingScoped(Guarding):
    """The same under a profile that scopes ids, in front of a service whose events name the id alone."""

    scope = ("app",)


class GuardingHidden(Guarding):
    """The same in front of a service that shows each user its own sessions alone and creates none, as agno does."""

    kind = RuleKind.REQUIRE
    hides = True


class Forwarding(Guarding):
    on_outage = OnOutage.FORWARD


class ForwardingScoped(Forwarding):
    scope = ("app",)


@pytest.fixture(autouse=True)
def _one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries would take real time; they are tested elsewhere."""
    monkeypatch.setattr("sidecar.session_client.retries._PAUSES", ())


def bounded(machine: type[Guarding], examples: int) -> type:
    """The machine as a test of so many runs."""
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    return case


TestGuarding = bounded(Guarding, 40)
TestGuardingEnded = bounded(GuardingEnded, 40)
TestGuardingScoped = bounded(GuardingScoped, 30)
TestGuardingHidden = bounded(GuardingHidden, 40)
TestForwarding = bounded(Forwarding, 40)
TestForwardingScoped = bounded(ForwardingScoped, 30)


MACHINES = [Guarding, GuardingEnded, GuardingScoped, GuardingHidden, Forwarding, ForwardingScoped]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", MACHINES)
def test_the_invariant_holds_for_long(machine):
    """The state machines hold for hundreds of longer runs."""
    many = settings(
        max_examples=400,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(machine, settings=many)
