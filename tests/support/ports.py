"""Ports for servers that a test starts, kills and starts again at the same address."""

from __future__ import annotations

import contextlib
import random
import socket

# Below the ports that the kernel gives to clients and to servers that ask for any: a server that a test kills finds its
# port free when it starts again.
_LOW_PORTS = range(10_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Ports free on loopback a moment ago, all different."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            each = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                each.bind(("127.0.0.1", random.choice(_LOW_PORTS)))
                found.append(each.getsockname()[1])
    return found
