"""A corpus of forms and queries whose field names some reader may decode into a watched one, made systematically."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes

from tests.support.reading import multipart

URLENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data; boundary=XX"

BEFORE: Final = (
    b"", b" ", b"\t", b"\n", b"?", b"\xef\xbb\xbf", b"\x00", b"'", b'"', b"[", b".", b"\\", b"{", b"\xff", b"&",
    b";", b"\xe2\x80\x8b", b" " * 300, b"%20", b"%00", b"#", b"x[", b"x.",
)  # fmt: skip
AFTER: Final = (
    b"", b" ", b"\t", b"\n", b"\x00", b"\x00x", b"[]", b"[0]", b"[x]", b"[", b"]", b".", b"'", b'"', b"\\", b"\xff",
    b";", b"?", b" x", b"\x00" + b"x" * 300, b"[" + b"x" * 300, b"%00", b".x",
)  # fmt: skip
MARKS: Final = (
    b".", b" ", b"[", b"\\_", b"\x00_", b"%5F", b"%255F", b"%u005F", b"+", b"-", b"__", b"\xff_", b"_\\", b":",
    b"/", b"\xc1\x9f", b"\xef\xbc\xbf", b"&#95;", b"\xe2\x80\x8b_", b"]", b"", b"\t",
)  # fmt: skip


class Posted(NamedTuple):
    """A query, or a body with its type; `kind` is query, urlencoded or multipart."""

    kind: str
    type: str
    data: bytes


def names(watched: bytes) -> Iterator[bytes]:
    """Spellings of a watched name, as they are after a reader's decoding: two oddities each at most."""
    inner = [watched, watched.upper(), watched.title(), watched.replace(b"s", "ſ".encode())]
    inner += [
        watched.replace(b"i", "ı".encode()),
        watched.replace(b"_", b"\\u005f"),
        b"\\" + b"\\".join(watched.split()),
    ]
    inner += [watched.replace(b"_", mark) for mark in MARKS]
    yield from (before + watched + after for before in BEFORE for after in AFTER)
    yield from (before + name for before in BEFORE for name in inner)
    yield from (name + after for after in AFTER for name in inner)
    yield from (b"context[" + name + b"]" for name in inner)


def forms() -> Iterator[Posted]:
    """Fields with odd names, alone and beside the exact ones, in queries, urlencoded bodies and multipart forms."""
    for watched, beside in ((b"session_id", b"user_id=u1&"), (b"user_id", b"session_id=s1&")):
        for name in dict.fromkeys(names(watched)):
            escaped = quote_from_bytes(name, safe="").encode()
            bare = name.replace(b"%", b"%25").replace(b" ", b"+").replace(b"=", b"%3D")
            for raw in dict.fromkeys((escaped, bare)):
                for data in (beside + raw + b"=s2", raw + b"=s2&" + beside[:-1]):
                    yield Posted("urlencoded", URLENCODED, data)
                    yield Posted("query", "", data)
            backslashed = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
            for written in (name, backslashed, escaped):
                yield _multipart(beside, b'Content-Disposition: form-data; name="%b"' % written)
    yield from _odd_parts()
    yield from _damaged(500, seed=1)


def _multipart(beside: bytes, head: bytes, *, content: bytes = b"s2", type_: str = MULTIPART) -> Posted:
    name, value = beside.rstrip(b"&").split(b"=")
    raw = multipart((f'Content-Disposition: form-data; name="{name.decode()}"', value), ("HEAD", content))
    return Posted("multipart", type_, raw.replace(b"HEAD", head))


def _odd_parts() -> Iterator[Posted]:
    """Dispositions, part headers, types and framing that readers are known to read in their own ways."""
    exact = 'Content-Disposition: form-data; name="session_id"'
    twice = b"s2\r\n--XX\r\n%b\r\n\r\ns3" % exact.encode()
    heads = [
        *(f"Content-Disposition: {value}" for value in DISPOSITIONS),
        *(f"{exact}\r\n{line}" for line in PART_HEADERS),
        *(f"{line}\r\n{exact}" for line in PART_HEADERS),
        *(f'Content-Disposition: form-data; name="x"\r\n{line}' for line in PART_HEADERS),
    ]
    for head in heads:
        for content in (b"s2", b"czI=", b"=73=32", b"\xff\xfes\x002\x00", b"\xef\xbb\xbfs2", twice):
            yield _multipart(b"user_id=u1", head.encode(), content=content)
    plain = _multipart(b"user_id=u1", exact.encode()).data
    for charset in ("utf-8", "utf-16", "utf-16-le", "utf-7", "shift_jis", "cp037", "latin-1", "nonsense", ""):
        part = b'--XX\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n%b\r\n' % charset.encode()
        yield Posted("multipart", MULTIPART, part + plain)
        yield Posted("urlencoded", URLENCODED, b"_charset_=%b&session_id=s2&user_id=u1" % charset.encode())
        yield Posted("multipart", f"{MULTIPART}; charset={charset}", plain)
        yield Posted("urlencoded", f"{URLENCODED}; charset={charset}", b"session_id=s2&user_id=u1")
    hidden = b"--YY\r\n" + exact.encode() + b"\r\n\r\ns3\r\n--YY--\r\n"
    inside = _multipart(b"user_id=u1", b'Content-Disposition: form-data; name="x"', content=hidden).data
    for type_ in TYPES:
        yield Posted("multipart", type_, plain)
        yield Posted("multipart", type_, inside)
        yield Posted("multipart", type_, inside.replace(b"\r\n--YY--", b"\n--YY--"))
    for old, new in REFRAMED:
        yield Posted("multipart", MULTIPART, plain.replace(old, new))
        yield Posted("multipart", MULTIPART, plain.replace(old, new, 1))
    for around in (b"x\r\n", b"\r\n", b"\n", b"--XX--\r\n", plain):
        yield Posted("multipart", MULTIPART, around + plain)
        yield Posted("multipart", MULTIPART, plain + around)


def _damaged(count: int, *, seed: int) -> Iterator[Posted]:
    """Sound forms with a piece put in, over or out, at random but always the same."""
    chance = random.Random(seed)
    exact = _multipart(b"user_id=u1", b'Content-Disposition: form-data; name="session_id"').data
    for _ in range(count):
        for kind, type_, data in (
            ("multipart", MULTIPART, exact),
            ("urlencoded", URLENCODED, b"session_id=s2&user_id=u1&x[y]=z"),
            ("query", "", b"session_id=s2&user_id=u1&x[y]=z"),
        ):
            place = chance.randrange(len(data))
            piece = chance.choice(PIECES)
            yield Posted(kind, type_, data[:place] + piece + data[place + chance.randrange(3) :])


DISPOSITIONS: Final = (
    'form-data; name="x"; filename="session_id"', "form-data; name=session_id", "form-data; name='session_id'",
    'form-data; name="session_id"; filename="a"', 'form-data; name="session_id"; filename=""',
    "form-data; name*=utf-8''session_id", "form-data; name*=utf-8''session%5Fid",
    'form-data; name="x"; name*=utf-8\'\'session_id', 'form-data; name*0="session"; name*1="_id"',
    'form-data; name*0*=utf-8\'\'session; name*1="_id"', 'form-data; name="x"; name="session_id"',
    'form-data; name="session_id"; name="x"', 'form-data; name="x"; NAME="session_id"',
    'form-data; name="=?utf-8?Q?session=5Fid?="', 'form-data; name="x\\"; name="session_id"',
    "form-data; name='x; name=session_id'", "form-data; x='a; name=session_id; y='",
    'form-data; x="a; name=session_id"; name="y"', 'form-data; filename="a\\"; name="session_id"',
    'attachment; name="session_id"', 'FORM-DATA; NAME="session_id"', 'form-data ; name = "session_id"',
    'form-data;name="session_id"', 'form-data, name="session_id"', 'form-data; name="session_id',
    "form-data; name=session_id; x", "form-data; name=session\\_id", 'form-data; n\\ame="session_id"',
    'form-data; name="x"\tname="session_id"', "form-data; name=;session_id", "name=session_id",
)  # fmt: skip

PART_HEADERS: Final = (
    "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "Content-Encoding: deflate",
    "Content-Length: 2", "Content-Length: 1", "Content-Length: 60", "Content-Type: text/plain; charset=utf-16",
    "Content-Type: application/octet-stream", "Content-Type: multipart/mixed; boundary=YY",
    "Content-Type: text/plain; charset=utf-7", 'Content-Disposition: form-data; name="x"',
    'content-disposition: form-data; name="session_id"', " name=session_id", "X: y",
    'Content-Disposition : form-data; name="session_id"', "Content-Type: text/plain; charset=iso-8859-1",
    "\tfolded: x",
)  # fmt: skip

TYPES: Final = (
    'multipart/form-data; boundary="XX"', "multipart/form-data; xboundary=YY; boundary=XX",
    "multipart/form-data; boundary=XX; boundary=YY", 'multipart/form-data; x="boundary=YY"; boundary=XX',
    "multipart/form-data; boundary*=YY; boundary=XX", "multipart/form-data;boundary=XX;x=YY",
    "multipart/form-data; boundary*0=Y; boundary*1=Y; boundary=XX",
    "multipart/form-data; boundary=XX; xboundary=YY", "multipart/form-data; boundary='XX'",
    "multipart/form-data; boundary=XX,boundary=YY", "multipart/form-data; boundary= XX",
    "Multipart/Form-Data; Boundary=XX", "multipart/mixed; boundary=XX",
    "multipart/form-data, application/json; boundary=XX",
)  # fmt: skip

REFRAMED: Final = (
    (b"\r\n", b"\n"), (b"\r\n", b"\r"), (b"--XX\r\n", b"--XX \r\n"), (b"--XX\r\n", b"--XX\n"), (b"--XX--", b"--XX"),
    (b"--XX--\r\n", b"--XX--"), (b"--XX--", b"--XX--x"), (b"\r\n\r\n", b"\r\n \r\n"), (b"\r\n\r\n", b"\n\n"),
    (b"--XX", b"-- XX"),
)  # fmt: skip

PIECES: Final = (
    b"\r", b"\n", b"\r\n", b'"', b"'", b";", b"--XX", b"\r\n--XX", b" ", b"name=", b"\\", b"\x00", b"-", b"=", b"&",
    b"%", b"%00", b"%5B", b"[", b"]", b"+", b".", b"?", b"&session_id=s3", b"&session.id=s3", b"%26", b"%3D",
    b"\xef\xbb\xbf",
)  # fmt: skip
