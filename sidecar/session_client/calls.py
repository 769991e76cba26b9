"""The requests to the session service, made from the profile's templates."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import orjson

from sidecar.http.client.origin import Origin
from sidecar.http.headers import encode_fields
from sidecar.model import Credentials, Headers, Reference
from sidecar.profile.api_call import ApiCall
from sidecar.request_context import current_request

_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_ONE_NAME = _PLACEHOLDER.fullmatch
_MARK: Final = uuid.uuid4().hex
"""Stands before a name while a body is encoded; no text of a profile can look like it."""
_MARKED: Final = re.compile(rf"{_MARK}\.([a-z][a-z0-9_]*)\.")


_NO_FIELD_VALUE: Final = re.compile(rb"[\0\r\n]").search


class UnwritableCall(ValueError):
    """The values of a request do not fill the profile's template; the message says why, as a part of a sentence."""


class WrittenCall(NamedTuple):
    """One call, complete as it stands: no client adds anything to it.

    `base` is the instance that it goes to, `target` the request target with the ids escaped, and `fields` the header
    fields as they stand in an HTTP/1.1 head.
    """

    base: str
    method: str
    target: bytes
    fields: bytes
    body: bytes = b""

    def encode(self) -> bytes:
        """Give the call as it goes over the wire."""
        return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (self.method.encode("ascii"), self.target, self.fields, self.body)


def write_call(base: str, method: str, target: str, headers: Headers, body: bytes | None = None) -> WrittenCall:
    """Write a call that follows from no template; `Host` and the length of a body are added to its headers."""
    fields = encode_fields(_complete(base, headers, None if body is None else len(body)))
    return WrittenCall(base, method, target.encode("ascii"), fields, body or b"")


class _BodyTemplate(NamedTuple):
    """A JSON text with places for strings: `first`, then by turns the name of a value and the text after it."""

    first: bytes
    rest: Sequence[tuple[str, bytes]]

    def filled(self, values: Mapping[str, str]) -> bytes:
        body = self.first
        for name, text in self.rest:
            body += orjson.dumps(values[name])[1:-1] + text
        return body


class SessionCall:
    """One kind of request, ready to be filled in.

    `scope_names` are the names of the profile's scope, in the order in which a reference gives their values.
    `headers` go with every request, except for those named in `credentials` where a reference has credentials: what a
    client may do, it may do with its own alone.
    """

    def __init__(
        self,
        call: ApiCall,
        scope_names: Sequence[str],
        headers: Sequence[tuple[bytes, bytes]],
        credentials: Sequence[str] = (),
    ) -> None:
        self._method = call.method
        # Literal text at even places, names at odd ones.
        self._path = _PLACEHOLDER.split(call.path)
        self._query = dict(call.query)
        self._body = call.body
        self._own_headers = dict(call.headers)
        self._scope_names = tuple(scope_names)
        self._credentials = frozenset(name.encode("ascii") for name in credentials)
        # What follows from the instance and the body's length, and from the names that have a value: there are few.
        self._headers_for = lru_cache(maxsize=256)(self._make_headers)
        self._body_for = lru_cache(maxsize=16)(self._make_body)
        self._headers = list(headers)
        if call.body is not None:
            self._headers.append((b"content-type", b"application/json"))

    def write(self, base: str, reference: Reference) -> WrittenCall:
        """Write the call for the instance at `base`, on behalf of the current request. Raises UnwritableCall."""
        try:
            return self._write(base, reference)
        except KeyError as missing:
            raise UnwritableCall(f"the session service is asked with {missing.args[0]}, and none is named") from None

    def _write(self, base: str, reference: Reference) -> WrittenCall:
        if len(reference.scope) != len(self._scope_names):
            raise UnwritableCall("it was named under a profile with another scope")
        values = values_of(reference, self._scope_names)
        body = b"" if self._body is None else self._body_for(tuple(values)).filled(values)
        headers, fields = self._headers_for(base, None if self._body is None else len(body))
        if self._own_headers or reference.credentials is not None:
            headers = self._with_own(headers, values, reference.credentials)
            fields = encode_fields(headers)
        if (made_for := current_request()) is not None:
            fields += encode_fields(made_for.passed_on())
        return WrittenCall(base, self._method, self._target(values).encode("ascii"), fields, body)

    def _make_headers(self, base: str, length: int | None) -> tuple[Headers, bytes]:
        headers = _complete(base, self._headers, length)
        return headers, encode_fields(headers)

    def _make_body(self, names: Iterable[str]) -> _BodyTemplate:
        """The body for references that have these names; a field that is nothing but another name is left out."""
        marks = {name: f"{_MARK}.{name}." for name in names}
        pieces = _MARKED.split(orjson.dumps(_filled(self._body, marks)).decode())
        first, *texts = [text.encode() for text in pieces[::2]]
        return _BodyTemplate(first, list(zip(pieces[1::2], texts, strict=True)))

    def _with_own(self, headers: Headers, values: Mapping[str, str], credentials: Credentials | None) -> Headers:
        """The headers with those of the profile's templates, and with the client's own credentials in place of ours."""
        own = [(name.lower().encode(), value.encode()) for name, value in _filled(self._own_headers, values).items()]
        for name, value in own:
            if _NO_FIELD_VALUE(value):
                raise UnwritableCall(f"the field {name.decode()} of a call cannot have a line break")
        passed_on = credentials.headers if credentials is not None else ()
        replaced = {name for name, _ in (*own, *passed_on)}
        if credentials is not None:
            replaced |= self._credentials
        kept = [(name, value) for name, value in headers if name.lower() not in replaced]
        return [*kept, *own, *passed_on]

    def _target(self, values: Mapping[str, str]) -> str:
        path = "".join(_segment(values[part]) if place % 2 else part for place, part in enumerate(self._path))
        query = _filled(self._query, values)
        return f"{path}?{urlencode(query)}" if query else path


def _segment(value: str) -> str:
    """A value as one segment of a path (RFC 3986, section 3.3). Ids are never dot segments; variables may be."""
    if value in ("", ".", ".."):
        raise UnwritableCall(f"{value!r} cannot stand in the path of a call")
    return quote(value, safe="")


def values_of(reference: Reference, scope_names: Sequence[str]) -> dict[str, str]:
    """What the names in templates stand for."""
    values = dict(reference.variables)
    values.update(zip(scope_names, reference.scope, strict=True))
    values["session_id"] = reference.session_id
    if reference.user_id is not None:
        values["user_id"] = reference.user_id
    return values


def bearer_field(token: str) -> tuple[bytes, bytes]:
    """The header field that carries a bearer token (RFC 6750, section 2.1)."""
    return b"authorization", b"Bearer " + token.encode()


def _complete(base: str, headers: Headers, length: int | None) -> Headers:
    """The headers of a call between those that follow from the instance and from the body."""
    host = (b"host", origin_of(base).authority.encode("ascii"))
    return [host, *headers, *([] if length is None else [(b"content-length", b"%d" % length)])]


@lru_cache(maxsize=64)
def origin_of(base: str) -> Origin:
    """The instance at a base URL; there are few of them."""
    return Origin.parse(base)


def _filled(template: Any, values: Mapping[str, str]) -> Any:
    """The template with its names replaced; a field that is nothing but a name without a value is left out."""
    if isinstance(template, str):
        return _PLACEHOLDER.sub(lambda found: values[found.group(1)], template)
    if isinstance(template, Mapping):
        return {name: _filled(value, values) for name, value in template.items() if not _is_absent(value, values)}
    if isinstance(template, list):
        return [_filled(value, values) for value in template]
    return template


def _is_absent(value: Any, values: Mapping[str, str]) -> bool:
    name = _ONE_NAME(value) if isinstance(value, str) else None
    return name is not None and name.group(1) not in values
