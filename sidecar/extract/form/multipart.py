"""Forms as `multipart/form-data` (RFC 7578), read so strictly that no other reader can find other fields in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from sidecar.extract.form.content_type import check_charset
from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.refused import unreadable

MOST_PARTS: Final = 1_000
LONGEST_HEAD: Final = 8_192

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEADER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)").fullmatch
_PARAMETER = rb"[ \t]*;[ \t]*(" + _TOKEN + rb")=(?:(" + _TOKEN + rb')|"([^"]*)")'
_DISPOSITION = re.compile(rb"form-data((?:" + _PARAMETER + rb")*)[ \t]*", re.IGNORECASE).fullmatch
_PARAMETERS = re.compile(_PARAMETER).findall
_IDENTITY: Final = frozenset({b"7bit", b"8bit", b"binary"})


def read_multipart(body: bytes, boundary: bytes, names: FieldNames) -> Mapping[str, object]:
    """The watched fields of the form; a file's value is bytes, so that it is no id. Raises RequestRefused."""
    return names.collect(_field(part, names) for part in _parts(body, b"--" + boundary))


def _parts(body: bytes, delimiter: bytes) -> Iterator[bytes]:
    """What stands between the delimiters, which may occur nowhere else: no preamble, no epilogue, no bare line ends."""
    count = body.count(delimiter)
    if count > MOST_PARTS:
        unreadable(f"The form has more than {MOST_PARTS} parts.")
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if pieces[0] or pieces[-1] not in (b"--", b"--\r\n") or len(pieces) != count + 1:
        unreadable("The multipart form does not begin and end with its boundary, or has the boundary elsewhere.")
    for part in pieces[1:-1]:
        if not part.startswith(b"\r\n"):
            unreadable("A line of the multipart form begins with the boundary but goes on.")
        yield part[2:]


def _field(part: bytes, names: FieldNames) -> tuple[str, object]:
    """A part's field name and value."""
    head, end, content = part.partition(b"\r\n\r\n")
    if not end or len(head) > LONGEST_HEAD:
        unreadable("A part of the form has no end to its header, or too long a one.")
    headers = _headers(head)
    if headers.get(b"content-length", b"%d" % len(content)) != b"%d" % len(content):
        unreadable("A part of the form has another Content-Length than its content.")
    parameters = _disposition(headers.get(b"content-disposition", b""))
    name = parameters[b"name"].decode("utf-8", "replace")
    if not names.is_watched(name):
        return name, content
    if headers.get(b"content-transfer-encoding", b"8bit").lower() not in _IDENTITY or b"content-encoding" in headers:
        unreadable(f"The field {name} has a transfer encoding.")
    check_charset(headers.get(b"content-type", b"").decode("latin-1").lower())
    is_file = any(parameter.startswith(b"filename") for parameter in parameters)
    return name, content if is_file else content.decode("utf-8", "replace")


def _headers(head: bytes) -> Mapping[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        matched = _HEADER(line)
        if matched is None or matched[1].lower() in headers:
            unreadable("A part of the form has a header that cannot be read, or one twice.")
        headers[matched[1].lower()] = matched[2].rstrip(b" \t")
    return headers


def _disposition(value: bytes) -> Mapping[bytes, bytes]:
    """The parameters of a Content-Disposition: each once, a name among them, no value that can be read two ways."""
    matched = _DISPOSITION(value)
    found = _PARAMETERS(matched[1]) if matched else []
    parameters = {name.lower(): token or quoted for name, token, quoted in found}
    extended = any(name.startswith(b"name*") for name in parameters)
    if (
        extended
        or b"name" not in parameters
        or len(parameters) != len(found)
        or b"=?" in parameters[b"name"]  # an encoded-word (RFC 2047), which commons-fileupload decodes
        or any(map(_in_doubt, parameters.values()))
    ):
        unreadable("A part of the form has no name that every reader reads alike.")
    return parameters


def _in_doubt(value: bytes) -> bool:
    """Whether a reader that knows escaped quotes, or one that splits at `;` before it unquotes, sees something else."""
    return value.endswith(b"\\") or (b";" in value and b"name" in value.lower())
