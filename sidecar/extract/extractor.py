"""The extractor turns a request into references to sessions, or into the reason why it cannot.

It classifies the head first and, where that is not enough, extracts from the decoded body. It refuses what two readers
of the same bytes could read in two ways, so that the guard checks the id that the memory service will use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from sidecar.extract.coded_body import check_coded
from sidecar.extract.form.content_type import Form, declared_form
from sidecar.extract.form.field_names import FieldNames
from sidecar.extract.form.form_fields import read_urlencoded
from sidecar.extract.form.multipart import read_multipart
from sidecar.extract.head_candidates import Candidates, HeadCandidates, HeadReader
from sidecar.extract.id_resolver import IdResolver
from sidecar.extract.ids import IdFormat
from sidecar.extract.json.flat_json import FlatCallExtractor, FlatJsonExtractor, has_flat_bodies
from sidecar.extract.json.json_paths import JsonPathExtractor
from sidecar.extract.json.list_elements import resolve_elements
from sidecar.extract.json.strict_json import JsonReader
from sidecar.extract.mcp import McpReader
from sidecar.extract.refused import RequestRefused, unreadable
from sidecar.extract.routing import AMBIGUOUS_PATH, Route, Router, wants_upgrade
from sidecar.model import Call, Extraction, Head, Reference, Refusal, RefusalFormat
from sidecar.profile.profile import REQUIRED_IF, Profile
from sidecar.profile.rules import PathRule

_LOOKS_LIKE_JSON = re.compile(rb"[\xef\xbb\xbf\xff\xfe\x00 \t\r\n]*\{").match


class Classification:
    """What the head of a guarded request says: how to write a refusal, and what extracts the references.

    `extract` takes the decoded body, empty where `needs_body` is false, and parses it once. A classification depends on
    nothing but the head, so it serves every request that repeats the head. With `after`, the request is forwarded at
    once and that rule acts on its answer. `check_coded` raises RequestRefused for a body that says something
    else before its content coding is undone.
    """

    __slots__ = ("_check_coded", "after", "extract", "needs_body", "refusal_format")

    def __init__(
        self,
        refusal_format: RefusalFormat,
        extract: Callable[[bytes], Extraction],
        *,
        needs_body: bool,
        after: PathRule | None = None,
        check_coded: Callable[[bytes, bytes], None] | None = None,
    ) -> None:
        self.after = after
        self.refusal_format = refusal_format
        self.extract = extract
        self.needs_body = needs_body
        self._check_coded = check_coded

    def extract_coded(self, raw: bytes, content: bytes) -> Extraction:
        """Extract from `content`, which is `raw` or what undoing the content coding of `raw` gave."""
        if raw is not content and self._check_coded is not None:
            try:
                self._check_coded(raw, content)
            except RequestRefused as refused:
                return Extraction(self.refusal_format, (Call(refusal=refused.refuse),))
        return self.extract(content)


class Extractor:
    """Extracts references by one profile.

    `id_format` is what is demanded of ids (`opaque` or `uuid`), `user_header` the header that alone names the owner,
    set by a gateway in front. The extractor has no state but what it remembers of paths, and never waits.
    """

    def __init__(self, profile: Profile, *, id_format: str = IdFormat.OPAQUE, user_header: str | None = None) -> None:
        members = JsonPathExtractor(profile)
        paths = [path for places in profile.places.values() for path in places.json]
        fields = [field for places in profile.places.values() for field in places.form]
        demanded = IdFormat(id_format)
        resolver = IdResolver(profile, id_format=demanded, user_header=user_header)
        self._members = members
        self._forms = tuple((name, places.form) for name, places in profile.places.items())
        self._reads_bodies = bool(members.keys or fields)
        self._router = Router(profile)
        self._outside = HeadReader(profile, user_header)
        self._resolver = resolver
        self._json = JsonReader(members.keys)
        self._form_names = FieldNames(fields, paths)
        self._mcp = McpReader(profile, resolver)
        self._has_flat = has_flat_bodies(profile) and user_header is None
        self._flat = FlatJsonExtractor(profile, self._json, demanded)
        self._flat_call = FlatCallExtractor(profile, self._mcp.json, demanded, self._mcp.kind)

    def classify(self, head: Head) -> Classification | None:
        """Say what the head alone says; None where no rule looks at the request and it passes unread."""
        path, _, query = head.target.partition(b"?")
        route = self._route(head, path)
        if route is None:
            return None
        if isinstance(route, Refusal) or b"#" in query:
            return _refused(AMBIGUOUS_PATH)
        if route.shape is RefusalFormat.RPC or (route.reads_body and self._reads_bodies):
            headers, is_rpc = head.headers, route.shape is RefusalFormat.RPC
            extract = self._rpc_body(head, query) if is_rpc else self._rest_body(head, route, query)
            return Classification(
                route.shape,
                extract,
                needs_body=True,
                after=route.after,
                check_coded=lambda raw, content: check_coded(raw, content, headers, self._form_names),
            )
        extract = self._rest_head(head, route, query)
        return Classification(RefusalFormat.REST, extract, needs_body=False, after=route.after)

    def has_rule(self, head: Head) -> bool:
        """Whether a rule of the profile matches the request, if only to let it pass."""
        return self._router.has_rule(head.method, head.target.partition(b"?")[0])

    def _rest_head(self, head: Head, route: Route, query: bytes) -> Callable[[bytes], Extraction]:
        try:
            outside = self._outside.read(route.captured, head.headers, query)
            candidates = outside.everything() if outside.query else outside.claims
            found = _rest(self._resolver.resolve_ids(candidates, route.kind, outside))
        except RequestRefused as refused:
            found = _rest_refused(refused)
        return lambda _body: found

    def _rest_body(self, head: Head, route: Route, query: bytes) -> Callable[[bytes], Extraction]:
        """Read the head once, for any body that comes with it."""
        unclear: Extraction | None = None
        form: Form | None = None
        try:
            outside = self._outside.read(route.captured, head.headers, query)
        except RequestRefused as refused:
            found = _rest_refused(refused)
            return lambda _body: found
        try:
            form = declared_form(head.headers)
        except RequestRefused as refused:
            unclear = _rest_refused(refused)
        said = tuple((outside.everything() if outside.query else outside.claims).items())
        kind = route.kind
        is_flat = self._has_flat and form is None and unclear is None and not _names_anything(said)
        flat = self._flat.read if is_flat else None

        def extract(body: bytes) -> Extraction:
            if flat is not None and (call := flat(body, kind)) is not None:
                return Extraction(RefusalFormat.REST, (call,))
            if body and unclear is not None:
                return unclear
            candidates = {name: values.copy() for name, values in said}
            try:
                elements = self._add_body(candidates, form, body) if body else ()
                if elements:
                    return _rest(*resolve_elements(self._resolver, candidates, elements, kind, outside))
                return _rest(self._resolver.resolve_ids(candidates, kind, outside))
            except RequestRefused as refused:
                return _rest_refused(refused)

        return extract

    def _rpc_body(self, head: Head, query: bytes) -> Callable[[bytes], Extraction]:
        try:
            outside: HeadCandidates | Refusal = self._outside.read({}, head.headers, query)
        except RequestRefused as refused:
            outside = refused.refuse
        silent = (
            isinstance(outside, HeadCandidates) and not outside.query and not _names_anything(outside.claims.items())
        )
        flat = self._flat_call.read if self._has_flat and silent and _has_clear_type(head) else None

        def extract(body: bytes) -> Extraction:
            if flat is not None and (call := flat(body)) is not None:
                return Extraction(RefusalFormat.RPC, (call,))
            return self._mcp.read(head.headers, body, outside)

        return extract

    def _route(self, head: Head, path: bytes) -> Route | Refusal | None:
        route = self._router.route(head.method, path)
        if route is None and wants_upgrade(head.headers):
            return self._router.upgrade_route(path)
        return route

    def _add_body(self, claims: Candidates, form: Form | None, body: bytes) -> Sequence[Candidates]:
        """Every body is read as JSON, and one that claims to be a form is read as that form too.

        Gives what the elements of its lists name.
        """
        try:
            value = self._json.read(body)
        except RequestRefused:
            if form is None or not form.declared or _LOOKS_LIKE_JSON(body):
                raise
            self._add_form(claims, form, body)
            return ()
        self._members.claim_plain(claims, value)
        if form is not None and form.boundary is None:
            self._add_form(claims, form, body, strict=False)
        elif form is not None and form.boundary is not None and b"--" + form.boundary in body:
            unreadable("The body is JSON, and contains the boundary of the multipart form that it is declared to be.")
        return list(self._members.elements(value)) if self._members.has_lists else ()

    def _add_form(self, claims: Candidates, form: Form, body: bytes, *, strict: bool = True) -> None:
        if form.boundary is None:
            fields = read_urlencoded(body, self._form_names, strict=strict)
        else:
            fields = read_multipart(body, form.boundary, self._form_names)
        for name, own in self._forms:
            claims[name].extend(fields[field] for field in own if field in fields)


class NothingGuarded:
    """The extractor of mode `off`: no rule looks at any request."""

    def classify(self, _head: Head) -> None:
        """Say that the request passes unread."""

    def has_rule(self, _head: Head) -> bool:
        """Say that the request passes by rule."""
        return True


def _rest(*references: Reference | None) -> Extraction:
    return Extraction(RefusalFormat.REST, tuple(map(Call, references)) or (Call(),))


def _rest_refused(refused: RequestRefused) -> Extraction:
    return Extraction(RefusalFormat.REST, (Call(refusal=refused.refuse),))


def _refused(refusal: Refusal) -> Classification:
    found = Extraction(RefusalFormat.REST, (Call(refusal=refusal),))
    return Classification(RefusalFormat.REST, lambda _body: found, needs_body=False)


def _names_anything(said: Iterable[tuple[str, list[object]]]) -> bool:
    """Whether candidates name anything that a body could contradict."""
    return any(values for name, values in said if name != REQUIRED_IF)


def _has_clear_type(head: Head) -> bool:
    """Whether the media type can be read; where it cannot, the full extraction refuses."""
    try:
        declared_form(head.headers)
    except RequestRefused:
        return False
    return True
