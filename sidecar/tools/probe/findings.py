"""What `session-sidecar probe` can find: for each code how bad it is and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Level: TypeAlias = Literal["error", "warning"]

_MEANS: Final[Mapping[str, tuple[Level, str]]] = {
    "P100": ("error", "Check SIDECAR_SESSION_SERVICE (or SIDECAR_UPSTREAM) and the paths under [session_service]."),
    "P101": ("error", "Describe under look how the service says that a session does not exist (statuses, bodies)."),
    "P102": ("error", "The service cannot create a session under a given id: remove create, and use kind = require."),
    "P103": ("error", "A create that comes twice destroys data: remove create, and use kind = require."),
    "P104": ("error", "One user's create takes another's session: remove create, and use kind = require."),
    "P105": ("error", "Name the field of the owner in owner_field, or let look be asked with the user's credentials."),
    "P106": ("warning", "The sidecar looks again after such an answer; list the status under perhaps."),
    "P107": ("warning", "Clients must spell an id in one way, or the profile needs id_equals."),
    "P108": ("warning", "Set SIDECAR_AFTER_DELETE=refuse if a write must not bring back a deleted session."),
    "P109": ("warning", "Keep the service where the sidecar alone can reach it, or let it check tokens."),
    "P110": ("warning", "Delete what is left by hand."),
    "P111": ("warning", "Nothing to do, unless an application reads the time of the last change."),
    "P112": ("error", "Two creates at once each believe to be the first: remove create, and use kind = require."),
}


@dataclass(frozen=True, slots=True)
class ProbeFinding:
    """One thing that was found: its code, what was seen, how bad it is and what to do about it."""

    code: str
    seen: str

    @property
    def level(self) -> Level:
        return _MEANS[self.code][0]

    @property
    def remedy(self) -> str:
        return _MEANS[self.code][1]
