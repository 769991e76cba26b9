"""What tests of MCP messages share: one message read by the `isa` profile, and the call that it holds."""

from __future__ import annotations

from typing import Any

from sidecar.model import Call, Extraction, Reason, Reference, RefusalFormat, RuleKind
from tests.support.reading import only, read

BOTH = {"session_id": "s1", "user_id": "u1"}
REFERENCE = Reference("s1", "u1", RuleKind.ENSURE, ())
STORE = "store_session_message"


def mcp(body: object, *headers: tuple[bytes, bytes], target: str = "/mcp", **settings: Any) -> Extraction:
    """Read a message on the MCP path."""
    return read(body, *headers, target=target, **settings)


def call(body: object, *headers: tuple[bytes, bytes], **settings: Any) -> Call:
    """The only call of a message, which must be refused as JSON-RPC if it is refused."""
    reading = mcp(body, *headers, **settings)
    assert reading.refusal_format is RefusalFormat.RPC
    return only(reading)


def reason(body: object, *headers: tuple[bytes, bytes], **settings: Any) -> Reason:
    """The code under which the only call of a message is refused; it must be."""
    refusal = call(body, *headers, **settings).refusal
    assert refusal is not None
    return refusal.reason
