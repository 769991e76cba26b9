"""Who may ask the admin address: `Host` against DNS rebinding, fetch metadata against other pages, then a token.

A page that an operator has open in a browser can send requests to an address that only the operator's machine reaches.
Its own name, rebound to that address, arrives in `Host`; a request across origins arrives with `Sec-Fetch-Site` (W3C
Fetch Metadata) or `Origin` (RFC 6454). No response has a CORS field, so no page of another origin can read one.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.process.address import Address, Tcp, Unix, is_loopback
from sidecar.http.date import http_date

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that need no token: probes and scrapers have none."""

_READING: Final = frozenset({"GET", "HEAD"})
_OTHER_SITES: Final = frozenset({"cross-site", "same-site"})

_ON_EVERY_RESPONSE: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class HostNames:
    """The values of `Host` that name an address: a page with a name of its own is not among them.

    An address of this machine alone is named by `localhost` and loopback addresses. Another one is named by every IP
    address, by the host's own names and by names without a dot, as containers have: the public DNS has neither. Both
    are named by the host that the settings give. The port is not compared, since a forwarded port may be another. A
    Unix socket, which no browser reaches, takes every name. `loopback` says that this machine alone is meant.
    """

    def __init__(self, bound: Address, *given: Address | None) -> None:
        """`bound` is the address itself; `given` are those that the settings give for it."""
        self.loopback = is_loopback(bound)
        self._any = isinstance(bound, Unix)
        names = [address.host for address in given if isinstance(address, Tcp)]
        if not self.loopback:
            names += [socket.gethostname(), socket.getfqdn()]
        self._names = {"localhost", *map(str.lower, names)}

    def has(self, headers: Headers) -> bool:
        """Whether a request with these fields names the address in its one `Host` field."""
        if self._any:
            return True
        hosts = headers.getlist("host")
        return len(hosts) == 1 and self._names_it(_without_port(hosts[0]))

    def _names_it(self, host: str) -> bool:
        if host in self._names:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return not self.loopback and host != "" and "." not in host and ":" not in host
        return address.is_loopback or not self.loopback


class AdminAccess:
    """Pure ASGI middleware that lets only those requests through that the admin address may serve.

    `token` is the bearer token, None where none is set: then nothing can be changed, and nothing but the open paths
    read from elsewhere. On this machine reading needs no token. `sign_in` answers a person who opens `/` without one.
    """

    def __init__(self, app: ASGIApp, *, hosts: HostNames, token: str | None, sign_in: Response) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self._sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it: 421 for another host, 403 for another page, 401 without the token."""

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Date"] = http_date().decode("ascii")
                for name, value in _ON_EVERY_RESPONSE.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
            await send(message)

        app = self._refusal(scope) or self._app
        await app(scope, receive, guarded_send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]
        if not self._hosts.has(headers):
            return PlainTextResponse("Host does not name this address\n", 421)
        if _from_another_page(headers, navigates=method == "GET" and path == "/"):
            return PlainTextResponse("pages of another origin may not ask here\n", 403)
        if method in _READING and (path in OPEN_PATHS or self._hosts.loopback):
            return None
        if self._is_token(headers):
            return None
        if method == "GET" and path == "/":
            return self._sign_in
        what = "a bearer token is needed" if self._token is not None else "SIDECAR_ADMIN_TOKEN is not set"
        return PlainTextResponse(f"{what}\n", 401, {"WWW-Authenticate": "Bearer"})

    def _is_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return (
            self._token is not None
            and scheme.lower() == "bearer"
            and hmac.compare_digest(given.encode(), self._token.encode())
        )


def _from_another_page(headers: Headers, *, navigates: bool) -> bool:
    """Whether a page of another origin sent the request; following a link to `/` is a person's own doing."""
    if headers.get("sec-fetch-site") in _OTHER_SITES:
        by_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return not (navigates and by_link)
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")
