"""The session service that `session-sidecar probe` tries, asked with references of the probe's own."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sidecar.guard.verdicts import Absent, Gone, Verdict
from sidecar.model import Credentials, Reference
from sidecar.profile.api_call import ApiCall
from sidecar.profile.profile import Owner
from sidecar.profile.session_api import IdEquality
from sidecar.session_client.answers import Doubt, Interpreter, Reply
from sidecar.session_client.calls import SessionCall, bearer_field
from sidecar.session_client.transport import Transport
from sidecar.settings import Settings

_TIMEOUT: Final = 10.0
"""Seconds for one call."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer: what it means, and the session in it as the service shows it."""

    verdict: Verdict
    status: int
    session: Mapping[str, Any] | None


class ProbedService:
    """Asks one session service by the profile of the settings, once for each call; keeps what it created in `made`.

    `users` are two names, `tokens` their bearer tokens where there are any, and `values` give scope and variables.
    With `uuids` its session ids are UUIDs. Its calls raise NoAnswer or TimeoutError where there is no answer.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        transport: Transport,
        *,
        users: tuple[str, str],
        tokens: tuple[str, ...],
        values: Mapping[str, str],
    ) -> None:
        profile = self.profile = settings.profile
        self.made: list[Reference] = []
        self.tokens = tokens
        self.uuids = settings.id_format == "uuid" or profile.service.id_equals is IdEquality.UUID
        self._url = url
        self._transport = transport
        self._users = users
        self._values = values
        self._interpreter = Interpreter(profile.service, profile.scope, profile.owner)

    def reference(self, user: int, session_id: str | None = None) -> Reference:
        """Name a session, a new one by default, as user number 0 or 1."""
        known = {"user_id": self._users[user], **self._values}
        return Reference(
            session_id or (str(uuid.uuid4()) if self.uuids else f"probe-{uuid.uuid4().hex}"),
            None if self.profile.owner is Owner.NONE else self._users[user],
            scope=tuple(known.get(name, "probe") for name in self.profile.scope),
            variables=tuple((name, known[name]) for name in self.profile.variables if name in known),
            credentials=bearer(self.tokens[min(user, len(self.tokens) - 1)]) if self.tokens else None,
        )

    async def look(self, reference: Reference) -> Seen:
        reply = await self._ask(self.profile.service.look, reference)
        return Seen(self._interpreter.looked(reply, reference), reply.status, _object(reply))

    async def create(self, reference: Reference, *, marked: bool = False) -> Seen:
        """Make the profile's create call, which it must have; `marked` leaves a mark in the session's metadata."""
        create = self.profile.service.create
        assert create is not None  # noqa: S101 # the caller has made sure
        reply = await self._ask(_marked(create) if marked else create, reference)
        if reply.status < 300:
            self.made.append(reference)
        verdict = self._interpreter.made(reply, reference)
        return Seen(verdict.otherwise if isinstance(verdict, Doubt) else verdict, reply.status, _object(reply))

    async def delete(self, reference: Reference) -> bool:
        """Send DELETE to the path of the look; gives whether the session is gone then."""
        look = self.profile.service.look
        await self._ask(dataclasses.replace(look, method="DELETE"), reference)
        return isinstance((await self.look(reference)).verdict, (Absent, Gone))

    async def _ask(self, call: ApiCall, reference: Reference) -> Reply:
        headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
        written = SessionCall(call, self.profile.scope, headers).write(self._url, reference)
        return await self._transport.call(written, asyncio.get_running_loop().time() + _TIMEOUT)


def bearer(token: str) -> Credentials:
    """The credentials of a user with a bearer token."""
    return Credentials((bearer_field(token),), token)


def _marked(create: ApiCall) -> ApiCall:
    """A create call that leaves something in the session's metadata, so that it is seen when that is lost."""
    body = create.body or {}
    metadata = body.get("metadata")
    kept = metadata if isinstance(metadata, dict) else {}
    return dataclasses.replace(create, body={**body, "metadata": {**kept, "probe": "to be kept"}})


def _object(reply: Reply) -> Mapping[str, Any] | None:
    try:
        content = orjson.loads(reply.body or b"")
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None
