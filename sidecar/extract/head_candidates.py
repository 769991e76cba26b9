"""What a request names outside its body: in its path, its headers and its query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.extract.credentials import CredentialsReader
from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.form.form_fields import read_urlencoded
from sidecar.extract.header_name import fold
from sidecar.extract.id_resolver import Candidates
from sidecar.model import Headers
from sidecar.profile.profile import Profile


@dataclass(slots=True)
class HeadCandidates:
    """Claims of path and headers, those of the query beside them, and the values of the user header."""

    claims: Candidates
    query: Candidates
    users: tuple[str, ...]

    def everything(self) -> Candidates:
        """All claims in one, which the caller may add to."""
        return {name: [*values, *self.query.get(name, ())] for name, values in self.claims.items()}


class HeadReader:
    """Collects what a profile wants from outside the body."""

    def __init__(self, profile: Profile, user_header: str | None) -> None:
        self._names = tuple(profile.watched)
        self._credentials = CredentialsReader(profile.service.credentials)
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
        self._credentials.add(claims, headers)
        if self._headers:
            self._add_headers(claims, headers)
        users = self._users(headers) if self._user_header is not None else ()
        return HeadCandidates(claims, self._query_claims(query) if query else {}, users)

    def _add_headers(self, claims: Candidates, headers: Headers) -> None:
        """Every line of a header is a claim; so is a look-alike that some servers fold into it."""
        for header, value in headers:
            name = self._headers.get(fold(header))
            if name is not None:
                claims[name].append(_text(value))

    def _query_claims(self, query: bytes) -> Candidates:
        fields = read_urlencoded(query, self._query_names, strict=False)
        return {name: [fields[key] for key in keys if key in fields] for name, keys in self._query.items()}

    def _users(self, headers: Headers) -> tuple[str, ...]:
        return tuple(_text(value) for header, value in headers if header == self._user_header)


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \t")
