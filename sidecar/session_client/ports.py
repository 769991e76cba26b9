"""What the session client needs from outside: where instances are, and where events of sessions go."""

from __future__ import annotations

from typing import Protocol


class Discovery(Protocol):
    """Knows where instances of the session service are. Both methods return at once and never raise."""

    def pick(self) -> str | None:
        """Give the base URL of an instance (`http://…`, `https://…` or `unix:/path`, no trailing slash).

        Several instances are given in turn. None means that there is none: an outage.
        """
        ...

    def report(self, url: str, *, ok: bool) -> None:
        """Note that the instance at `url` answered, or could not be reached, so that others are picked."""
        ...


class SessionEvents(Protocol):
    """The receiver of the session service's events. No method waits or raises.

    Events name a session by its id alone, also where the cache scopes ids.
    """

    def ended(self, session_id: str) -> None:
        """The session was ended."""
        ...

    def deleted(self, session_id: str) -> None:
        """The session was deleted, for good."""
        ...

    def forget_all(self) -> None:
        """Anything may have happened: nothing learnt so far is to be believed."""
        ...

    def stream_up(self) -> None:
        """Everything that happened was told, and what happens from now on will be."""
        ...

    def alive(self, told_until: float) -> None:
        """The stream, which is up, gave a sign of life: what happened until then was told.

        `told_until` is in seconds of the clock that both sides share.
        """
        ...

    def stream_down(self) -> None:
        """Things may happen from now on without being told; repeating it changes nothing."""
        ...
