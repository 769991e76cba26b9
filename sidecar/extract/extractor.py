"""The extractor turns a request into references to sessions, or into the reason why it cannot.

It classifies the head first and, where that is not enough, extracts from the decoded body. It refuses what two readers
of the same bytes could read in two ways, so that the guard checks the id that the memory service will use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sidecar.extract.coded_body import check_coded
from sidecar.extract.form.content_type import Form, declared_form
from sidecar.extract.head_candidates import Candidates, HeadCandidates, HeadReader
from sidecar.extract.id_resolver import IdResolver
from sidecar.extract.ids import IdFormat
from sidecar.extract.json.flat_json import FlatCallExtractor, FlatJsonExtractor, has_flat_bodies
from sidecar.extract.json.list_elements import resolve_elements
from sidecar.extract.mcp import McpReader
from sidecar.extract.refused import RequestRefused
from sidecar.extract.rest_body import RestBodyReader
from sidecar.extract.routing import AMBIGUOUS_PATH, Router, wants_upgrade
from sidecar.model import Call, Extraction, Head, Reference, Refusal, RefusalFormat, RuleKind
from sidecar.profile.profile import REQUIRED_IF, Profile
from sidecar.profile.rules import PathRule


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
        demanded = IdFormat(id_format)
        self._router = Router(profile)
        self._outside = HeadReader(profile, user_header)
        self._resolver = IdResolver(profile, id_format=demanded, user_header=user_header)
        self._bodies = RestBodyReader(profile)
        self._mcp = McpReader(profile, self._resolver)
        self._has_flat = has_flat_bodies(profile) and user_header is None
        self._flat = FlatJsonExtractor(profile, self._bodies.json, demanded)
        self._flat_call = FlatCallExtractor(profile, self._mcp.json, demanded, self._mcp.kind)

    def classify(self, head: Head) -> Classification | None:
        """Say what the head alone says; None where no rule looks at the request and it passes unread."""
        path, _, query = head.target.partition(b"?")
        route = self._router.route(head.method, path)
        if route is None and wants_upgrade(head.headers):
            route = self._router.upgrade_route(path)
        if route is None:
            return None
        if isinstance(route, Refusal) or b"#" in query:
            found = _refused(AMBIGUOUS_PATH)
            return Classification(RefusalFormat.REST, lambda _body: found, needs_body=False)
        try:
            outside: HeadCandidates | Refusal = self._outside.read(route.captured, head.headers, query)
        except RequestRefused as refused:
            outside = refused.refuse
        is_rpc = route.shape is RefusalFormat.RPC
        extract = self._rpc_body(head, outside) if is_rpc else self._rest_body(head, outside, route.kind)
        if is_rpc or (route.reads_body and self._bodies.is_needed):
            headers, names = head.headers, self._bodies.field_names
            return Classification(
                route.shape,
                extract,
                needs_body=True,
                after=route.after,
                check_coded=lambda raw, content: check_coded(raw, content, headers, names),
            )
        found = extract(b"")
        return Classification(RefusalFormat.REST, lambda _body: found, needs_body=False, after=route.after)

    def has_rule(self, head: Head) -> bool:
        """Whether a rule of the profile matches the request, if only to let it pass."""
        return self._router.has_rule(head.method, head.target.partition(b"?")[0])

    def _rest_body(
        self, head: Head, outside: HeadCandidates | Refusal, kind: RuleKind
    ) -> Callable[[bytes], Extraction]:
        """Prepare to extract from any body that comes with the head, an empty one included."""
        if isinstance(outside, Refusal):
            found = _refused(outside)
            return lambda _body: found
        form = _form_of(head)
        said = tuple(outside.everything().items())
        flat = self._flat.read if self._has_flat and form is None and not _names_anything(said) else None

        def extract(body: bytes) -> Extraction:
            if flat is not None and (found := flat(body, kind)) is not None:
                return found
            candidates = {name: values.copy() for name, values in said}
            elements: Sequence[Candidates] = ()
            try:
                if body:
                    if isinstance(form, Refusal):
                        return _refused(form)
                    elements = self._bodies.claim(candidates, form, body)
                if elements:
                    return _rest(*resolve_elements(self._resolver, candidates, elements, kind, outside))
                return _rest(self._resolver.resolve_ids(candidates, kind, outside))
            except RequestRefused as refused:
                return _refused(refused.refuse)

        return extract

    def _rpc_body(self, head: Head, outside: HeadCandidates | Refusal) -> Callable[[bytes], Extraction]:
        """Prepare to extract from any MCP message that comes with the head."""
        silent = (
            isinstance(outside, HeadCandidates) and not outside.query and not _names_anything(outside.claims.items())
        )
        has_clear_type = not isinstance(_form_of(head), Refusal)
        flat = self._flat_call.read if self._has_flat and silent and has_clear_type else None

        def extract(body: bytes) -> Extraction:
            if flat is not None and (found := flat(body)) is not None:
                return found
            return self._mcp.read(head.headers, body, outside)

        return extract


class NothingGuarded:
    """The extractor of mode `off`: no rule looks at any request."""

    def classify(self, _head: Head) -> None:
        """Say that the request passes unread."""

    def has_rule(self, _head: Head) -> bool:
        """Say that the request passes by rule."""
        return True


def _rest(*references: Reference | None) -> Extraction:
    return Extraction(RefusalFormat.REST, tuple(map(Call, references)) or (Call(),))


def _refused(refusal: Refusal) -> Extraction:
    return Extraction(RefusalFormat.REST, (Call(refusal=refusal),))


def _form_of(head: Head) -> Form | Refusal | None:
    """The form that a body is declared to be, or why that cannot be said."""
    try:
        return declared_form(head.headers)
    except RequestRefused as refused:
        return refused.refuse


def _names_anything(said: Iterable[tuple[str, list[object]]]) -> bool:
    """Whether candidates name anything that a body could contradict."""
    return any(values for name, values in said if name != REQUIRED_IF)
