"""A profile: which requests write to a session, where the ids stand in them, and how the session service is asked."""

from __future__ import annotations

from sidecar.core.habits import OURS, Call, JsonPath, Meaning, ServiceHabits, Style

__all__ = ["OURS", "Call", "JsonPath", "Meaning", "ServiceHabits", "Style"]
