"""Which form a Content-Type declares, if any.

JSON is read as JSON under every media type; the type only adds a reading. One that could make another reader see
other characters (a charset) or other fields (an unclear form type) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sidecar.extract.refused import unreadable
from sidecar.model import Headers

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# No ; or , in quotes: a reader that splits before it unquotes would see other parameters.
_VALUE = rf"(?:({_TOKEN})|\"([^\"\\;,]*)\")"
_PARAMETER = re.compile(rf";[ \t]*({_TOKEN})={_VALUE}")
_MEDIA_TYPE = re.compile(rf"[ \t]*({_TOKEN}/{_TOKEN})((?:[ \t]*;(?:[ \t]*{_TOKEN}={_VALUE})?)*)[ \t]*")
_CHARSET = re.compile(r"charset[ \t*0-9]*=[ \t\"']*([^\"';, \t]*)")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")

_ASCII_ALIKE: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252"})
"""Charsets in which structure and ids, all ASCII, are the same bytes."""
_URLENCODED: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_LONGEST: Final = 1024


@dataclass(frozen=True, slots=True)
class Form:
    """A form that a body is read as; `boundary` is None for the urlencoded kind.

    `declared` is false where the type declares none but some reader takes the body for an urlencoded form all the
    same: such a body must be JSON besides.
    """

    boundary: bytes | None = None
    declared: bool = True


UNDECLARED: Final = Form(declared=False)


def declared_form(headers: Headers) -> Form | None:
    """The form that some reader takes the body for, if any. Raises RequestRefused where that is not clear.

    Without a type Rack reads a form.
    """
    value = None
    for name, content in headers:
        if name == b"content-type":
            if value is not None:
                unreadable("The request has more than one Content-Type.")
            value = content
    return _read(value) if value else UNDECLARED


def check_charset(text: str) -> None:
    """Refuse a content type, in lower case, whose charset would change structure or ids. Raises RequestRefused."""
    for charset in _CHARSET.findall(text):
        if charset not in _ASCII_ALIKE:
            unreadable("The body is declared in a charset other than UTF-8.")


def check_charset_name(name: bytes) -> None:
    """Refuse a charset that a form names for itself, if it would change ids. Raises RequestRefused."""
    if name.decode("latin-1").strip().lower() not in _ASCII_ALIKE:
        unreadable("The form names a charset other than UTF-8.")


@lru_cache(maxsize=256)
def _read(value: bytes) -> Form | None:
    if len(value) > _LONGEST:
        unreadable(f"The Content-Type is longer than {_LONGEST} bytes.")
    text = value.decode("latin-1")
    folded = text.lower()
    check_charset(folded)
    if "urlencoded" not in folded and "multipart" not in folded:
        return None
    matched = _MEDIA_TYPE.fullmatch(text)
    if matched is None:
        unreadable("The Content-Type mentions a form but is not well formed.")
    media_type = matched[1].lower()
    if media_type == _URLENCODED:
        return Form()
    if media_type == _MULTIPART:
        return Form(_boundary(matched[2]))
    return UNDECLARED if "urlencoded" in folded else None


def _boundary(parameters: str) -> bytes:
    """The boundary parameter (RFC 2046, section 5.1.1).

    No other parameter may mention one: PHP takes the first mention, wherever it is.
    """
    found = [(name.lower(), token or quoted) for name, token, quoted in _PARAMETER.findall(parameters)]
    mentions = [(name, value) for name, value in found if "boundary" in name or "boundary" in value.lower()]
    if len(mentions) != 1 or mentions[0][0] != "boundary" or not _BOUNDARY.fullmatch(mentions[0][1]):
        unreadable("The multipart form has no boundary, or one that cannot be read.")
    return str(mentions[0][1]).encode("ascii")
