"""The exception by which a part of the extraction refuses a request; it carries the refusal."""

from __future__ import annotations

from typing import NoReturn

from sidecar.model import Reason, Refusal


class RequestRefused(Exception):
    """The request, or the call that is being read, must not be forwarded."""

    def __init__(self, refuse: Refusal) -> None:
        super().__init__(refuse.detail)
        self.refuse = refuse


def unreadable(detail: str) -> NoReturn:
    """Refuse a body that cannot be read as what it claims to be. Raises RequestRefused."""
    raise RequestRefused(Refusal(Reason.UNREADABLE_BODY, detail))


def ambiguous(detail: str) -> NoReturn:
    """Refuse a request in which two readers could see different sessions or users. Raises RequestRefused."""
    raise RequestRefused(Refusal(Reason.AMBIGUOUS_SESSION, detail))
