"""The requests that are sent, as the bytes on the wire with places for a session and a user.

`{session}` and `{user}` stand for ids of fixed width, so Content-Length is known before they are filled in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

SESSION, USER = "{session}", "{user}"
SESSION_WIDTH, USER_WIDTH = 36, 13
MIB = 1024 * 1024
STORE = "/api/v1/memories/session/store"
ENGLISH = "Please remember that the meeting was moved to Thursday."
CHINESE = "请记住，项目会议改到星期四下午三点，地点在三号会议室。"


def session_id(number: int) -> str:
    """The session id that the Lua script makes of the same number; shaped like a UUID."""
    return f"{number:08x}-5e55-4000-8000-{number:012x}"


def user_id(number: int) -> str:
    """Every session has a user of its own, so that no two ids share their memory."""
    return f"user_{number:08d}"


def small_body(session: str, user: str) -> bytes:
    """The body of the small write for any session and user."""
    return json.dumps({**_message(ENGLISH), "session_id": session, "user_id": user}).encode()


@dataclass(frozen=True, slots=True)
class Template:
    """One request with places for the ids."""

    text: str

    def fill(self, number: int) -> bytes:
        return self.text.replace(SESSION, session_id(number)).replace(USER, user_id(number)).encode()


def _request(method: str, target: str, body: str = "", headers: Mapping[str, str] | None = None) -> Template:
    fields = {"Host": "127.0.0.1", "User-Agent": "benchmark", "Accept": "*/*", **(headers or {})}
    if method == "POST":
        fields |= {"Content-Type": "application/json", "Content-Length": str(_length(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return Template(f"{method} {target} HTTP/1.1\r\n{head}\r\n{body}")


def _length(body: str) -> int:
    filled = body.replace(SESSION, "s" * SESSION_WIDTH).replace(USER, "u" * USER_WIDTH)
    return len(filled.encode())


def _message(content: str) -> dict[str, object]:
    return {"user_id": USER, "session_id": SESSION, "message_content": content, "message_type": "human", "role": "user"}


def _store(content: str, *, escaped: bool = False) -> Template:
    return _request("POST", STORE, json.dumps(_message(content), ensure_ascii=escaped))


def _tools_call() -> Template:
    call = {"name": "store_session_message", "arguments": _message(ENGLISH)}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    return _request("POST", "/mcp", body, headers)


SMALL_WRITE = _store(ENGLISH)
CHINESE_RAW = _store(CHINESE)
CHINESE_ESCAPED = _store(CHINESE, escaped=True)
TOOLS_CALL = _tools_call()
READ = _request("GET", f"/api/v1/memories/session/{SESSION}/context?user_id={USER}")
LARGE_WRITE = _request("POST", "/api/v1/memories/large", json.dumps(_message("x" * MIB)))
LARGE_UPLOAD = _request("POST", "/files/upload", "x" * (8 * MIB))
DOWNLOAD_BYTES = 8 * MIB
LARGE_DOWNLOAD = _request("GET", "/download/large")
HEALTH = _request("GET", "/health")
