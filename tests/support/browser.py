"""Headless Chromium, driven over the Chrome DevTools Protocol: open a page, run script in it, look at it."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.processes import DEADLINE, wait_until

CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and give its result."""
        self._last += 1
        self._connection.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(DEADLINE))
            if message.get("id") == self._last:
                assert "error" not in message, message
                return dict(message["result"])

    def open(self, url: str) -> None:
        """Go to a URL and wait until the document is there."""
        self.call("Page.enable")
        failure = self.call("Page.navigate", url=url).get("errorText")
        assert failure is None, f"{url}: {failure}"
        wait_until(lambda: self.run("document.readyState") == "complete", f"{url} to load")

    def run(self, script: str) -> Any:
        """Evaluate an expression, awaiting it if it is a promise, and give its value."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of the first element that the selector finds; empty where there is none."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def wait_for(self, script: str, what: str) -> float:
        """Wait until an expression is true; gives the seconds that it took."""
        began = time.monotonic()
        wait_until(lambda: self.run(f"!!({script})"), what)
        return time.monotonic() - began

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Give the page a size in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, scheme: str) -> None:
        """Prefer a colour scheme: `light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """Write the whole page to a PNG file."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browser(profile: Path, *options: str) -> Iterator[Page]:
    """Run Chromium with a profile folder of its own and give its one tab."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        *options,
        "about:blank",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = profile / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and "\n" in port_file.read_text(), "Chromium to start")
        address = f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
        tabs = httpx.get(f"{address}/json/list", trust_env=False, timeout=DEADLINE).json()
        (tab,) = [tab for tab in tabs if tab["type"] == "page"]
        with connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
