"""The checker that other proxies ask, as most people would write it for speed: plain ASGI, no framework.

It decides as the bare checker does.
"""

from benchmarks.checker import is_owners

HEADERS = [(b"content-length", b"0")]


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    allowed = is_owners(body) if body else not any(name == b"x-refuse" for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 200 if allowed else 403, "headers": HEADERS})
    await send({"type": "http.response.body"})
