"""What would happen to a request and why, worked out by the parts that decide requests, without sending anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from sidecar.doors.refusal import STATUS
from sidecar.extract.extractor import Classification, Extractor
from sidecar.extract.routing import match_paths, wants_upgrade
from sidecar.model import Call, Head, Reason, Refusal, RuleKind
from sidecar.profile.paths import is_under, read_path, without_origin
from sidecar.profile.profile import SESSION, Profile
from sidecar.profile.rules import LOOKED_AT, AnyRule, PathRule, ToolRule, UpgradeRule
from sidecar.profile.templates import compile_globs
from sidecar.settings import Settings
from sidecar.tools.explain.places import Place, places_of, similar_names

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
    extractor = Extractor(profile, id_format=settings.id_format, user_header=settings.user_header)
    path = head.target.partition(b"?")[0]
    explanation = Explanation(f"{head.method} {head.target.decode('latin-1')}")
    classification = extractor.classify(head)
    explanation.rules = list(_rules(profile, head, path, body))
    if classification is None:
        explanation.outcomes = [Outcome("passed", _why_unguarded(profile, head, path, explanation.rules))]
        return explanation
    extraction = classification.extract(body if classification.needs_body else b"")
    captured = _captured(profile, head, path)
    explanation.places = list(places_of(profile, head, captured, body if classification.needs_body else b""))
    for call in extraction.calls:
        explanation.calls.append(call)
        explanation.outcomes.append(_outcome(classification, call, explanation.places, head, body))
        if call.reference is not None:
            reference = call.reference
            found: dict[str, Any] = {"session_id": reference.session_id, "user_id": reference.user_id}
            found.update(zip(profile.scope, reference.scope, strict=True))
            explanation.sessions.append(found | dict(reference.variables))
    return explanation


def refused(refusal: Refusal) -> Outcome:
    """A refusal as an outcome."""
    return Outcome("refused", refusal.detail, refusal.reason.value, STATUS[Reason(refusal.reason)])


def _outcome(classification: Classification, call: Call, places: list[Place], head: Head, body: bytes) -> Outcome:
    if call.refusal is not None and classification.after is None:
        return refused(call.refusal)
    if call.reference is None:
        why = call.refusal.detail if call.refusal is not None else _why_no_session(places, head, body)
        return Outcome("passed", why)
    kind = call.reference.kind
    return Outcome("passed" if classification.after is not None else "admitted", _WANTS[kind])


def _why_no_session(places: list[Place], head: Head, body: bytes) -> str:
    looked = [place.where for place in places if place.name == SESSION]
    text = f"no session id at {', '.join(looked)}" if looked else "no place for a session id"
    similar = similar_names(head, body, places)
    if similar:
        names = ", ".join(f"`{name}`" for name in similar)
        text += f"; a similar name {names} is there" if len(similar) == 1 else f"; similar names {names} are there"
    return text


def _why_unguarded(profile: Profile, head: Head, path: bytes, rules: list[RuleVerdict]) -> str:
    """Why no rule looks at a request."""
    matched = next((rule for rule in rules if rule.matched), None)
    if matched is not None:
        return f"rule {matched.where} lets it pass"
    segments = read_path(without_origin(path))
    if segments is None or not any(is_under(segments, prefix) for prefix in profile.prefixes + profile.mcp):
        prefixes = ", ".join("/" + "/".join(prefix) for prefix in profile.prefixes + profile.mcp)
        return f"the path is under no prefix of the profile ({prefixes})"
    about_path = [rule for rule in rules if rule.why.startswith("another method:")]
    return f"no rule for {head.method}" if about_path or not rules else "no rule for this path"


def _rules(profile: Profile, head: Head, path: bytes, body: bytes) -> Iterator[RuleVerdict]:
    """Every rule of the sort that the request is about; the first that matches decides."""
    segments = read_path(without_origin(path))
    is_mcp = segments is not None and any(is_under(segments, prefix) for prefix in profile.mcp)
    if is_mcp and head.method in LOOKED_AT:
        yield from _tool_rules(profile, body)
        return
    decided = False
    for rule in profile.rules:
        why = None if segments is None else _why_not(rule, head, segments)
        if segments is None:
            yield _verdict(profile, rule, matched=False, why="the path can be read in two ways")
        elif why is None and not decided:
            decided = True
            yield _verdict(profile, rule, matched=True, why="the first that matches")
        elif not isinstance(rule, ToolRule):
            yield _verdict(profile, rule, matched=False, why=why or "an earlier rule matched")


def _why_not(rule: AnyRule, head: Head, segments: tuple[str, ...]) -> str | None:
    """Why a rule does not match; None where it does."""
    if isinstance(rule, ToolRule):
        return "it is about MCP tools"
    if isinstance(rule, UpgradeRule) and not wants_upgrade(head.headers):
        return "it is about upgrades"
    if isinstance(rule, PathRule) and head.method not in rule.methods:
        is_path = match_paths(rule.paths, rule.kind, segments) is not None
        return f"another method: {', '.join(rule.methods)}" if is_path else "another method and path"
    if match_paths(rule.paths, rule.kind, segments) is None:
        return "another path"
    return None


def _tool_rules(profile: Profile, body: bytes) -> Iterator[RuleVerdict]:
    names = list(_tool_names(profile, body))
    left = list(names)
    for rule in profile.rules:
        if isinstance(rule, ToolRule):
            mine = [name for name in left if compile_globs(rule.tools).fullmatch(name)]
            left = [name for name in left if name not in mine]
            why = f"the first that matches {', '.join(mine)}" if mine else "no call of such a tool"
            yield _verdict(profile, rule, matched=bool(mine), why=why)


def _tool_names(profile: Profile, body: bytes) -> Iterator[str]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    for message in content if isinstance(content, list) else [content]:
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict) or message.get("method") != "tools/call":
            continue
        arguments = params.get("arguments")
        if profile.meta_tool is not None and isinstance(arguments, dict):
            inner = arguments.get(profile.meta_tool.name)
            if isinstance(inner, str):
                yield inner
        if isinstance(params.get("name"), str):
            yield params["name"]


def _captured(profile: Profile, head: Head, path: bytes) -> Mapping[str, str]:
    """What the matching rule's path captures."""
    segments = read_path(without_origin(path))
    for rule in profile.rules if segments is not None else ():
        if not isinstance(rule, ToolRule) and segments is not None and _why_not(rule, head, segments) is None:
            return match_paths(rule.paths, rule.kind, segments) or {}
    return {}


def _verdict(profile: Profile, rule: AnyRule, *, matched: bool, why: str) -> RuleVerdict:
    name = re.sub(r".*/", "", profile.file) or profile.name
    return RuleVerdict(str(rule), f"{name}:{rule.line}", matched, why)
