"""What would happen to a request and why, worked out by the parts that decide requests, without sending anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from sidecar.doors.body.bounded_body import too_large
from sidecar.doors.body.content_coding import coding_of, decode
from sidecar.doors.refusal import STATUS
from sidecar.extract.extractor import Classification, Extractor
from sidecar.extract.refused import RequestRefused
from sidecar.extract.request_path import is_under, read_path, without_origin
from sidecar.extract.routing import match_paths, wants_upgrade
from sidecar.model import Call, Head, Reference, Refusal, RuleKind
from sidecar.profile.profile import SESSION, Profile
from sidecar.profile.rules import LOOKED_AT, AnyRule, PathRule, ToolRule, UpgradeRule
from sidecar.profile.templates import Segments, compile_globs
from sidecar.settings import Settings
from sidecar.tools.explain.places import Place, json_of, places_of, similar_names, value_at

_WANTS: Final[Mapping[RuleKind, str]] = {
    RuleKind.ENSURE: "forwarded once the session exists for its user; it is created where it is missing",
    RuleKind.REQUIRE: "forwarded if the session exists for its user, refused (404 session_not_found) if it does not",
    RuleKind.RECOVER: "forwarded at once; if the answer says that the session is missing, it is created and "
    "the request sent again",
    RuleKind.FORGET: "forwarded at once; if the answer is a success, the session is noted as deleted",
}


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """A rule, where it stands, and why it matched or did not."""

    rule: str
    where: str
    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of one call: `passed`, `admitted` (perhaps on a condition, in `why`) or `refused`."""

    outcome: str
    why: str
    reason: str | None = None
    status: int | None = None


@dataclass(slots=True)
class Explanation:
    """All that there is to say about a request. `calls` are the calls behind `outcomes`, in order."""

    request: str
    outcomes: list[Outcome] = field(default_factory=list)
    rules: list[RuleVerdict] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        return any(outcome.outcome == "refused" for outcome in self.outcomes)


def explain_request(settings: Settings, head: Head, body: bytes) -> Explanation:
    """Classify a request, extract from it, and note what was looked at on the way."""
    profile = settings.profile
    classification = Extractor(profile, id_format=settings.id_format, user_header=settings.user_header).classify(head)
    segments = read_path(without_origin(head.target.partition(b"?")[0]))
    is_mcp = segments is not None and any(is_under(segments, prefix) for prefix in profile.mcp)
    explanation = Explanation(f"{head.method} {head.target.decode('latin-1')}")
    captured: Mapping[str, str] = {}
    seen = b""
    if classification is not None:
        seen, explanation.calls = _read(classification, head, body, settings.max_body)
    if is_mcp and head.method in LOOKED_AT:
        explanation.rules = list(_tool_rules(profile, json_of(seen)))
    else:
        explanation.rules, captured = _path_rules(profile, head, segments)
    if classification is None:
        explanation.outcomes = [Outcome("passed", _why_unguarded(profile, head, segments, explanation.rules))]
        return explanation
    explanation.places = list(places_of(settings, head, captured, seen, is_mcp=is_mcp))
    explanation.outcomes = [
        _outcome(classification, call, explanation.places, head, seen) for call in explanation.calls
    ]
    explanation.sessions = [
        _session(profile, call.reference) for call in explanation.calls if call.reference is not None
    ]
    return explanation


def _read(classification: Classification, head: Head, body: bytes, limit: int) -> tuple[bytes, list[Call]]:
    """Read a body within bounds as the proxy does; gives it without its content coding, and the calls in it."""
    if not classification.needs_body:
        return b"", list(classification.extract(b"").calls)
    if len(body) > limit:
        return b"", [Call(refusal=too_large(limit))]
    try:
        content = decode(body, coding_of(head.headers), limit=limit)
    except RequestRefused as refusal:
        return b"", [Call(refusal=refusal.refuse)]
    return content, list(classification.extract_coded(body, content).calls)


def _session(profile: Profile, reference: Reference) -> dict[str, Any]:
    ids: dict[str, Any] = {"session_id": reference.session_id, "user_id": reference.user_id}
    return ids | dict(zip(profile.scope, reference.scope, strict=True)) | dict(reference.variables)


def refused(refusal: Refusal) -> Outcome:
    """A refusal as an outcome."""
    return Outcome("refused", refusal.detail, refusal.reason.value, STATUS[refusal.reason])


def _outcome(classification: Classification, call: Call, places: list[Place], head: Head, body: bytes) -> Outcome:
    if call.refusal is not None and classification.after is None:
        return refused(call.refusal)
    if call.reference is None:
        return Outcome("passed", _why_no_session(places, head, body) if call.refusal is None else call.refusal.detail)
    return Outcome("passed" if classification.after is not None else "admitted", _WANTS[call.reference.kind])


def _why_no_session(places: list[Place], head: Head, body: bytes) -> str:
    looked = [place.where for place in places if place.name == SESSION]
    text = f"no session id at {', '.join(looked)}" if looked else "no place for a session id"
    similar = similar_names(head, body, places)
    if similar:
        names = ", ".join(f"`{name}`" for name in similar)
        text += f"; a similar name {names} is there" if len(similar) == 1 else f"; similar names {names} are there"
    return text


def _why_unguarded(profile: Profile, head: Head, segments: Segments | None, rules: list[RuleVerdict]) -> str:
    """Why no rule looks at a request."""
    matched = next((rule for rule in rules if rule.matched), None)
    if matched is not None:
        return f"rule {matched.where} lets it pass"
    prefixes = profile.prefixes + profile.mcp
    if segments is None or not any(is_under(segments, prefix) for prefix in prefixes):
        return f"the path is under no prefix of the profile ({', '.join('/' + '/'.join(one) for one in prefixes)})"
    about_path = [rule for rule in rules if rule.why.startswith("another method:")]
    return f"no rule for {head.method}" if about_path or not rules else "no rule for this path"


def _path_rules(profile: Profile, head: Head, segments: Segments | None) -> tuple[list[RuleVerdict], Mapping[str, str]]:
    """Every rule that is about paths, the first that matches decides; and what that one captures."""
    verdicts: list[RuleVerdict] = []
    captured: Mapping[str, str] | None = None
    for rule in profile.rules:
        if isinstance(rule, ToolRule):
            continue
        found = None if segments is None else match_paths(rule.paths, rule.kind, segments)
        matched = False
        if segments is None:
            why = "the path can be read in two ways"
        elif isinstance(rule, UpgradeRule) and not wants_upgrade(head.headers):
            why = "it is about upgrades"
        elif isinstance(rule, PathRule) and head.method not in rule.methods:
            why = "another method and path" if found is None else f"another method: {', '.join(rule.methods)}"
        elif found is None:
            why = "another path"
        elif captured is not None:
            why = "an earlier rule matched"
        else:
            why, matched, captured = "the first that matches", True, found
        verdicts.append(_verdict(profile, rule, why, matched=matched))
    return verdicts, captured or {}


def _tool_rules(profile: Profile, content: Any) -> Iterator[RuleVerdict]:
    """Every rule that is about tools; of each tool the first that matches decides."""
    left = list(_tool_names(profile, content))
    for rule in profile.rules:
        if isinstance(rule, ToolRule):
            mine = [name for name in left if compile_globs(rule.tools).fullmatch(name)]
            left = [name for name in left if name not in mine]
            why = f"the first that matches {', '.join(mine)}" if mine else "no call of such a tool"
            yield _verdict(profile, rule, why, matched=bool(mine))


def _tool_names(profile: Profile, content: Any) -> Iterator[str]:
    """The names of the tools that are called; what a meta-tool wraps comes before the meta-tool."""
    meta = profile.meta_tool
    for message in content if isinstance(content, list) else [content]:
        if value_at(message, ("method",)) == "tools/call":
            arguments = value_at(message, ("params", "arguments"))
            while meta is not None and isinstance(name := value_at(arguments, (meta.name,), opens_texts=True), str):
                yield name
                arguments = value_at(arguments, (meta.arguments,), opens_texts=True)
            if isinstance(name := value_at(message, ("params", "name")), str):
                yield name


def _verdict(profile: Profile, rule: AnyRule, why: str, *, matched: bool) -> RuleVerdict:
    name = PurePath(profile.file).name or profile.name
    return RuleVerdict(str(rule), f"{name}:{rule.line}", matched, why)
