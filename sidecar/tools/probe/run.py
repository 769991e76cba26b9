"""The tries of `session-sidecar probe`: what a session service does to a session when it is asked as the sidecar asks.

Each try leaves findings with a code. An error means that creating sessions there loses or gives away data.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any, Final

from sidecar.guard.verdicts import Absent, Created, Found, Invalid, Unknown
from sidecar.model import Reference
from sidecar.profile.profile import Owner
from sidecar.session_client.transport import NoAnswer
from sidecar.tools.probe.findings import ProbeFinding
from sidecar.tools.probe.probed_service import ProbedService, Seen, bearer

_AT_ONCE: Final = 20
_TOUCHED: Final = ("updat", "modif", "access", "last_", "lastu")
"""Beginnings of the names of fields that a service may set anew whenever a session is touched."""


class Probe:
    """Tries one session service by its profile. `pause` is in seconds, long enough for a time stamp to move on."""

    def __init__(self, service: ProbedService, *, pause: float = 1.1) -> None:
        self.findings: list[ProbeFinding] = []
        self._service = service
        self._profile = service.profile
        self._pause = pause

    async def run(self) -> None:
        """Try everything that the profile allows, and delete what was created."""
        try:
            if await self._never_existed() and self._profile.service.create is not None:
                await self._creating()
        except (NoAnswer, TimeoutError) as error:
            self._find("P100", f"it cannot be asked: {str(error) or type(error).__name__}")
        finally:
            await self._clean_up()

    async def _never_existed(self) -> bool:
        seen = await self._service.look(self._service.reference(0))
        if isinstance(seen.verdict, Unknown):
            self._find("P100", f"a look at a session that never existed says: {seen.verdict.why}")
        elif not isinstance(seen.verdict, Absent):
            self._find("P101", f"a look at a session that never existed is answered {seen.status} ({_name(seen)})")
        return isinstance(seen.verdict, Absent)

    async def _creating(self) -> None:
        reference = self._service.reference(0)
        made = await self._service.create(reference, marked=True)
        if isinstance(made.verdict, Invalid) and not self._service.uuids:
            self._service.uuids = True
            reference = self._service.reference(0)
            made = await self._service.create(reference, marked=True)
        if not isinstance(made.verdict, (Created, Found)):
            # It may not take the mark.
            reference = self._service.reference(0)
            made = await self._service.create(reference)
        before = await self._service.look(reference)
        if not isinstance(made.verdict, (Created, Found)) or not isinstance(before.verdict, Found):
            why = getattr(made.verdict, "why", _name(made))
            self._find("P102", f"a create under a new id is answered {made.status} ({why}); then look: {_name(before)}")
            return
        await self._repeated(reference, before)
        if self._profile.owner is not Owner.NONE or len(self._service.tokens) > 1:
            await self._other_user(reference)
        await self._at_once()
        await self._other_spelling(reference)
        await self._deleted(reference)
        await self._wrong_token()

    async def _repeated(self, reference: Reference, before: Seen) -> None:
        """Create again what is there, and compare the whole session."""
        await asyncio.sleep(self._pause)
        again = await self._service.create(reference)
        after = await self._service.look(reference)
        if (what := _loss(before, after)) is not None:
            self._find("P103", f"a repeated create (answered {again.status}) wipes what the session held ({what})")
        elif touched := _changed(before.session, after.session):
            self._find("P111", f"a repeated create changes {', '.join(touched)}")

    async def _other_user(self, reference: Reference) -> None:
        """Look at it and create it as another user; then see what its own user has."""
        other = self._service.reference(1, reference.session_id)
        before = await self._service.look(reference)
        seen = await self._service.look(other)
        if isinstance(seen.verdict, Found) and seen.verdict.session.owner == other.user_id != reference.user_id:
            self._find("P105", f"a look by {other.user_id} finds the session of {reference.user_id} as its own")
        made = await self._service.create(other)
        after = await self._service.look(reference)
        if (what := _loss(before, after)) is not None:
            user = other.user_id or "another user"
            self._find("P104", f"a create by {user} (answered {made.status}) changes the session or its owner ({what})")

    async def _at_once(self) -> None:
        reference = self._service.reference(0)
        answers = await asyncio.gather(*(self._service.create(reference) for _ in range(_AT_ONCE)))
        made = sum(isinstance(answer.verdict, Created) for answer in answers)
        failed = sorted({answer.status for answer in answers if answer.status >= 500})
        says_created = self._says_created()
        if made > 1 and says_created:
            self._find("P112", f"of {_AT_ONCE} creates at once {made} are answered as if each had made the session")
        if failed:
            count = sum(answer.status >= 500 for answer in answers)
            self._find("P106", f"of {_AT_ONCE} creates at once {count} are answered {', '.join(map(str, failed))}")

    def _says_created(self) -> bool:
        """Whether the statuses of the create call distinguish a new session from an existing one."""
        create = self._profile.service.create
        return create is not None and not self._profile.service.idempotent_create and len(create.meanings) > 1

    async def _other_spelling(self, reference: Reference) -> None:
        other = dataclasses.replace(reference, session_id=reference.session_id.upper())
        seen = await self._service.look(other)
        named = self._profile.service.same_id(reference.session_id, other.session_id)
        if seen.status < 300 and not named:
            self._find("P107", f"{other.session_id} and {reference.session_id} are one session to it")

    async def _deleted(self, reference: Reference) -> None:
        if not await self._service.delete(reference):
            return
        gone = await self._service.look(reference)
        again = await self._service.create(reference)
        if isinstance(gone.verdict, Absent) and isinstance(again.verdict, (Created, Found)):
            self._find("P108", "a deleted session leaves no trace: the next create makes it again")

    async def _wrong_token(self) -> None:
        if not self._service.tokens:
            return
        reference = self._service.reference(0)
        await self._service.create(reference)
        seen = await self._service.look(dataclasses.replace(reference, credentials=bearer("wrong-" + uuid.uuid4().hex)))
        if isinstance(seen.verdict, Found):
            self._find("P109", "a look with a wrong token is answered as one with the right token")

    async def _clean_up(self) -> None:
        left = []
        for reference in dict.fromkeys(self._service.made):
            try:
                if not await self._service.delete(reference):
                    left.append(reference.session_id)
            except (NoAnswer, TimeoutError):
                left.append(reference.session_id)
        if left:
            self._find("P110", f"could not be deleted: {', '.join(sorted(set(left)))}")

    def _find(self, code: str, seen: str) -> None:
        self.findings.append(ProbeFinding(code, seen))


def _name(seen: Seen) -> str:
    return type(seen.verdict).__name__.lower()


def _loss(before: Seen, after: Seen) -> str | None:
    """What the second of two looks no longer shows, beyond the time of the last change."""
    if type(after.verdict) is not type(before.verdict):
        return f"its user's look then says {_name(after)}"
    lost = [name for name in _changed(before.session, after.session) if not name.lower().startswith(_TOUCHED)]
    return f"changed: {', '.join(lost)}" if lost else None


def _changed(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """The names of the fields of a session that two looks show differently."""
    one, other = before or {}, after or {}
    return [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
