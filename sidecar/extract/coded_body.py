"""A body under a content coding, as a reader sees it that does not undo the coding.

Many frameworks ignore `Content-Encoding`. A gzip header has room for the fields of a form, and a stream can be made
that is JSON before it is inflated. To such a reader a compressed body may name another session.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from sidecar.extract.form.content_type import declared_form
from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.form.form_fields import read_urlencoded
from sidecar.extract.form.multipart import LONGEST_HEAD, MOST_PARTS
from sidecar.extract.refused import ambiguous
from sidecar.model import Headers

_OPENS_A_VALUE = re.compile(rb"[\xef\xbb\xbf\xff\xfe\x00 \t\r\n]*([\[{])").match
_LOOKED_AT: Final = 4096
"""Bytes of a list that are read to see whether it is one; a whole number of characters in any encoding."""
_LONGEST_TOKEN: Final = 16
"""Characters before the end of these bytes in which a mistake may come of the cut."""

_LONGEST_END: Final = 16
"""Bytes after the last boundary of a form: the end of its line, and what the codec adds to a stream."""


def check_coded(raw: bytes, content: bytes, headers: Headers, names: FieldNames) -> None:
    """Refuse a body that names something in its coded form, `raw`, which its `content` does not say too.

    `headers` declare the body, and `names` are the fields that a form is searched for. Raises RequestRefused.
    """
    form = declared_form(headers)
    if _begins_as_json(raw):
        _refuse()
    if form is not None and form.boundary is not None:
        _check_parts(raw, content, b"--" + form.boundary, names)
    elif form is not None:
        seen = read_urlencoded(raw, names, strict=False)
        said = read_urlencoded(content, names, strict=False) if seen else {}
        if any(said.get(name) != value for name, value in seen.items()):
            _refuse()


def _check_parts(raw: bytes, content: bytes, delimiter: bytes, names: FieldNames) -> None:
    """Refuse a form whose coded form has a part that the form itself has not.

    A codec leaves what it cannot compress as it is, with marks of its own in between, so a file may stand in the coded
    form broken. Its header may not be, nor may anything be broken in a part that is searched for ids.
    """
    if raw.count(delimiter) > MOST_PARTS:
        _refuse()
    parts = raw.split(delimiter)[1:]
    said = set(content.split(delimiter)[1:]) if parts else set()
    heads = {_head(part) for part in said}
    for part in parts:
        if part in said or (part.startswith(b"--") and len(part) <= _LONGEST_END):
            continue
        head = _head(part)
        if len(head) > LONGEST_HEAD or head not in heads or names.may_contain(head.decode("latin-1")):
            _refuse()


def _head(part: bytes) -> bytes:
    """The header of a part and the empty line after it; all of a part that has none."""
    head, end, _ = part.partition(b"\r\n\r\n")
    return head + end


def _begins_as_json(raw: bytes) -> bool:
    """Whether a lenient reader may take the text for JSON.

    A bracket alone is no sign of that: each brotli stream of 64 KiB to 1 MiB of content begins with one.
    """
    opening = _OPENS_A_VALUE(raw)
    if opening is None or opening[1] == b"{":
        return opening is not None
    text = raw[:_LOOKED_AT]
    in_ascii = text[opening.start(1) :].replace(b"\0", b"").decode("latin-1")
    in_its_encoding = text.decode(json.detect_encoding(text), "replace").lstrip("\ufeff\0 \t\r\n")
    return _begins_a_list(in_ascii) or _begins_a_list(in_its_encoding)


def _begins_a_list(text: str) -> bool:
    """Whether a text is JSON, or is up to its end."""
    try:
        json.JSONDecoder(strict=False).raw_decode(text)
    except json.JSONDecodeError as error:
        return error.msg.startswith("Unterminated string") or error.pos > len(text) - _LONGEST_TOKEN
    except (RecursionError, ValueError):
        # Nested deeply, or with an integer of more digits than are read.
        return True
    return True


def _refuse() -> NoReturn:
    ambiguous("The body says something else to a reader that does not undo its content coding.")
