"""The ASGI scope of a request."""

from __future__ import annotations

import asyncio
import urllib.parse

from starlette.types import Scope

from sidecar.http.server.request_head import RequestHead


def connection_scope(transport: asyncio.BaseTransport) -> Scope:
    """Give what is the same for all requests of a connection."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "scheme": "http",
        "root_path": "",
        "server": _address(transport.get_extra_info("sockname")),
        "client": _address(transport.get_extra_info("peername")),
    }


def request_scope(connection: Scope, head: RequestHead) -> Scope:
    """Give the scope of one request."""
    path, _, query = _origin_form(head.target).partition(b"?")
    text = path.decode("ascii")
    return {
        **connection,
        "http_version": head.version,
        "method": head.method,
        "path": urllib.parse.unquote(text) if "%" in text else text,
        "raw_path": path,
        "query_string": query,
        "headers": head.headers,
    }


def _address(name: object) -> tuple[str, int] | None:
    """Give host and port of a TCP address; a Unix socket has none."""
    return (name[0], name[1]) if isinstance(name, tuple) else None


def _origin_form(target: bytes) -> bytes:
    """Give path and query of a target, without the scheme and authority of the absolute form, and no fragment."""
    target = target.partition(b"#")[0]
    if target.startswith(b"/") or target == b"*":
        return target
    authority, slash, rest = target.partition(b"://")[2].partition(b"/")
    query = authority.partition(b"?")[1:]
    return b"/" + b"".join(query) + slash + rest if query[0] else b"/" + rest
