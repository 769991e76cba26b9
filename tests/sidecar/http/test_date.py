"""`Date` in the responses of an origin server."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from sidecar.http import date


def test_it_is_written_as_http_writes_a_time_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110, section 5.6.7, has this example."""
    monkeypatch.setattr(date.time, "time", lambda: 784111777.25)
    first = date.http_date()
    assert first == b"Sun, 06 Nov 1994 08:49:37 GMT"
    monkeypatch.setattr(date.time, "time", lambda: 784111777.99)
    assert date.http_date() is first
    monkeypatch.setattr(date.time, "time", lambda: 784111778.0)
    assert parsedate_to_datetime(date.http_date().decode()).second == 38
