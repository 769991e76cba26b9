#!/opt/app/bin/python
"""The image's health check: exit code 0 if a URL answers 200, 1 otherwise.

The URL is the only argument; without one it is `/readyz` on this container's SIDECAR_ADMIN.
"""

import http.client
import os
import socket
import sys
from urllib.parse import urlsplit

TIMEOUT = 2.0
ANYWHERE = {"0.0.0.0", "[::]"}  # noqa: S104 # compared with, not bound


def own_admin() -> str:
    """The admin address of the sidecar in this container, over loopback if it binds a wildcard."""
    address = os.environ.get("SIDECAR_ADMIN") or "127.0.0.1:9901"
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ANYWHERE else address


def status(address: str, path: str) -> int:
    """Ask once, without a proxy. `address` is HOST:PORT or `unix:/path`. Raises OSError and HTTPException."""
    if not address.startswith("unix:"):
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
    else:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT)
        connection.sock.connect(address.removeprefix("unix:").removeprefix("//"))
    connection.request("GET", path)
    return connection.getresponse().status


def main() -> int:
    """Ask, and say on stderr what was wrong."""
    url = urlsplit(sys.argv[1]) if len(sys.argv) > 1 else None
    address, path = (url.netloc, url.path) if url else (own_admin(), "/readyz")
    try:
        answered = status(address, path)
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{address}{path}: {error!r}\n")
        return 1
    if answered != 200:
        sys.stderr.write(f"{address}{path}: status {answered}\n")
    return 0 if answered == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
