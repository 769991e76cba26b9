"""The checker that other proxies ask, as most people would write it for speed: plain ASGI, no framework.

Where it is sent the body it reads the ids and compares the owner; otherwise it only looks for `X-Refuse`.
"""

import orjson

HEADERS = [(b"content-length", b"0")]
owners = {}


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    allowed = check(body) if body else not any(name == b"x-refuse" for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 200 if allowed else 403, "headers": HEADERS})
    await send({"type": "http.response.body"})


def check(body):
    document = orjson.loads(body)
    fields = document["params"]["arguments"] if "params" in document else document
    return owners.setdefault(fields["session_id"], fields["user_id"]) == fields["user_id"]
