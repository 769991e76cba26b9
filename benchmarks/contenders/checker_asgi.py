"""The checker that auth_request asks, as most people would write it for speed: plain ASGI, no framework."""

HEADERS = [(b"content-length", b"0")]


async def app(scope, _receive, send):
    assert scope["type"] == "http"
    refused = any(name == b"x-refuse" for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 403 if refused else 200, "headers": HEADERS})
    await send({"type": "http.response.body"})
