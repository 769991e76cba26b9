"""Attempts to bring a write past the authoriser: each is refused, nothing is forwarded, no session is created."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.doors.cases import STORE
from tests.support.authorizing import World, authorizing
from tests.support.fronts import FRONTS, Front, fronting

# The session `taken` is ann's, so that no spelling of this write may go on.
BODY = b'{"user_id": "bob", "session_id": "taken", "message_content": "x"}'
JSON = "Content-Type: application/json"
LENGTH = f"Content-Length: {len(BODY)}"


def write(*fields: str, target: str = STORE, method: str = "POST", body: bytes = BODY, version: str = "1.1") -> bytes:
    """One request as bytes; a body without a field that frames it is declared."""
    lines = [f"{method} {target} HTTP/{version}", "Host: memory.test", "Connection: close", *fields]
    if not any(field.startswith(("Content-Length:", "Transfer-Encoding:")) for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes = BODY) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


FORGED = {
    "X-Original-*": ("X-Original-Method: GET", "X-Original-URI: /health", "X-Original-Content-Length: 0"),
    "X-Forwarded-*": ("X-Forwarded-Method: GET", "X-Forwarded-Uri: /health", "X-Forwarded-Content-Length: 0"),
    "X_Original_*": ("X_Original_Method: GET", "X_Original_URI: /health", "X_Original_Content_Length: 0"),
    "no partial body": ("x-envoy-auth-partial-body: false",),
    "the connection takes X-Forwarded-* away": ("Connection: X-Forwarded-Method, X-Forwarded-Uri",),
    "the connection takes X-Original-* away": ("Connection: X-Original-Content-Length, X-Original-URI",),
    "the connection takes the content type away": ("Connection: content-type, content-encoding, content-length",),
    "another method for the application": ("X-HTTP-Method-Override: GET", "X-Original-URL: /health"),
}

ATTEMPTS = {
    "a plain write": write(JSON),
    "a body over every limit": write(JSON, body=b'{"a": "%b", %b' % (b"x" * (11 << 20), BODY[1:])),
    "a chunked body": write(JSON, "Transfer-Encoding: chunked", body=chunked()),
    "a chunked body over every limit": write(
        JSON, "Transfer-Encoding: chunked", body=chunked(b'{"a": "%b", %b' % (b"x" * (11 << 20), BODY[1:]))
    ),
    "a body without a content type": write(),
    "a body that claims to be text": write("Content-Type: text/plain"),
    "a body that claims to be an image": write("Content-Type: image/png"),
    "a body that claims to be another form": write("Content-Type: multipart/form-data; boundary=b"),
    "two content types": write("Content-Type: text/plain", JSON),
    "two content codings": write(
        JSON, "Content-Encoding: gzip", "Content-Encoding: identity", body=gzip.compress(BODY)
    ),
    "a compressed body": write(JSON, "Content-Encoding: gzip", body=gzip.compress(BODY)),
    "a body in a coding that is none": write(JSON, "Content-Encoding: gzip"),
    "two lengths": write(JSON, LENGTH, "Content-Length: 0"),
    "a length and chunks": write(JSON, LENGTH, "Transfer-Encoding: chunked", body=chunked()),
    "a transfer coding that is none": write(JSON, "Transfer-Encoding: xchunked", body=chunked()),
    "a body in HTTP/1.0": write(JSON, version="1.0"),
    "a method in small letters": write(JSON, method="post"),
    "a PUT": write(JSON, method="PUT", target="/api/v1/memories/factual/1"),
    "a PATCH": write(JSON, method="PATCH", target="/api/v1/memories/factual/1"),
    "an encoded slash": write(JSON, target="/api/v1/memories/session%2Fstore"),
    "a twice encoded slash": write(JSON, target="/api/v1/memories%252Fsession/store"),
    "a doubled slash": write(JSON, target="/api//v1/memories/session/store"),
    "a doubled slash in front": write(JSON, target="//api/v1/memories/session/store"),
    "dot segments": write(JSON, target="/api/v1/x/../memories/session/store"),
    "encoded dot segments": write(JSON, target="/api/v1/x/%2e%2E/memories/session/store"),
    "a backslash": write(JSON, target="/api/v1\\memories/session/store"),
    "an absolute target": write(JSON, target=f"http://memory.test{STORE}"),
    "a fragment": write(JSON, target=f"/health#/..{STORE}"),
    "ids in the query that the body contradicts": write(JSON, target=f"{STORE}?session_id=taken&user_id=ann"),
    "nginx's prefix": write(JSON, target=f"/nginx/..{STORE}"),
    "Envoy's prefix": write(JSON, target=f"/envoy/..{STORE}"),
    "an encoded prefix": write(JSON, target=f"/forward/..%2f{STORE[1:]}"),
    "a second request behind a read": b"GET /health HTTP/1.1\r\nHost: memory.test\r\n\r\n" + write(JSON),
    **{f"forged: {name}": write(JSON, *fields) for name, fields in FORGED.items()},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with authorizing(tmp_path_factory.mktemp("attempts")) as running:
        running.create("taken", "ann")
        yield running


@pytest.fixture(scope="module", params=FRONTS, ids=str)
def address(request: pytest.FixtureRequest, world: World) -> Iterator[str]:
    front: Front = request.param
    with fronting(front, memories=world.memories_address, authz=world.authz) as address:
        yield address


def exchange(address: str, request: bytes) -> bytes:
    """Send these bytes and give all that comes back; a refusal may come before the last byte is sent."""
    host, _, port = address.rpartition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    return received


@pytest.mark.parametrize("name", ATTEMPTS)
def test_no_attempt_reaches_the_memory_service(address: str, world: World, name: str) -> None:
    sessions, writes = world.all_sessions(), len(world.writes)
    answer = exchange(address, ATTEMPTS[name])
    assert world.writes[writes:] == []
    assert world.all_sessions() == sessions
    last = answer[answer.rfind(b"HTTP/1.") :]
    assert not answer or last[9:12] >= b"400", answer[:500]


@pytest.mark.parametrize("length", ["declared", "unknown"])
def test_no_attempt_over_http_2_reaches_the_memory_service(address: str, world: World, length: str) -> None:
    """In HTTP/2 a body needs no declared length."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    sessions, writes = world.all_sessions(), len(world.writes)
    body = ["--data-binary", "@-"] if length == "declared" else ["-X", "POST", "-T", "-"]
    options = ["-s", "--noproxy", "*", "--http2-prior-knowledge", "-w", "\n%{http_version} %{http_code}", "-H", JSON]
    target = f"http://{address}{STORE}?session_id=taken&user_id=ann"
    # Exit code 92: the proxy reset the stream, after its answer or in its place, before it had the whole body.
    done = subprocess.run([curl, *options, *body, target], input=BODY, capture_output=True, check=False, timeout=30)
    version, status = done.stdout.rsplit(b"\n", 1)[1].split()
    assert done.returncode == 92 or (version, status[:1]) == (b"2", b"4"), (done.returncode, done.stdout)
    assert world.writes[writes:] == []
    assert world.all_sessions() == sessions


def test_no_upgrade_reaches_the_memory_service(address: str, world: World) -> None:
    """A tunnel to the memory service could carry writes that are not looked at."""
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
    head = "\r\n".join(["GET /api/v1/memories/session/taken HTTP/1.1", "Host: memory.test", *fields, "", ""])
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
        assert not connection.recv(65536).startswith(b"HTTP/1.1 101")
    assert b"upgrade" not in world.memories.header_names
