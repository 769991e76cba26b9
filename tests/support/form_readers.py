"""The readers of forms that the agreement tests ask, each as a function from forms to what it finds in them."""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
import shutil
import subprocess
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import pytest
import starlette.datastructures
import starlette.requests
import werkzeug
import yarl
from aiohttp.test_utils import make_mocked_request
from werkzeug.datastructures import MultiDict

from tests.support.forms import Posted

View: TypeAlias = dict[str, list[str]] | None
"""What a reader finds under each watched name; None where it cannot read the form."""

HERE: Final = Path(__file__).parents[1] / "agreement"
NAMES: Final = ("session_id", "user_id")


async def werkzeug_view(posted: Posted) -> View:
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "wsgi.input": io.BytesIO(posted.data)}
    if posted.kind == "query":
        environ["QUERY_STRING"] = posted.data.decode("latin-1")
    else:
        environ |= {"CONTENT_TYPE": posted.type, "CONTENT_LENGTH": str(len(posted.data))}
    request = werkzeug.Request(environ)
    fields: MultiDict[str, Any] = request.args if posted.kind == "query" else request.form
    return _view(fields.getlist)


async def starlette_view(posted: Posted) -> View:
    if posted.kind == "query":
        return _view(starlette.datastructures.QueryParams(posted.data).getlist)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": posted.data, "more_body": False}

    headers = [(b"content-type", posted.type.encode())]
    request = starlette.requests.Request({"type": "http", "method": "POST", "headers": headers}, receive)
    async with request.form() as content:
        return _view(content.getlist)


async def aiohttp_view(posted: Posted) -> View:
    if posted.kind == "query":
        query = yarl.URL("http://localhost/?" + posted.data.decode("latin-1"), encoded=True).query
        return _view(lambda name: query.getall(name, []))
    stream = aiohttp.StreamReader(_Unlimited(), limit=2**20, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
    stream.feed_data(posted.data)
    stream.feed_eof()
    headers = {"content-type": posted.type, "content-length": str(len(posted.data))}
    fields = await make_mocked_request("POST", "/", headers, payload=stream).post()
    return _view(lambda name: fields.getall(name, []))


class _Unlimited:
    """Stands where aiohttp's protocol would pause reading."""

    _reading_paused = False

    def pause_reading(self) -> None: ...

    def resume_reading(self, resume_parser: bool = True) -> None: ...


def _view(values: Callable[[str], Iterable[object]]) -> View:
    found = {name: list(map(_text, values(name))) for name in NAMES}
    return {name: texts for name, texts in found.items() if texts}


def _text(value: object) -> str:
    """aiohttp gives bytes for a field whose type is no text."""
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    return value if isinstance(value, str) else "no string"


def in_python(corpus: Iterable[Posted]) -> list[list[View]]:
    """What werkzeug, Starlette and aiohttp find in every form, in that order."""

    async def attempt(view: Callable[[Posted], Awaitable[View]], posted: Posted) -> View:
        try:
            return await view(posted)
        except Exception:
            return None

    async def ask() -> list[list[View]]:
        readers = (werkzeug_view, starlette_view, aiohttp_view)
        return [[await attempt(reader, posted) for reader in readers] for posted in corpus]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asyncio.run(ask())


def lines(corpus: Iterable[Posted]) -> bytes:
    """The forms as the programs take them, one a line."""
    return b"".join(
        json.dumps({"kind": one.kind, "type": one.type, "data": base64.b64encode(one.data).decode()}).encode() + b"\n"
        for one in corpus
    )


def in_node(corpus: Sequence[Posted]) -> list[list[View]]:
    """What Node's readers find in every form; skips the test where there is none."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")
    return _run([node, str(HERE / "node" / "forms.js")], lines(corpus))


def in_go(corpus: bytes) -> list[list[Any]]:
    """What Go finds in every line; skips the test where its reader is not built (CONTRIBUTING.md tells how)."""
    program = HERE / "go" / "forms"
    if not program.exists():
        pytest.skip("the Go reader is not built")
    return _run([str(program)], corpus)


def in_php(corpus: Iterable[Posted]) -> list[list[View]]:
    """What PHP finds in every form, asked through its own server; skips the test where there is none."""
    php = shutil.which("php")
    if php is None:
        pytest.skip("php is not on PATH")
    command = [php, "-d", "display_errors=0", "-S", "127.0.0.1:0", str(HERE / "php" / "forms.php")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        started = next(line for line in server.stderr if "started" in line)
        port = urlsplit(started[started.index("http://") : started.index(")")]).port
        drain = threading.Thread(target=server.stderr.read)
        drain.start()
        try:
            return [_ask_php(port, one) for one in corpus]
        finally:
            server.terminate()
            drain.join()


def _ask_php(port: int | None, posted: Posted) -> list[View]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    type_ = posted.type if posted.kind != "query" else "text/plain"
    connection.request("POST", "/", body=posted.data, headers={"Content-Type": type_, "X-Kind": posted.kind})
    answer = connection.getresponse()
    try:
        views: list[View] = json.loads(answer.read())
        return views
    finally:
        connection.close()


def _run(command: list[str], sent: bytes) -> list[list[Any]]:
    done = subprocess.run(command, input=sent, capture_output=True, check=True, timeout=100)
    return [json.loads(line) for line in done.stdout.splitlines()]
