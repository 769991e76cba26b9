"""What tests of the reader share: requests in one line, and profiles that are unlike `isa`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.extract.extractor import Extractor
from sidecar.model import Call, Extraction, Head, Reason, Reference, Refusal, RefusalFormat
from sidecar.profile.loading import find_profile, load_profile
from sidecar.profile.profile import Profile

ISA = find_profile("isa")
STORE = "/api/v1/memories/session/store"
JSON = (b"content-type", b"application/json")
URLENCODED = (b"content-type", b"application/x-www-form-urlencoded")
MULTIPART = (b"content-type", b"multipart/form-data; boundary=XX")

SERVICE = """
[session_service]
style = "put"
"""

ADK = load_profile("""
name = "adk"
prefixes = ["/apps", "/run", "/run_sse"]
owner = "required"
scope = ["app", "user_id"]

[ids.session_id]
json = ["session_id", "sessionId"]

[ids.user_id]
json = ["user_id", "userId"]

[ids.app]
json = ["app_name", "appName"]

[[rules]]
kind = "require"
methods = ["POST"]
paths = ["/run", "/run_sse"]

[[rules]]
kind = "require"
methods = ["PATCH"]
paths = ["/apps/{app}/users/{user_id}/memory"]

[[rules]]
kind = "ensure"
methods = ["POST"]
paths = ["/apps/{app}/users/{user_id}/sessions/{session_id}/**"]

[session_service]
style = "post"
id_field = "id"
owner_field = "userId"

[session_service.look]
path = "/apps/{app}/users/{user_id}/sessions/{session_id}"
statuses = { found = [200], absent = [404] }

[session_service.create]
path = "/apps/{app}/users/{user_id}/sessions/{session_id}"
body = {}
statuses = { created = [200], taken = [409], perhaps = [500, 502, 503] }
""")
"""Google ADK: sessions are told apart by application and user, which stand in the path or the body."""

LANGGRAPH = load_profile("""
name = "langgraph"
prefixes = ["/threads"]
owner = "none"

[[rules]]
kind = "pass"
methods = ["POST"]
paths = ["/threads/search"]

[[rules]]
kind = "ensure"
methods = ["POST", "PATCH"]
paths = ["/threads/{session_id}/state", "/threads/{session_id}/runs", "/threads/{session_id}/runs/**"]

[[rules]]
kind = "ensure"
upgrade = true
paths = ["/threads/{session_id}/**"]

[session_service]
style = "post"
id_field = "thread_id"

[session_service.look]
path = "/threads/{session_id}"
statuses = { found = [200], absent = [404] }

[session_service.create]
path = "/threads"
body = { thread_id = "{session_id}", if_exists = "do_nothing", metadata = {} }
statuses = { found = [200], taken = [409] }
""")
"""A LangGraph server: the session is a thread in the path, and has no owner."""

AGNO = load_profile(
    """
name = "agno"
prefixes = ["/agents"]
mcp = ["/tools"]
owner = "required"

[ids.session_id]
form = ["session_id"]
header = ["X-Session-ID"]

[ids.user_id]
form = ["user_id"]
header = ["X-User-ID"]

[[rules]]
kind = "ensure"
paths = ["/agents/*/runs"]

[[rules]]
kind = "require"
tools = ["check_*"]

[[rules]]
kind = "ensure"
tools = ["*"]
"""
    + SERVICE
)
"""Ids in form fields and headers, and MCP tools that only require."""


def head(method: str, target: str | bytes, *headers: tuple[bytes, bytes]) -> Head:
    """The head of a request."""
    return Head(method, target.encode("latin-1") if isinstance(target, str) else target, list(headers))


@dataclass(frozen=True)
class Plan:
    """What a classification says before it extracts anything."""

    refusal_format: RefusalFormat
    needs_body: bool


class Reader:
    """An extractor whose two steps give values that can be compared."""

    def __init__(self, profile: Profile, **settings: Any) -> None:
        self.extractor = Extractor(profile, **settings)
        self.classify = self.extractor.classify

    def plan(self, request: Head) -> Plan | Extraction | None:
        """What the head alone says; an extraction where it refuses because of its path."""
        classification = self.classify(request)
        if classification is None:
            return None
        if not classification.needs_body:
            extraction = classification.extract(b"")
            refusal = extraction.calls[0].refusal
            if refusal is not None and refusal.reason is Reason.AMBIGUOUS_PATH:
                return extraction
        return Plan(classification.refusal_format, classification.needs_body)

    def read(self, request: Head, body: bytes) -> Extraction:
        """What head and body together say."""
        classification = self.classify(request)
        return _NOTHING if classification is None else classification.extract(body)


_NOTHING = Extraction(RefusalFormat.REST, (Call(),))


def reader(profile: Profile = ISA, **settings: Any) -> Reader:
    """A reader for a profile."""
    return Reader(profile, **settings)


def read(
    body: object = b"",
    *headers: tuple[bytes, bytes],
    target: str | bytes = STORE,
    method: str = "POST",
    profile: Profile = ISA,
    **settings: Any,
) -> Extraction:
    """Plan and read one request from scratch; a body that is no bytes is written as JSON."""
    one = Reader(profile, **settings)
    request = head(method, target, *headers)
    plan = one.plan(request)
    if isinstance(plan, Extraction):
        return plan
    assert isinstance(plan, Plan), "the request is not guarded at all"
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reading = one.read(request, raw if plan.needs_body else b"")
    assert one.read(request, raw if plan.needs_body else b"") == reading, "a reader must not change its mind"
    return reading


def only(reading: Extraction) -> Call:
    """The only call of a reading."""
    (call,) = reading.calls
    return call


def found(*arguments: Any, **settings: Any) -> Reference | None:
    """What `read` refers to; it must not be refused."""
    call = only(read(*arguments, **settings))
    assert call.refusal is None, call.refusal
    return call.reference


def refused(*arguments: Any, **settings: Any) -> Refusal:
    """Why `read` refuses; it must."""
    call = only(read(*arguments, **settings))
    assert call.refusal is not None, call.reference
    assert call.reference is None
    return call.refusal


def reason(*arguments: Any, **settings: Any) -> Reason:
    """The code under which `read` refuses."""
    return refused(*arguments, **settings).reason


def tool(name: object, arguments: object, *, call_id: object = 7, **more: object) -> dict[str, object]:
    """An MCP `tools/call`; without an id it is a notification."""
    message: dict[str, object] = {"jsonrpc": "2.0", "method": "tools/call"}
    if call_id is not ...:
        message["id"] = call_id
    return {**message, "params": {"name": name, "arguments": arguments, **more}}


def multipart(*parts: tuple[str, bytes], boundary: bytes = b"XX") -> bytes:
    """A multipart form; each part is the text of its header and its content."""
    opened = b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, header.encode(), content) for header, content in parts)
    return opened + b"--%b--\r\n" % boundary


def fields(**values: str) -> Sequence[tuple[str, bytes]]:
    """Parts of a form, by field name."""
    return [(f'Content-Disposition: form-data; name="{name}"', value.encode()) for name, value in values.items()]
