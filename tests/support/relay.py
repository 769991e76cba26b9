"""An ASGI application that hands each request to a server of the test, at `RELAY_TO`, and its response back.

Under `session-sidecar wrap` it stands for an application of the user's, while the test keeps the part that it scripts.
"""

from __future__ import annotations

import os
from typing import Any

import httpx

client = httpx.AsyncClient(base_url=os.environ.get("RELAY_TO", ""), timeout=60, trust_env=False)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for answered in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answered})
        await client.aclose()
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    query = scope["query_string"].decode()
    target = scope["raw_path"].decode() + (f"?{query}" if query else "")
    request = httpx.Request(scope["method"], f"{client.base_url}".rstrip("/") + target, headers=scope["headers"])
    request.stream = httpx.ByteStream(body)
    response = await client.send(request)
    kept = [field for field in response.headers.raw if field[0].lower() not in (b"date", b"server")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
    await send({"type": "http.response.body", "body": response.content})
