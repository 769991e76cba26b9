#!/opt/app/bin/python
"""The image's health check: exit code 0 if a URL answers 200, 1 otherwise.

The URL is the only argument; without one it is `/readyz` on this container's SIDECAR_ADMIN.
"""

import os
import sys
import urllib.request


def own_admin() -> str:
    """The readiness URL of the sidecar in this container, over loopback for every address that it binds."""
    anywhere = {"0.0.0.0", "[::]"}  # noqa: S104 # compared with, not bound
    host, _, port = os.environ.get("SIDECAR_ADMIN", "127.0.0.1:9901").rpartition(":")
    return f"http://{'127.0.0.1' if host in anywhere else host}:{port}/readyz"


def main() -> int:
    """Ask once, without a proxy, and say on stderr what was wrong."""
    url = sys.argv[1] if len(sys.argv) > 1 else own_admin()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return 0 if response.status == 200 else 1
    except OSError as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
