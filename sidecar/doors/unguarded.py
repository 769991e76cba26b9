"""Reports writes that pass unguarded although a name that the profile watches stands in them.

They show that the profile does not fit the memory service. Only the target and the beginning of a body are searched,
for the bytes of the names: a hint for an operator, which must cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import Message, Receive

from sidecar.guard.ports import Telemetry
from sidecar.model import Head
from sidecar.request_context import on_behalf_of

_WRITES: Final = frozenset({"POST", "PUT", "PATCH"})
SEARCHED: Final = 16 * 1024
"""Bytes of the first piece of a body that are searched."""


class UnguardedWrites:
    """Looks at requests that no rule guards.

    `names` are the watched names. A request for which `has_rule` is true passes because the profile says so, and is not
    reported.
    """

    def __init__(self, names: Iterable[str], has_rule: Callable[[Head], bool], telemetry: Telemetry) -> None:
        self._names = tuple(name.encode() for name in names)
        self._has_rule = has_rule
        self._telemetry = telemetry

    def look(self, head: Head, piece: bytes) -> None:
        """Look at a request and the first piece of its body, which may be empty."""
        if head.method in _WRITES and self._is_named(head, piece):
            self._note(head)

    def looking(self, head: Head, receive: Receive) -> Receive:
        """Give a `receive` that looks at the first piece of the body when it comes."""
        if head.method not in _WRITES:
            return receive
        if self._is_named(head, b""):
            # There may be no body to wait for.
            self._note(head)
            return receive
        is_first = True

        async def looked_at() -> Message:
            nonlocal is_first
            message = await receive()
            if is_first:
                is_first = False
                self.look(head, message.get("body", b""))
            return message

        return looked_at

    def _is_named(self, head: Head, piece: bytes) -> bool:
        for name in self._names:  # noqa: SIM110 # as a generator, compiled, it takes several times as long
            if piece.find(name, 0, SEARCHED) >= 0 or name in head.target:
                return True
        return False

    def _note(self, head: Head) -> None:
        if not self._has_rule(head):
            with on_behalf_of(head):
                self._telemetry.unguarded_write()
