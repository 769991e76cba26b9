"""Between httpx, whose requests and responses tests are written in, and the calls of the session client."""

from __future__ import annotations

import asyncio

import httpx

from service_kit.process.address import socket_path
from sidecar.session_client.answers import MOST_ANSWER, Reply
from sidecar.session_client.calls import WrittenCall, write_call
from sidecar.session_client.transport import NoAnswer, Transport


def request_of(call: WrittenCall) -> httpx.Request:
    """The call as a request; its target is the extension `target`, and `unix` the path of a socket."""
    path = socket_path(call.base)
    url = "http://localhost/" if path is not None else f"{call.base}/"
    extensions = {"target": call.target} if path is None else {"target": call.target, "unix": path}
    headers = [tuple(line.split(b": ", 1)) for line in call.fields.splitlines()]
    return httpx.Request(call.method, url, headers=headers, stream=httpx.ByteStream(call.body), extensions=extensions)


class HttpxCaller(Transport):
    """Makes calls by a transport of httpx: what a test answers with, in place of a network."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        super().__init__()
        self._transport = transport

    async def call(self, call: WrittenCall, deadline: float) -> Reply:
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._transport.handle_async_request(request_of(call))
                body = bytearray()
                async for chunk in response.stream:
                    body += chunk
                    if len(body) > MOST_ANSWER:
                        break
                await response.stream.aclose()
        except TimeoutError:
            raise
        except (httpx.HTTPError, OSError) as error:
            raise NoAnswer(str(error)) from error
        whole = bytes(body) if len(body) <= MOST_ANSWER else None
        return Reply.of(response.status_code, response.headers.raw, whole)


class OverPool(httpx.AsyncBaseTransport):
    """Many requests at once to one server: httpx's own pool is quadratic in those that wait."""

    def __init__(self, connections: int) -> None:
        self._transport = Transport(connections=connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        headers = [(name, value) for name, value in request.headers.raw if name not in (b"Host", b"Content-Length")]
        base = f"{url.scheme}://{url.netloc.decode()}"
        call = write_call(base, request.method, url.raw_path.decode(), headers, await request.aread())
        reply = await self._transport.call(call, asyncio.get_running_loop().time() + 60)
        return httpx.Response(reply.status, content=reply.body)

    async def aclose(self) -> None:
        await self._transport.aclose()
