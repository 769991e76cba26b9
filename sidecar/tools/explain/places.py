"""Every place of a request where an id may stand, with what is there, and names that look like a session id's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from sidecar.extract.form.content_type import declared_form
from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.form.form_fields import read_urlencoded
from sidecar.extract.form.multipart import read_multipart
from sidecar.extract.header_name import fold
from sidecar.extract.refused import RequestRefused
from sidecar.model import Head
from sidecar.profile.profile import REQUIRED_IF, USER, Profile
from sidecar.profile.templates import EACH
from sidecar.settings import Settings

_SIMILAR: Final = re.compile(r"session|thread|conversation|chat_?id|run_?id|dialog", re.IGNORECASE).search
_DEEPEST: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """One place that is looked at for `name`; `found` is None where nothing is there."""

    name: str
    where: str
    found: Any


def places_of(
    settings: Settings, head: Head, captured: Mapping[str, str], body: bytes, *, is_mcp: bool
) -> Iterator[Place]:
    """Every place of the profile, in the order path, JSON, form, query, header; for MCP the JSON of each call.

    The user header of the settings comes last.
    """
    profile = settings.profile
    contents = list(_arguments(profile, body)) if is_mcp else [("", json_of(body))]
    form = _form(profile, head, body)
    query = dict(_query(head))
    for name, places in profile.watched.items():
        if name == REQUIRED_IF:
            continue
        if name in captured:
            yield Place(name, "path", captured[name])
        for of_call, content in contents:
            for path in places.json:
                yield Place(name, f"{of_call}JSON {_written(path)}", value_at(content, path, opens_texts=is_mcp))
        yield from (Place(name, f"form {field}", form.get(field)) for field in places.form)
        yield from (Place(name, f"query {field}", query.get(field)) for field in places.query)
        yield from (Place(name, f"header {field}", _header(head, field)) for field in places.header)
    if (header := settings.user_header) is not None:
        sent = (value.decode("latin-1") for name, value in head.headers if name == header.lower().encode("ascii"))
        yield Place(USER, f"header {header}", next(sent, None))


def similar_names(head: Head, body: bytes, places: Iterable[Place]) -> list[str]:
    """Names in the body and the query that look like a session id's and are no place of the profile."""
    known = {place.where.rpartition(" ")[2] for place in places}
    found = [*_names(json_of(body)), *(name for name, _ in _query(head))]
    return [name for name in dict.fromkeys(found) if _SIMILAR(name) and name not in known]


def _names(content: Any, path: str = "", depth: int = 0) -> Iterator[str]:
    if isinstance(content, dict) and depth < _DEEPEST:
        for key, value in content.items():
            yield path + key
            yield from _names(value, f"{path}{key}.", depth + 1)
    elif isinstance(content, list) and content and depth < _DEEPEST:
        yield from _names(content[0], f"{path.removesuffix('.')}[].", depth + 1)


def json_of(body: bytes) -> Any:
    """What a body stands for; None where it is no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _arguments(profile: Profile, body: bytes) -> Iterator[tuple[str, Any]]:
    """The arguments of each call, or of the call that a meta-tool wraps, and the words for its place in a batch."""
    content = json_of(body)
    for number, message in enumerate(content if isinstance(content, list) else [content], 1):
        arguments = value_at(message, ("params", "arguments"))
        meta = profile.meta_tool
        while meta is not None:
            inner = _opened(value_at(arguments, (meta.arguments,), opens_texts=True))
            if not isinstance(inner, dict):
                break
            arguments = inner
        of_call = f"message {number}, " if isinstance(content, list) else ""
        yield of_call, arguments


def value_at(content: Any, path: tuple[str, ...], *, opens_texts: bool = False) -> Any:
    """The value that a JSON path leads to; None where there is none.

    With `opens_texts` an object on the way may be written as a string, as MCP servers accept it.
    """
    for place, key in enumerate(path):
        content = _opened(content) if opens_texts else content
        if key == EACH:
            elements = content if isinstance(content, list) else []
            found = [value_at(element, path[place + 1 :], opens_texts=opens_texts) for element in elements]
            return [value for value in found if value is not None] or None
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _opened(value: Any) -> Any:
    inner = json_of(value.encode(errors="replace")) if isinstance(value, str) else None
    return inner if isinstance(inner, dict) else value


def _form(profile: Profile, head: Head, body: bytes) -> Mapping[str, object]:
    fields = FieldNames(field for places in profile.watched.values() for field in places.form)
    try:
        form = declared_form(head.headers)
        if form is None or not body:
            return {}
        if form.boundary is None:
            return read_urlencoded(body, fields, strict=False)
        return read_multipart(body, form.boundary, fields)
    except RequestRefused:
        return {}


def _query(head: Head) -> list[tuple[str, str]]:
    return parse_qsl(head.target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True)


def _header(head: Head, field: str) -> str | None:
    wanted = fold(field.encode("ascii"))
    return next((value.decode("latin-1") for name, value in head.headers if fold(name) == wanted), None)


def _written(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(f".{EACH}", EACH)
