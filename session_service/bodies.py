"""Refuses what a body says in vain: a key given twice, and any field where the call reads no body.

It is for bodies what `service_kit.queries` is for queries: none of it is ignored in silence.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from fastapi import Request

from service_kit.problems import Refused


class RepeatedKey(ValueError):
    """An object of a JSON text has this key twice, and readers disagree about which value counts."""


def read_json(text: bytes) -> Any:
    """The value of a JSON text. Raises RepeatedKey, and what `json.loads` raises."""
    return json.loads(text, object_pairs_hook=_object)


async def known_fields(request: Request) -> None:
    """A dependency of a router whose routes declare their bodies.

    Raises Refused: 422 that names the key or field, 400 for a body that is no JSON where none is read.
    """
    body = await request.body()
    if not body:
        return
    reads_body = request.scope["route"].body_field is not None
    try:
        value = read_json(body)
    except RepeatedKey as repeated:
        raise Refused(422, "invalid_request", f"{repeated}: given more than once") from None
    except (ValueError, RecursionError):
        if reads_body:
            return  # the framework says what is wrong with it
        raise Refused(400, "unreadable_body", "the body is not JSON, and this call reads none") from None
    if not reads_body and value not in (None, {}):
        name = next(iter(value)) if isinstance(value, dict) else "body"
        raise Refused(422, "invalid_request", f"{name}: unknown; this call reads no body")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise RepeatedKey(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return content
