"""The table of decisions that every door passes: a request, what the session service holds, and what has to happen.

It is written for the profile `isa`, the mode `enforce` and `SIDECAR_MAX_BODY` of `MAX_BODY`; everything else is at its
default. Each case uses sessions of its own, so that all cases can run one after the other through one running door.
The cases of `OUTAGE_CASES` need a session service that answers 503: they run through a door of their own.
"""

# ruff: noqa: E501 # a table: one case, one line

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import Any, Final

MAX_BODY: Final = 64 * 1024
"""The largest body, in bytes, that the door under test reads for a session id."""

STORE: Final = "/api/v1/memories/session/store"
MEMORIES: Final = "/api/v1/memories"

Fields = tuple[tuple[str, str], ...]
Owned = dict[str, tuple[str, str]]

JSON: Final[Fields] = (("Content-Type", "application/json"),)
FORM: Final[Fields] = (("Content-Type", "application/x-www-form-urlencoded"),)
MCP: Final[Fields] = (*JSON, ("Accept", "application/json, text/event-stream"))


@dataclass(frozen=True)
class Case:
    """One request and what has to become of it.

    `headers` are without `Host` and `Content-Length`. `chunked` sends the body with `Transfer-Encoding: chunked`.
    `before` are the sessions that exist: id to (owner, status), where the status is `active`, `ended` or `deleted`.
    `status` is that of the answer; the application behind the door answers 200 to everything. `reason` is the value of
    `X-Sidecar-Reason`, None where the request is admitted. `reasons` are those of a batch, call by call. `creates` are
    the (session, user) pairs that exist afterwards and did not before: no other session appears. `reaches` says whether
    the application behind the door saw the request.
    """

    name: str
    method: str
    target: str
    headers: Fields = ()
    body: bytes = b""
    chunked: bool = False
    before: Owned = field(default_factory=dict)
    status: int = 200
    reason: str | None = None
    reasons: tuple[str, ...] = ()
    creates: tuple[tuple[str, str], ...] = ()

    @property
    def reaches(self) -> bool:
        return self.reason is None

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def _json(**members: object) -> bytes:
    return json.dumps(members, ensure_ascii=False).encode()


def _call(arguments: object, tool: str = "store_session_message", **more: object) -> dict[str, object]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params, **more}


def _store(
    name: str, body: bytes, *, method: str = "POST", target: str = STORE, headers: Fields = JSON, **more: Any
) -> Case:
    return Case(name, method, target, headers, body, **more)


def _mcp(name: str, message: object, *, headers: Fields = MCP, **more: Any) -> Case:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return Case(name, "POST", "/mcp", headers, body, **more)


_ADMITTED: Final = [
    _store("a write to a missing session", _json(user_id="ann", session_id="c01", message_content="hi"), creates=(("c01", "ann"),)),
    _store("a write to a session of the same user", _json(user_id="ann", session_id="c02"), before={"c02": ("ann", "active")}),
    _store("a write to an ended session", _json(user_id="ann", session_id="c03"), before={"c03": ("ann", "ended")}),
    _store("ids and text in Chinese", _json(user_id="ann", session_id="c04", message_content="你好"), creates=(("c04", "ann"),)),
    _store("Chinese text as escapes", json.dumps({"user_id": "ann", "session_id": "c05", "message_content": "你好"}).encode(), creates=(("c05", "ann"),)),
    _store("the name of the session as an escape", b'{"user_id": "ann", "session\\u005fid": "c06"}', creates=(("c06", "ann"),)),
    _store("a session nested in the context", _json(memory_type="factual", user_id="ann", context={"session_id": "c07"}), target=MEMORIES, creates=(("c07", "ann"),)),
    _store("a session nested in the metadata", _json(memory_type="factual", user_id="ann", metadata={"session_id": "c08"}), target=MEMORIES, creates=(("c08", "ann"),)),
    Case("a session in the path, its user in the query", "POST", "/api/v1/memories/session/c09/summarize?user_id=ann", creates=(("c09", "ann"),)),
    Case("a session in the path, its user in the body", "POST", "/api/v1/memories/session/c10/summarize", JSON, _json(user_id="ann"), creates=(("c10", "ann"),)),
    Case("a percent-encoded session in the path", "POST", "/api/v1/memories/session/c11%3Aa/summarize?user_id=ann", creates=(("c11:a", "ann"),)),
    Case("an urlencoded form", "POST", STORE, FORM, b"user_id=ann&session_id=c12", creates=(("c12", "ann"),)),
    Case("the session in the query", "POST", f"{MEMORIES}?session_id=c13&user_id=ann", JSON, b"{}", creates=(("c13", "ann"),)),
    _store("a PUT that names a session", _json(user_id="ann", session_id="c14"), method="PUT", target=f"{MEMORIES}/factual/1", creates=(("c14", "ann"),)),
    _store("a PATCH that names a session", _json(user_id="ann", session_id="c15"), method="PATCH", target=f"{MEMORIES}/factual/1", creates=(("c15", "ann"),)),
    _store("a chunked body", _json(user_id="ann", session_id="c16"), chunked=True, creates=(("c16", "ann"),)),
    _store("a body without a content type", _json(user_id="ann", session_id="c17"), headers=(), creates=(("c17", "ann"),)),
    _store("JSON that claims to be text", _json(user_id="ann", session_id="c18"), headers=(("Content-Type", "text/plain"),), creates=(("c18", "ann"),)),
    _store("a compressed body", gzip.compress(_json(user_id="ann", session_id="c19"), mtime=0), headers=(*JSON, ("Content-Encoding", "gzip")), creates=(("c19", "ann"),)),
    _store("an encoded letter in the path", _json(user_id="ann", session_id="c20"), target="/api/v1/memories/session/%73tore", creates=(("c20", "ann"),)),
    _store("two places that agree", _json(user_id="ann", session_id="c21", context={"session_id": "c21"}), target=MEMORIES, creates=(("c21", "ann"),)),
    _store("a session id of 255 characters", _json(user_id="ann", session_id="c22" + "x" * 252), creates=(("c22" + "x" * 252, "ann"),)),
    _store("every safe character", _json(user_id="ann", session_id="c23._~:@|+=-"), creates=(("c23._~:@|+=-", "ann"),)),
    _store("a session id that differs in case alone", _json(user_id="bob", session_id="C24"), before={"c24": ("ann", "active")}, creates=(("C24", "bob"),)),
]  # fmt: skip

_PASSED: Final = [
    Case("a read", "GET", "/api/v1/memories/session/p01/context?user_id=ann"),
    Case("a read of a session that is somebody else's", "GET", "/api/v1/memories/session/p02/context?user_id=bob", before={"p02": ("ann", "active")}),
    Case("a deletion of a memory", "DELETE", "/api/v1/memories/session/1?session_id=p03&user_id=ann"),
    Case("a deactivation", "POST", "/api/v1/memories/session/p04/deactivate?user_id=ann"),
    _store("a write that names no session", _json(memory_type="factual", user_id="ann", content="tea"), target=MEMORIES),
    _store("a session id that is null", _json(user_id="ann", session_id=None), target=f"{MEMORIES}/factual/extract"),
    Case("a write without a body", "POST", f"{MEMORIES}/factual/extract"),
    _store("a write outside the guarded prefixes", _json(user_id="ann", session_id="p08"), target="/api/v1/other"),
    _store("a session id in a header that clients use for tracking", _json(memory_type="factual", user_id="ann"), target=MEMORIES, headers=(*JSON, ("X-Session-ID", "p09"))),
    Case("an unknown method", "PROPFIND", f"{MEMORIES}?session_id=p10"),
    _mcp("a tool that reads", _call({"user_id": "ann", "session_id": "p11"}, "get_session_context")),
    _mcp("a listing of tools", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    _mcp("a transport's session", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=(*MCP, ("Mcp-Session-Id", "p13"))),
    Case("the health of the application", "GET", "/health"),
]  # fmt: skip

_REFUSED: Final = [
    _store("a session of another user", _json(user_id="bob", session_id="r01"), before={"r01": ("ann", "active")}, status=403, reason="session_owned_by_another_user"),
    _store("a deleted session", _json(user_id="ann", session_id="r02"), before={"r02": ("ann", "deleted")}, status=410, reason="session_gone"),
    _store("a deleted session of another user", _json(user_id="bob", session_id="r03"), before={"r03": ("ann", "deleted")}, status=410, reason="session_gone"),
    _store("a write that names no user", _json(session_id="r04"), status=422, reason="user_id_required"),
    _store("a write that names no user for a session that exists", _json(session_id="r05"), before={"r05": ("ann", "active")}, status=422, reason="user_id_required"),
    _store("a session memory without a session", _json(memory_type="session", user_id="ann"), target=MEMORIES, status=422, reason="session_id_required"),
    _store("a session id that is a number", _json(user_id="ann", session_id=7), status=422, reason="invalid_session_id"),
    _store("an empty session id", _json(user_id="ann", session_id=""), status=422, reason="invalid_session_id"),
    _store("a session id that is a path", _json(user_id="ann", session_id="../r09"), status=422, reason="invalid_session_id"),
    _store("a session id of 256 characters", _json(user_id="ann", session_id="x" * 256), status=422, reason="invalid_session_id"),
    _store("a session id with a space", _json(user_id="ann", session_id="r11 b"), status=422, reason="invalid_session_id"),
    _store("a user id that is a list", _json(user_id=["ann"], session_id="r12"), status=422, reason="invalid_user_id"),
    _store("a user id with a slash", _json(user_id="a/b", session_id="r13"), status=422, reason="invalid_user_id"),
    _store("two members that name two sessions", b'{"user_id": "ann", "session_id": "r14", "session_id": "r14b"}', status=400, reason="ambiguous_session"),
    _store("two members, one written as an escape", b'{"user_id": "ann", "session_id": "r15", "session\\u005fid": "r15b"}', status=400, reason="ambiguous_session"),
    _store("two places that disagree", _json(user_id="ann", session_id="r16", context={"session_id": "r16b"}), target=MEMORIES, status=400, reason="ambiguous_session"),
    _store("body and query disagree", _json(user_id="ann", session_id="r17"), target=f"{STORE}?session_id=r17b", status=400, reason="ambiguous_session"),
    _store("two users", b'{"user_id": "ann", "user_id": "bob", "session_id": "r18"}', status=400, reason="ambiguous_session"),
    _store("a body that is cut", b'{"user_id": "ann", "session_id": "r19"', status=400, reason="unreadable_body"),
    _store("a body that is no JSON", b"session_id is r20", status=400, reason="unreadable_body"),
    _store("JSON with NaN", b'{"user_id": "ann", "session_id": "r21", "importance_score": NaN}', status=400, reason="unreadable_body"),
    _store("JSON in UTF-16", '{"user_id": "ann", "session_id": "r22"}'.encode("utf-16"), status=400, reason="unreadable_body"),
    _store("a content coding that is not decoded", b"\x01\x02", headers=(*JSON, ("Content-Encoding", "compress")), status=415, reason="unsupported_encoding"),
    _store("a body over the limit", _json(user_id="ann", session_id="r24", message_content="x" * MAX_BODY), status=413, reason="body_too_large"),
    _store("a chunked body over the limit", _json(user_id="ann", session_id="r25", message_content="x" * MAX_BODY), chunked=True, status=413, reason="body_too_large"),
    _store("a compressed body over the limit", gzip.compress(_json(user_id="ann", session_id="r26", message_content="x" * MAX_BODY), mtime=0), headers=(*JSON, ("Content-Encoding", "gzip")), status=413, reason="body_too_large"),
    _store("an encoded slash in the path", _json(user_id="ann", session_id="r27"), target="/api/v1/memories/session%2Fstore", status=400, reason="ambiguous_path"),
    _store("a doubled slash in the path", _json(user_id="ann", session_id="r28"), target="/api/v1//memories/session/store", status=400, reason="ambiguous_path"),
    _store("dot segments in the path", _json(user_id="ann", session_id="r29"), target="/api/v1/x/../memories/session/store", status=400, reason="ambiguous_path"),
    _store("a backslash in the path", _json(user_id="ann", session_id="r30"), target="/api/v1/memories/session%5Cstore", status=400, reason="ambiguous_path"),
    _store("a NUL in the path", _json(user_id="ann", session_id="r31"), target="/api/v1/memories/session/store%00", status=400, reason="ambiguous_path"),
    Case("a form that repeats the session", "POST", STORE, FORM, b"user_id=ann&session_id=r32&session_id=r32b", status=400, reason="ambiguous_session"),
]  # fmt: skip

_MCP: Final = [
    _mcp("an MCP write to a missing session", _call({"user_id": "ann", "session_id": "m01"}), creates=(("m01", "ann"),)),
    _mcp("an MCP write to a session of the same user", _call({"user_id": "ann", "session_id": "m02"}), before={"m02": ("ann", "active")}),
    _mcp("a meta-tool that wraps a write", _call({"tool_name": "store_session_message", "parameters": {"user_id": "ann", "session_id": "m03"}}, "execute"), creates=(("m03", "ann"),)),
    _mcp("a batch of two writes", [_call({"user_id": "ann", "session_id": "m04"}), _call({"user_id": "ann", "session_id": "m04b"}, id=8)], creates=(("m04", "ann"), ("m04b", "ann"))),
    _mcp("an MCP write to a session of another user", _call({"user_id": "bob", "session_id": "m05"}), before={"m05": ("ann", "active")}, reason="session_owned_by_another_user"),
    _mcp("an MCP write to a deleted session", _call({"user_id": "ann", "session_id": "m06"}), before={"m06": ("ann", "deleted")}, reason="session_gone"),
    _mcp("an MCP write that names no user", _call({"session_id": "m07"}), reason="user_id_required"),
    _mcp("a notification that is refused", {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "store_session_message", "arguments": {"session_id": "m08"}}}, status=202, reason="user_id_required"),
    _mcp("a batch with one refusal", [_call({"user_id": "ann", "session_id": "m09"}), _call({"user_id": "bob", "session_id": "m09b"}, id=8)], before={"m09b": ("ann", "active")}, reason="session_owned_by_another_user", reasons=("batch_refused", "session_owned_by_another_user")),
    _mcp("an MCP body that is no JSON", b"not json", status=400, reason="unreadable_body"),
    _mcp("an MCP body over the limit", _call({"user_id": "ann", "session_id": "m11", "message_content": "x" * MAX_BODY}), status=413, reason="body_too_large"),
]  # fmt: skip

CASES: Final = [*_ADMITTED, *_PASSED, *_REFUSED, *_MCP]

OUTAGE_CASES: Final = [
    _store("a write while the session service is down", _json(user_id="ann", session_id="o01"), status=503, reason="session_service_unavailable"),
    _mcp("an MCP write while the session service is down", _call({"user_id": "ann", "session_id": "o02"}), reason="session_service_unavailable"),
    Case("a read while the session service is down", "GET", "/api/v1/memories/session/o03/context?user_id=ann"),
    _store("a write that names no session while the session service is down", _json(memory_type="factual", user_id="ann"), target=MEMORIES),
]  # fmt: skip

BY_HEAD: Final = {
    "a deactivation",
    "a write outside the guarded prefixes",
    "an encoded slash in the path",
    "a doubled slash in the path",
    "dot segments in the path",
    "a backslash in the path",
    "a NUL in the path",
}
"""The cases that are decided by the head alone, although there is a body: nginx and Caddy never show it."""
