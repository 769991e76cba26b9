"""What a REST body names: each is read as JSON, and one that is declared to be a form is read as that form too."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sidecar.extract.form.content_type import Form
from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.form.form_fields import read_urlencoded
from sidecar.extract.form.multipart import read_multipart
from sidecar.extract.head_candidates import Candidates
from sidecar.extract.json.json_paths import JsonPathExtractor
from sidecar.extract.json.strict_json import JsonReader
from sidecar.extract.refused import RequestRefused, unreadable
from sidecar.profile.profile import Profile

_LOOKS_LIKE_JSON = re.compile(rb"[\xef\xbb\xbf\xff\xfe\x00 \t\r\n]*\{").match


class RestBodyReader:
    """Reads bodies by one profile.

    `json` reads the text of one that is JSON, `field_names` are the fields that a form is searched for, and
    `is_needed` says whether an id may stand in a body at all.
    """

    def __init__(self, profile: Profile) -> None:
        paths = [path for places in profile.places.values() for path in places.json]
        fields = [field for places in profile.places.values() for field in places.form]
        self._members = JsonPathExtractor(profile)
        self._forms = tuple((name, places.form) for name, places in profile.places.items())
        self.json = JsonReader(self._members.keys)
        self.field_names = FieldNames(fields, paths)
        self.is_needed = bool(self._members.keys or fields)

    def claim(self, claims: Candidates, form: Form | None, body: bytes) -> Sequence[Candidates]:
        """Add what the body names to the claims; give what the elements of its lists name. Raises RequestRefused."""
        try:
            value = self.json.read(body)
        except RequestRefused:
            if form is None or not form.declared or _LOOKS_LIKE_JSON(body):
                raise
            self._claim_form(claims, form, body)
            return ()
        self._members.claim_plain(claims, value)
        if form is not None and form.boundary is None:
            self._claim_form(claims, form, body, strict=False)
        elif form is not None and form.boundary is not None and b"--" + form.boundary in body:
            unreadable("The body is JSON, and contains the boundary of the multipart form that it is declared to be.")
        return list(self._members.elements(value)) if self._members.has_lists else ()

    def _claim_form(self, claims: Candidates, form: Form, body: bytes, *, strict: bool = True) -> None:
        if form.boundary is None:
            fields = read_urlencoded(body, self.field_names, strict=strict)
        else:
            fields = read_multipart(body, form.boundary, self.field_names)
        for name, own in self._forms:
            claims[name].extend(fields[field] for field in own if field in fields)
