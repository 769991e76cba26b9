"""The proxy that most people write first: Starlette in front, one shared httpx client behind. It checks nothing."""

import os

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

client = httpx.AsyncClient(base_url=os.environ["UPSTREAM"], timeout=60)
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer"}


async def forward(request: Request) -> StreamingResponse:
    target = httpx.URL(path=request.url.path, query=request.url.query.encode())
    headers = [(name, value) for name, value in request.headers.raw if name.decode() not in HOP_BY_HOP]
    outgoing = client.build_request(request.method, target, headers=headers, content=request.stream())
    answer = await client.send(outgoing, stream=True)
    kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
    return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose))


app = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])])
