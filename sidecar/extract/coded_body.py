"""A body under a content coding, as a reader sees it that does not undo the coding.

Many frameworks ignore `Content-Encoding`. A gzip header has room for the fields of a form, and a stream can be made
that is JSON before it is inflated. To such a reader a compressed body may name another session.
"""

from __future__ import annotations

import re
from typing import NoReturn

from sidecar.extract.form.content_type import declared_form
from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.form.form_fields import read_urlencoded
from sidecar.extract.refused import ambiguous
from sidecar.model import Headers

_BEGINS_AS_JSON = re.compile(rb"[\xef\xbb\xbf\xff\xfe\x00 \t\r\n]*[\[{]").match


def check_coded(raw: bytes, content: bytes, headers: Headers, names: FieldNames) -> None:
    """Refuse a body that names something in its coded form, `raw`, which its `content` does not say too.

    `headers` declare the body, and `names` are the fields that a form is searched for. Raises RequestRefused.
    """
    form = declared_form(headers)
    if _BEGINS_AS_JSON(raw) or (form is not None and form.boundary is not None and b"--" + form.boundary in raw):
        _refuse()
    if form is not None and form.boundary is None:
        seen = read_urlencoded(raw, names, strict=False)
        said = read_urlencoded(content, names, strict=False) if seen else {}
        if any(said.get(name) != value for name, value in seen.items()):
            _refuse()


def _refuse() -> NoReturn:
    ambiguous("The body says something else to a reader that does not undo its content coding.")
