"""`Date`, which an origin server adds to its responses (RFC 9110, section 6.6.1) and a proxy does not."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache


def http_date() -> bytes:
    """Give the time as HTTP writes it (RFC 9110, section 5.6.7); it is written once a second."""
    return _written(int(time.time()))


@lru_cache(maxsize=1)
def _written(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")
