"""The requests that a session service is asked with, made from the profile's templates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx
import orjson

from service_kit.address import socket_path
from sidecar.model import Credentials, Reference
from sidecar.profile.session_api import ApiCall
from sidecar.request_context import current_request

_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_ONE_NAME = _PLACEHOLDER.fullmatch


@dataclass(frozen=True, slots=True)
class _Origin:
    url: httpx.URL
    extensions: Mapping[str, str]


class SessionCall:
    """One kind of request, ready to be filled in.

    `scope_names` are the names of the profile's scope, in the order in which a reference gives their values.
    `headers` go with every request.
    """

    def __init__(self, call: ApiCall, scope_names: Sequence[str], headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.statuses = call.statuses
        self._method = call.method
        # Literal text at even places, names at odd ones.
        self._path = _PLACEHOLDER.split(call.path)
        self._query = dict(call.query)
        self._body = call.body
        self._own_headers = dict(call.headers)
        self._scope_names = tuple(scope_names)
        self._headers_for = lru_cache(maxsize=256)(self._make_headers)
        self._headers = list(headers)
        if call.body is not None:
            self._headers.append((b"content-type", b"application/json"))

    def request(self, base: str, reference: Reference) -> httpx.Request:
        """Write the request to the instance at `base`.

        It is complete as it stands and meant for a transport: no client adds anything to it. Its target is httpx's
        extension `target`, not the path of its URL: to parse a URL takes longer than all the rest together, and the
        id is sent escaped as it was escaped here. For `unix:/path` the extension `unix` holds the path.
        """
        values = values_of(reference, self._scope_names)
        body = b"" if self._body is None else orjson.dumps(_filled(self._body, values))
        origin = _origin(base)
        headers = self._headers_for(base, None if self._body is None else len(body))
        if self._own_headers or reference.credentials is not None:
            headers = self._with_own(headers, values, reference.credentials)
        if (made_for := current_request()) is not None:
            headers = httpx.Headers([*headers.raw, *made_for.passed_on()])
        extensions = {**origin.extensions, "target": self._target(values).encode("ascii")}
        return httpx.Request(
            self._method, origin.url, headers=headers, stream=httpx.ByteStream(body), extensions=extensions
        )

    def _make_headers(self, base: str, length: int | None) -> httpx.Headers:
        """The headers for a body of this length; there are few lengths, and to make headers is slow."""
        headers = [(b"host", _origin(base).url.netloc), *self._headers]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        return httpx.Headers(headers)

    def _with_own(
        self, headers: httpx.Headers, values: Mapping[str, str], credentials: Credentials | None
    ) -> httpx.Headers:
        """The headers with those of the profile's templates, and with the client's own credentials in place of ours."""
        own = [(name.lower().encode(), value.encode()) for name, value in _filled(self._own_headers, values).items()]
        passed_on = credentials.headers if credentials is not None else ()
        replaced = {name for name, _ in (*own, *passed_on)}
        kept = [(name, value) for name, value in headers.raw if name.lower() not in replaced]
        return httpx.Headers([*kept, *own, *passed_on])

    def _target(self, values: Mapping[str, str]) -> str:
        path = "".join(quote(values[part], safe="") if place % 2 else part for place, part in enumerate(self._path))
        query = _filled(self._query, values)
        return f"{path}?{urlencode(query)}" if query else path


def values_of(reference: Reference, scope_names: Sequence[str]) -> dict[str, str]:
    """What the names in templates stand for."""
    values = dict(reference.variables)
    values.update(zip(scope_names, reference.scope, strict=True))
    values["session_id"] = reference.session_id
    if reference.user_id is not None:
        values["user_id"] = reference.user_id
    return values


@lru_cache(maxsize=64)
def _origin(base: str) -> _Origin:
    """The instance at `base`; there are few of them."""
    path = socket_path(base)
    if path is not None:
        return _Origin(httpx.URL("http://localhost/"), {"unix": path})
    return _Origin(httpx.URL(f"{base}/"), {})


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
