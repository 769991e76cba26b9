"""Hypothesis strategies for whole HTTP/1.x exchanges: valid on the wire, and as odd as that allows."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from tests.support.differential import Planned

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VALUE = "".join(chr(code) for code in (*range(0x21, 0x7F), *range(0x80, 0x100)))
TARGET = "".join(chr(code) for code in range(0x21, 0x7F))
FRAMING = {"host", "content-length", "transfer-encoding", "expect", "connection", "upgrade"}

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "M-SEARCH", "X"]
HOSTS = ["Host: memory.example", "HOST:memory.example:8080", "host: [::1]:1"]

COMMON = [
    "Accept", "Accept-Encoding", "Authorization", "Cookie", "Forwarded", "Mcp-Session-Id", "Range", "User-Agent", "Via",
    "X-Session-ID", "X-Request-Id",
    "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "TE", "Trailer", "HTTP2-Settings",
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X_Forwarded_For", "X-Forwarded.Host",
    "X-Sidecar-Session", "X_Sidecar_Reason", "X.Sidecar-Anything", "X-Sidecars",
    "Content_Length", "Transfer.Encoding", "Content_Type",
]  # fmt: skip
ANSWERED = [
    "Age", "Cache-Control", "Content-Language", "Content-Location", "Date", "ETag", "Link", "Location", "Retry-After",
    "Server", "Set-Cookie", "Vary", "Via", "WWW-Authenticate", "X-Request-Id",
    "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "TE", "Trailer", "Upgrade",
    "X-Sidecar-Session", "X_Sidecar_Reason", "X-Sidecars",
]  # fmt: skip

values = st.one_of(
    st.sampled_from(["", "1", "a, b", "gzip, br", "no-cache", 'W/"x"', "a=b; c=d", "https://example.org/?q=%20"]),
    st.lists(st.text(VALUE, min_size=1, max_size=12), max_size=3).map(" ".join),
)
spaces = st.sampled_from(["", " ", "  ", "\t"])


@st.composite
def spelled(draw: st.DrawFn, names: list[str]) -> str:
    """A name of the list in any case, or any name at all."""
    name = draw(st.one_of(st.sampled_from(names), st.text(TOKEN, min_size=1, max_size=10)))
    if name.lower() in FRAMING:
        name = f"X-{name}"
    return draw(st.sampled_from([name, name.lower(), name.upper(), name.swapcase()]))


@st.composite
def field_lines(draw: st.DrawFn, names: list[str]) -> list[str]:
    """Fields in any order, with duplicates, `Connection` fields that nominate some of them, and space around values."""
    drawn = draw(st.lists(st.tuples(spelled(names), values), max_size=8))
    if drawn and draw(st.booleans()):
        drawn += draw(st.lists(st.sampled_from(drawn), max_size=2))
    if draw(st.integers(0, 2)) == 0:
        options = [name for name, _ in drawn] + ["close", "keep-alive", "Host", "Content-Length", "X-Absent"]
        nominated = draw(st.lists(st.sampled_from(options), min_size=1, max_size=3))
        drawn.insert(draw(st.integers(0, len(drawn))), ("Connection", ", ".join(nominated)))
    return [f"{name}:{draw(spaces)}{value}{draw(spaces)}" for name, value in drawn]


@st.composite
def cut_up(draw: st.DrawFn, data: bytes) -> tuple[bytes, ...]:
    """The bytes in the pieces in which they are written: few, or every byte of a part by itself."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=6))
    if data and draw(st.integers(0, 9)) == 0:
        begin = draw(st.integers(0, len(data) - 1))
        cuts += range(begin, min(begin + 40, len(data)))
    edges = sorted({0, len(data), *cuts})
    return tuple(data[begin:end] for begin, end in itertools.pairwise(edges))


bodies = st.one_of(
    st.just(b""),
    st.sampled_from([b"{}", b'{"user_id": "ann"}', b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n", b"x" * 70_000]),
    st.binary(max_size=300),
)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """The body in chunks, with sizes spelled in many ways, extensions and trailers."""
    written = b""
    for chunk in draw(cut_up(body)) if body else ():
        spelling = draw(st.sampled_from(["%x", "%X", "0%x", "000%X"]))
        extension = draw(st.sampled_from(["", "", ";a", ";a=b", ';a="b;c"']))
        written += (spelling % len(chunk) + extension + "\r\n").encode() + chunk + b"\r\n"
    trailers = draw(st.sampled_from(["", "", "X-Trailer: 1\r\n", "Authorization: no\r\nX-Session-Id: s\r\n"]))
    return written + draw(st.sampled_from([b"0", b"00"])) + b"\r\n" + trailers.encode() + b"\r\n"


def insert(draw: st.DrawFn, lines: list[str], line: str) -> None:
    lines.insert(draw(st.integers(0, len(lines))), line)


targets = st.one_of(
    st.sampled_from(
        ["/", "/?", "/#f", "//a//b/../c/./%2e%2F", "/a?b=c&d=%00", "/api/v1/memories/session/store", "/mcp"]
    ),
    st.text(TARGET, max_size=30).map(lambda text: "/" + text),
    st.text(TARGET, max_size=30).map(lambda text: "http://memory.example/" + text),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes]:
    """A method and the bytes of a request; one in three is of the kind that the fast path takes."""
    takes_fast_path = draw(st.integers(0, 2)) == 0
    lines = draw(field_lines(COMMON))
    if takes_fast_path:
        method, target, version, kind = draw(st.sampled_from(["POST", "PATCH"])), "/mcp?a=b", "1.1", "length"
        insert(draw, lines, draw(st.sampled_from(["Content-Type: application/json", "content-type:application/json"])))
    else:
        method = draw(st.sampled_from(METHODS))
        target = draw(targets)
        if method == "OPTIONS" and draw(st.booleans()):
            target = "*"
        version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
        kind = draw(st.sampled_from(["none", "length"] + ["chunked"] * (version == "1.1")))
        if draw(st.integers(0, 4)) == 0:
            insert(draw, lines, f"Content-Type: {draw(values)}")
        if draw(st.integers(0, 4)) == 0:
            insert(draw, lines, f"Upgrade: {draw(st.sampled_from(['h2c', 'websocket']))}")
    if version == "1.1" or draw(st.booleans()):
        insert(draw, lines, draw(st.sampled_from(HOSTS)))
    body = b""
    if kind != "none":
        payload = draw(bodies) or b"{}" * takes_fast_path
        insert(draw, lines, "Transfer-Encoding: chunked" if kind == "chunked" else f"Content-Length: {len(payload)}")
        body = draw(chunked(payload)) if kind == "chunked" else payload
    head = "\r\n".join([f"{method} {target} HTTP/{version}", *lines, "", ""]).encode("latin-1")
    return method, head + body


INTERIM = ["", "", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX-Sidecar-A: b\r\n\r\n"]


@st.composite
def answers(draw: st.DrawFn, method: str) -> tuple[bytes, bool]:
    """The bytes of an answer, and whether the connection ends with it."""
    lines = draw(field_lines(ANSWERED))
    status = draw(st.one_of(st.sampled_from([200, 201, 204, 206, 301, 304, 404, 500, 503]), st.integers(200, 999)))
    reason = draw(st.one_of(st.sampled_from(["OK", "", "Not  Quite"]), st.text(VALUE, max_size=10)))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"]))
    coding = draw(st.sampled_from([None, "gzip", "br", "zstd", "identity"]))
    if coding is not None:
        insert(draw, lines, f"Content-Encoding: {coding}")
    if draw(st.booleans()):
        insert(draw, lines, f"Content-Type: {draw(st.sampled_from(['application/json', 'text/event-stream', 'a/b']))}")
    payload = draw(bodies)
    framing = draw(st.sampled_from(["length", "close"] + ["chunked"] * (version == "1.1")))
    body = payload
    if framing == "length":
        insert(draw, lines, f"{draw(st.sampled_from(['Content-Length', 'content-length']))}: {len(payload)}")
    elif framing == "chunked":
        insert(draw, lines, draw(st.sampled_from(["Transfer-Encoding: chunked", "transfer-encoding: Chunked"])))
        body = draw(chunked(payload))
    elif draw(st.booleans()):
        insert(draw, lines, "Connection: close")
    head = "\r\n".join([f"HTTP/{version} {status} {reason}", *lines, "", ""]).encode("latin-1")
    bodiless = method == "HEAD" or status in (204, 304)
    says_close = any("close" in line.lower() for line in lines if line.lower().startswith("connection:"))
    closes = says_close or version == "1.0" or (framing == "close" and not bodiless)
    return draw(st.sampled_from(INTERIM)).encode() + head + (b"" if bodiless else body), closes


@st.composite
def exchanges(draw: st.DrawFn) -> Planned:
    """A request and the answer to it."""
    method, request = draw(requests())
    answer, closes = draw(answers(method))
    return Planned(method, draw(cut_up(request)), draw(cut_up(answer)), closes)
