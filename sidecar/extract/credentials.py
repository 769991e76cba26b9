"""The credentials of a request that a profile passes on to the session service, and the digest that stands for them.

The digest is a part of what a session is known under, so that what one client may see admits no other. It is keyed with
a secret of this process: neither a log line nor a memory dump of the cache gives a credential away.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from sidecar.model import Credentials, Headers

_NAME: Final = "credentials"
_SECRET: Final = secrets.token_bytes(32)


class CredentialsReader:
    """Takes the fields with certain names, in lower case, out of request heads."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(name.encode("ascii") for name in names)

    def add(self, candidates: dict[str, list[object]], headers: Headers) -> None:
        """Put the credentials beside the candidates; a profile without any adds nothing."""
        if self._names:
            fields = tuple((name, value) for name, value in headers if name in self._names)
            candidates[_NAME] = [Credentials(fields, _digest(fields))]


def credentials_in(candidates: Mapping[str, list[object]]) -> Credentials | None:
    """The credentials that `CredentialsReader` put there."""
    found = candidates.get(_NAME, ())
    return next((one for one in found if isinstance(one, Credentials)), None)


def _digest(fields: Sequence[tuple[bytes, bytes]]) -> str:
    digest = hashlib.blake2b(key=_SECRET, digest_size=16)
    for name, value in fields:
        digest.update(b"%d:%b%d:%b" % (len(name), name, len(value), value))
    return digest.hexdigest()
