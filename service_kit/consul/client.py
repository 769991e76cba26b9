"""py-consul over httpx: its calls, made awaitable by the transport it lets one plug in.

Its own asyncio client is deprecated and its plain one blocks a thread that nothing can wake at shutdown; this one is
cancelled at once, and reaches Unix sockets and named TLS servers, which neither of them can.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partialmethod
from typing import Any

import httpx
from consul import ConsulException
from consul.base import Consul, HTTPClient, Response

from service_kit.consul.variables import ConsulAgent


class ConsulUnreachable(ConsulException):  # type: ignore[misc] # py-consul is untyped
    """The agent did not answer: refused, timed out, or cut off."""


class AsyncConsul(Consul):  # type: ignore[misc] # py-consul is untyped
    """A py-consul client whose calls return awaitables; they raise ConsulException for every failure."""

    def __init__(self, agent: ConsulAgent, *, timeout: float) -> None:
        """`timeout` is in seconds, for a whole call, however slowly its answer trickles in."""
        self._transport = _HttpxClient(agent, timeout)
        super().__init__(host="localhost", port=0, scheme="http", verify=True)
        self.token = agent.token

    def http_connect(self, *_args: object, **_keywords: object) -> HTTPClient:
        """Where py-consul asks for its transport."""
        return self._transport

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()


class _HttpxClient(HTTPClient):  # type: ignore[misc] # py-consul is untyped
    def __init__(self, agent: ConsulAgent, timeout: float) -> None:
        self.base_uri = agent.url
        self._timeout = timeout
        self._extensions = {"sni_hostname": agent.server_name} if agent.server_name else {}
        transport = httpx.AsyncHTTPTransport(verify=_tls(agent), uds=agent.socket)
        self._client = httpx.AsyncClient(transport=transport, timeout=None, trust_env=False)  # noqa: S113 # see _request

    async def close(self) -> None:
        await self._client.aclose()

    async def _request(
        self,
        method: str,
        callback: Callable[[Response], Any],
        path: str,
        params: list[tuple[str, Any]] | None = None,
        *,
        headers: dict[str, str] | None = None,
        data: str | bytes = "",
    ) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._client.request(
                    method, self.uri(path, params), headers=headers, content=data, extensions=dict(self._extensions)
                )
        except TimeoutError:
            raise ConsulUnreachable(f"no answer within {self._timeout:g} s") from None
        except httpx.HTTPError as error:
            raise ConsulUnreachable(str(error) or type(error).__name__) from error
        try:
            return callback(Response(answer.status_code, answer.headers, answer.text))
        except (ValueError, RecursionError) as error:
            # Of numbers and nesting beyond what Python's JSON reader takes; py-consul expects neither.
            raise ConsulException(f"an answer that cannot be read: {error}") from error

    get = partialmethod(_request, "GET")
    put = partialmethod(_request, "PUT")
    post = partialmethod(_request, "POST")
    delete = partialmethod(_request, "DELETE")


def _tls(agent: ConsulAgent) -> ssl.SSLContext | bool:
    if not agent.url.startswith("https:"):
        return False
    context = ssl.create_default_context(cafile=agent.ca_file, capath=agent.ca_path)
    if not agent.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if agent.client_cert is not None:
        context.load_cert_chain(agent.client_cert, agent.client_key)
    return context
