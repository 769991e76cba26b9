"""The permit: what a request must hold to be forwarded.

A guard issues permits, and nothing else can: the constructor demands a seal that stays inside this room. A permit is
bound to the request it was issued for and can say whether the guard would still issue it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, final

from sidecar.model import Extraction, Grounds, Reference

Recheck: TypeAlias = Callable[[Extraction], bool]
"""Whether an extraction would be permitted now, by what is known, without a wait."""


class _Seal:
    """The type of the seal: it has one instance."""


SEAL: Final = _Seal()
"""Only `sidecar.guard` and the fakes of `sidecar.testing` use it; an import contract holds that."""


class PermitLapsed(Exception):
    """The permit is no longer valid because of what became known while the request waited to be sent."""


@final
class Permit:
    """The proof that a guard decided one request: `grounds` say why it may be forwarded.

    Raises TypeError when constructed outside the guard's room.
    """

    __slots__ = ("_extraction", "_recheck", "grounds")

    def __init__(
        self, seal: object, grounds: Grounds, extraction: Extraction | None = None, recheck: Recheck | None = None
    ) -> None:
        if seal is not SEAL:
            raise TypeError("only a guard issues a permit")
        self.grounds = grounds
        self._extraction = extraction
        self._recheck = recheck

    @property
    def references(self) -> tuple[Reference, ...]:
        """The sessions that the request names, one for each call that names one; empty where no rule looks at it."""
        if self._extraction is None:
            return ()
        return tuple(call.reference for call in self._extraction.calls if call.reference is not None)

    def still_valid(self) -> bool:
        """Whether the guard would issue the permit again by what is known now; asks no service and never waits."""
        return self._recheck is None or self._extraction is None or self._recheck(self._extraction)

    def __repr__(self) -> str:
        named = ", ".join(map(_described, self.references)) or "no session"
        return f"<Permit {self.grounds.value}: {named}>"


def _described(reference: Reference) -> str:
    session = "/".join((*reference.scope, reference.session_id))
    owner = "no user" if reference.user_id is None else reference.user_id
    return f"{reference.kind.value} {session} of {owner}"
