"""A memory service as an ASGI application, as small as it can be: reads the request and answers at once."""

BODY = (
    b'{"success":true,"id":"0191d5a0-7b1c-7e3a-9c53-2f1a6c0d8e11","session_id":"any",'
    b'"created_at":"2025-01-01T00:00:00Z"}'
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for answered in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answered})
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    status = 201 if scope["method"] == "POST" else 200
    await send({"type": "http.response.start", "status": status, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
