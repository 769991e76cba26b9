"""The reader: turns a request into the session it writes to, or into the reason why that cannot be told.

It looks at the head first (`plan`) and, where that is not enough, at the decoded body (`read`). Whatever two readers
of the same bytes could disagree about is refused here, so that the guard never checks another id than the one that
the memory service will use.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sidecar.extract.content_type import Form, declared_form
from sidecar.extract.field_names import FieldNames
from sidecar.extract.flat_json import FlatCallExtractor, FlatJsonExtractor, SessionIdentity, has_plain_bodies
from sidecar.extract.form_fields import read_urlencoded
from sidecar.extract.head_candidates import HeadReader
from sidecar.extract.id_resolver import Candidates, IdResolver
from sidecar.extract.ids import IdFormat
from sidecar.extract.json_paths import JsonPathExtractor
from sidecar.extract.mcp import McpReader
from sidecar.extract.multipart import read_multipart
from sidecar.extract.refused import RequestRefused, unreadable
from sidecar.extract.routing import AMBIGUOUS_PATH, Route, Router, wants_upgrade
from sidecar.extract.strict_json import JsonReader
from sidecar.model import Call, Classification, Extraction, Head, Reference, Refusal, RefusalFormat
from sidecar.profile.profile import REQUIRED_IF, Profile

_LOOKS_LIKE_JSON = re.compile(rb"[\xef\xbb\xbf\xff\xfe\x00 \t\r\n]*\{").match


@dataclass(frozen=True, slots=True)
class Prepared:
    """What reads the bodies that come with one head, sooner than `Extractor.read` does.

    `plain`, where the head itself names nothing, gives what stands in a plain body, and None for another. `find`, where
    a body refers to one session at most, gives that, and raises Refusal.
    """

    plain: Callable[[bytes], SessionIdentity | None] | None = None
    find: Callable[[bytes], Reference | None] | None = None


class Extractor:
    """Reads requests by one profile.

    `id_format` is what is demanded of ids (`opaque` or `uuid`), `user_header` the header that alone names the owner,
    set by a gateway in front. A reader has no state but what it remembers of paths, and never waits.
    """

    def __init__(self, profile: Profile, *, id_format: str = IdFormat.OPAQUE, user_header: str | None = None) -> None:
        members = JsonPathExtractor(profile)
        paths = [path for places in profile.places.values() for path in places.json]
        fields = [field for places in profile.places.values() for field in places.form]
        judge = IdResolver(profile, id_format=IdFormat(id_format), user_header=user_header)
        self._members = members
        self._forms = tuple((name, places.form) for name, places in profile.places.items())
        self._reads_bodies = bool(members.keys or fields)
        self._router = Router(profile)
        self._outside = HeadReader(profile, user_header)
        self._judge = judge
        self._json = JsonReader(members.keys)
        self._form_names = FieldNames(fields, paths)
        self._mcp = McpReader(profile, judge)
        self._has_plain = has_plain_bodies(profile) and user_header is None
        self._plain = FlatJsonExtractor(profile, self._json)
        self._plain_call = FlatCallExtractor(profile, self._mcp.json, self._mcp.kind)

    def plan(self, head: Head) -> Classification | Extraction | None:
        """What the head alone says.

        None: there is nothing to guard, let it through as it comes. A plan: it is guarded; have it read, with its
        body where the plan says so. A reading: it is refused already.
        """
        path, _, query = head.target.partition(b"?")
        route = self._route(head, path)
        if route is None:
            return None
        if isinstance(route, Refusal) or b"#" in query:
            return Extraction(RefusalFormat.REST, (Call(refusal=AMBIGUOUS_PATH),))
        if route.shape is RefusalFormat.RPC:
            return _RPC_PLAN
        return _BODY_PLAN if route.reads_body and self._reads_bodies else _HEAD_PLAN

    def read(self, head: Head, body: bytes) -> Extraction:
        """Read a request that has a plan; `body` is decoded, and empty where the plan does not need it."""
        path, _, query = head.target.partition(b"?")
        route = self._route(head, path)
        if not isinstance(route, Route):
            return Extraction(RefusalFormat.REST, (Call(refusal=route),))
        if route.shape is RefusalFormat.RPC:
            return self._mcp.read(head.headers, body, lambda: self._outside.read({}, head.headers, query))
        try:
            reference = self._reference(head, route, query, body)
        except RequestRefused as refusal:
            return Extraction(RefusalFormat.REST, (Call(refusal=refusal.refuse),))
        return Extraction(RefusalFormat.REST, (Call(reference),))

    def prepare(self, head: Head) -> Prepared:
        """Give what reads any body that comes with this head: what the head says is read once."""
        path, _, query = head.target.partition(b"?")
        route = self._route(head, path)
        if not isinstance(route, Route) or not (route.reads_body and self._reads_bodies):
            return Prepared()
        try:
            outside = self._outside.read(route.captured, head.headers, query)
            form = declared_form(head.headers)
        except RequestRefused:
            return Prepared()
        said = tuple((outside.everything() if outside.query else outside.claims).items())
        has_plain = self._has_plain and not any(values for name, values in said if name != REQUIRED_IF)
        if route.shape is RefusalFormat.RPC:
            return Prepared(self._plain_call.read if has_plain else None)
        kind, users = route.kind, outside.users

        def find(body: bytes) -> Reference | None:
            claims = {name: values.copy() for name, values in said}
            self._add_body(claims, form, body)
            return self._judge.resolve_ids(claims, kind, users)

        return Prepared(self._plain.read if has_plain and form is None else None, find)

    def _route(self, head: Head, path: bytes) -> Route | Refusal | None:
        route = self._router.route(head.method, path)
        if route is None and wants_upgrade(head.headers):
            return self._router.upgrade_route(path)
        return route

    def _reference(self, head: Head, route: Route, query: bytes, body: bytes) -> Reference | None:
        outside = self._outside.read(route.captured, head.headers, query)
        claims = outside.everything() if outside.query else outside.claims
        if body and route.reads_body and self._reads_bodies:
            self._add_body(claims, declared_form(head.headers), body)
        return self._judge.resolve_ids(claims, route.kind, outside.users)

    def _add_body(self, claims: Candidates, form: Form | None, body: bytes) -> None:
        """A body is read as JSON whatever it claims to be, and as the form that it claims to be."""
        try:
            value = self._json.read(body)
        except RequestRefused:
            if form is None or not form.declared or _LOOKS_LIKE_JSON(body):
                raise
            self._add_form(claims, form, body)
            return
        self._members.claim(claims, value)
        if form is None:
            return
        if form.boundary is None:
            self._add_form(claims, form, body, strict=False)
        elif b"--" + form.boundary in body:
            unreadable("The body is JSON, and contains the boundary of the multipart form that it is declared to be.")

    def _add_form(self, claims: Candidates, form: Form, body: bytes, *, strict: bool = True) -> None:
        if form.boundary is None:
            fields = read_urlencoded(body, self._form_names, strict=strict)
        else:
            fields = read_multipart(body, form.boundary, self._form_names)
        for name, own in self._forms:
            claims[name].extend(fields[field] for field in own if field in fields)


_RPC_PLAN = Classification(RefusalFormat.RPC, needs_body=True)
_BODY_PLAN = Classification(RefusalFormat.REST, needs_body=True)
_HEAD_PLAN = Classification(RefusalFormat.REST, needs_body=False)
