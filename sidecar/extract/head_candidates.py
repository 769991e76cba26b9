"""What a request names outside its body: in its path, its headers and its query.

Credentials that a profile passes on to the session service are a part of what a session is known under, so that what
one client may see admits no other. A digest stands for them, keyed with a secret of this process: neither a log line
nor a memory dump of the cache gives a credential away.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.form.form_fields import read_urlencoded
from sidecar.extract.header_name import fold
from sidecar.extract.refused import ambiguous
from sidecar.model import Credentials, Headers
from sidecar.profile.profile import Profile

_SECRET: Final = secrets.token_bytes(32)

Candidates: TypeAlias = dict[str, list[object]]
"""For each name of the profile, what the places that say anything say; never null."""


@dataclass(slots=True)
class HeadCandidates:
    """Claims of path and headers, those of the query beside them, the values of the user header, and credentials."""

    claims: Candidates
    query: Candidates
    users: tuple[str, ...]
    credentials: Credentials | None

    def everything(self) -> Candidates:
        """All claims in one, which the caller may add to."""
        return {name: [*values, *self.query.get(name, ())] for name, values in self.claims.items()}


class HeadReader:
    """Collects what a profile wants from outside the body."""

    def __init__(self, profile: Profile, user_header: str | None) -> None:
        self._names = tuple(profile.watched)
        self._credentials = frozenset(name.encode("ascii") for name in profile.service.credentials)
        self._query = {name: places.query for name, places in profile.watched.items() if places.query}
        self._query_names = FieldNames(field for fields in self._query.values() for field in fields)
        self._headers = {
            fold(header.encode("ascii")): name for name, places in profile.watched.items() for header in places.header
        }
        self._user_header = None if user_header is None else user_header.lower().encode("ascii")

    def read(self, captured: Mapping[str, str], headers: Headers, query: bytes) -> HeadCandidates:
        """Everything named outside the body. Raises RequestRefused where the query can be read two ways."""
        claims: Candidates = {name: [] for name in self._names}
        for name, value in captured.items():
            claims[name].append(value)
        if self._headers:
            self._add_headers(claims, headers)
        users = self._users(headers) if self._user_header is not None else ()
        credentials = self._credentials_of(headers) if self._credentials else None
        return HeadCandidates(claims, self._query_claims(query) if query else {}, users, credentials)

    def _add_headers(self, claims: Candidates, headers: Headers) -> None:
        """Add what a header says, or a look-alike that some servers take for it.

        Raises RequestRefused where it comes twice: Node and WSGI servers join the values to one.
        """
        seen: set[bytes] = set()
        for header, value in headers:
            folded = fold(header)
            name = self._headers.get(folded)
            if name is None:
                continue
            if folded in seen:
                ambiguous(f"The header {folded.decode()} is there more than once.")
            seen.add(folded)
            claims[name].append(_text(value))

    def _query_claims(self, query: bytes) -> Candidates:
        fields = read_urlencoded(query, self._query_names, strict=False)
        return {name: [fields[key] for key in keys if key in fields] for name, keys in self._query.items()}

    def _users(self, headers: Headers) -> tuple[str, ...]:
        return tuple(_text(value) for header, value in headers if header == self._user_header)

    def _credentials_of(self, headers: Headers) -> Credentials:
        fields = tuple((name, value) for name, value in headers if name in self._credentials)
        return Credentials(fields, _digest(fields))


def _digest(fields: Sequence[tuple[bytes, bytes]]) -> str:
    digest = hashlib.blake2b(key=_SECRET, digest_size=16)
    for name, value in fields:
        digest.update(b"%d:%b%d:%b" % (len(name), name, len(value), value))
    return digest.hexdigest()


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \t")
