"""The ASGI scope of a request."""

from __future__ import annotations

import pytest

from sidecar.http.server.request_head import parse_head
from sidecar.http.server.scope import connection_scope, request_scope
from tests.support.connected import MemoryTransport


def scope(target: bytes, method: bytes = b"GET"):
    connection = connection_scope(MemoryTransport())
    return request_scope(connection, parse_head(method + b" " + target + b" HTTP/1.1\r\nHost: h\r\nX-A: B\r\n\r\n"))


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/a/b", "/a/b", b"/a/b", b""),
        (b"/%E4%BD%A0%2F?q=%20", "/\u4f60/", b"/%E4%BD%A0%2F", b"q=%20"),
        (b"/?", "/", b"/", b""),
        (b"/a?b?c#d", "/a", b"/a", b"b?c"),
        (b"/a#b?c", "/a", b"/a", b""),
        (b"http://h/a?b", "/a", b"/a", b"b"),
        (b"http://h", "/", b"/", b""),
        (b"http://h?b", "/", b"/", b"b"),
        (b"http://h?b/c", "/", b"/", b"b/c"),
        (b"HTTP://h:80/a", "/a", b"/a", b""),
    ],
)
def test_targets(target, path, raw_path, query):
    """`path` is decoded, `raw_path` is not, and neither has the scheme, the query or the fragment."""
    got = scope(target)
    assert (got["path"], got["raw_path"], got["query_string"]) == (path, raw_path, query)


def test_the_rest():
    """Names are in lower case, and both ends of the connection are named."""
    got = scope(b"*", b"OPTIONS")
    assert (got["type"], got["method"], got["path"], got["http_version"]) == ("http", "OPTIONS", "*", "1.1")
    assert got["headers"] == [(b"host", b"h"), (b"x-a", b"B")]
    assert got["client"] == got["server"] == ("127.0.0.1", 50000)
