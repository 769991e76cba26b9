"""Refuses query parameters that a call does not know, and those that are given twice: none is ignored in silence."""

from __future__ import annotations

from fastapi import Request
from fastapi.routing import APIRoute

from service_kit.problems import Refused


async def known_parameters(request: Request) -> None:
    """A dependency of a router whose routes declare their query parameters one by one. Raises Refused 422."""
    if not request.url.query:
        return
    known = _names(request.scope["route"])
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise Refused(422, "invalid_request", f"{name}: unknown query parameter; allowed: {allowed}")
        if name in seen:
            raise Refused(422, "invalid_request", f"{name}: given more than once")
        seen.add(name)


def _names(route: APIRoute) -> set[str]:
    return {field.alias for field in route.dependant.query_params}
