"""Refuses parts of a request that the call does not read, so that none of them is ignored silently.

That is a query parameter that the call does not know or is given twice, a key that an object has twice, and any field
where the call reads no body.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from service_kit.web.problems import Refused


class RepeatedKey(ValueError):
    """An object of a JSON text has this key twice, and readers disagree about which value counts."""


def read_json(text: bytes) -> Any:
    """The value of a JSON text. Raises RepeatedKey, and what `json.loads` raises."""
    return json.loads(text, object_pairs_hook=_object)


async def strict_input(request: Request) -> None:
    """A dependency of routes that declare their query parameters one by one, and their bodies.

    Raises Refused: 422 that names the parameter, key or field, 400 for a body that is no JSON where none is read.
    """
    route: APIRoute = request.scope["route"]
    if request.url.query:
        _check_query(request, {field.alias for field in route.dependant.query_params})
    if body := await request.body():
        _check_body(body, is_read=route.body_field is not None)


def _check_query(request: Request, known: set[str]) -> None:
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise _invalid(f"{name}: unknown query parameter; allowed: {', '.join(sorted(known)) or 'none'}")
        if name in seen:
            raise _invalid(f"{name}: given more than once")
        seen.add(name)


def _check_body(body: bytes, *, is_read: bool) -> None:
    try:
        value = read_json(body)
    except RepeatedKey as repeated:
        raise _invalid(f"{repeated}: given more than once") from None
    except (ValueError, RecursionError):
        if is_read:
            return  # the framework says what is wrong with it
        raise Refused(400, "unreadable_body", "the body is not JSON, and this call reads none") from None
    if not is_read and value not in (None, {}):
        name = next(iter(value)) if isinstance(value, dict) else "body"
        raise _invalid(f"{name}: unknown; this call reads no body")


def _invalid(detail: str) -> Refused:
    return Refused(422, "invalid_request", detail)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise RepeatedKey(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return content
