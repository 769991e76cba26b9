"""Which rule a request falls under, by its method and path alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sidecar.extract.ids import is_safe
from sidecar.extract.request_path import is_under, possible_readings, read_path, without_origin
from sidecar.model import Headers, Reason, Refusal, RefusalFormat, RuleKind
from sidecar.profile.profile import REQUIRED_IF, Profile
from sidecar.profile.rules import LOOKED_AT, PathRule, UpgradeRule
from sidecar.profile.templates import Segments, Template

MOST_REMEMBERED: Final = 4096
_LONGEST_REMEMBERED: Final = 256

AMBIGUOUS_PATH: Final = Refusal(
    Reason.AMBIGUOUS_PATH, "The path can be read in two ways, and one of them leads to where sessions are guarded."
)


@dataclass(frozen=True, slots=True)
class Route:
    """A guarded request: how it is answered, what its rule wants, the ids in its path, and if its body matters.

    `after` is the rule of a request that is forwarded at once: it acts on the answer.
    """

    shape: RefusalFormat
    kind: RuleKind
    captured: Mapping[str, str]
    reads_body: bool = True
    after: PathRule | None = None


class Router:
    """Finds routes and remembers them for short paths, as many as fit; then it starts anew."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._methods = profile.methods
        self._path_rules = [rule for rule in profile.rules if isinstance(rule, PathRule)]
        self._upgrade_rules = [rule for rule in profile.rules if isinstance(rule, UpgradeRule)]
        self._prefixes = profile.prefixes + profile.mcp
        self._remembered: dict[tuple[str, bytes], Route | Refusal | None] = {}

    def route(self, method: str, path: bytes) -> Route | Refusal | None:
        """The route of a request that asks for no upgrade; None where there is nothing to guard.

        `path` is the target without its query.
        """
        if method not in self._methods and method.upper() not in self._methods:
            return None
        key = (method, path)
        try:
            return self._remembered[key]
        except KeyError:
            route = self._find(method.upper(), path)
        if len(path) <= _LONGEST_REMEMBERED:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = route
        return route

    def has_rule(self, method: str, path: bytes) -> bool:
        """Whether a rule of the profile matches such a request, if only to let it pass. Nothing is remembered."""
        segments = read_path(without_origin(path))
        return segments is not None and (
            any(is_under(segments, prefix) for prefix in self._profile.mcp)
            or any(
                method.upper() in rule.methods and match_paths(rule.paths, rule.kind, segments) is not None
                for rule in self._path_rules
            )
        )

    def upgrade_route(self, path: bytes) -> Route | Refusal | None:
        """The route of a request that asks for an upgrade."""
        segments = self._segments(path) if self._upgrade_rules else None
        if segments is None or isinstance(segments, Refusal):
            return segments
        for rule in self._upgrade_rules:
            captured = match_paths(rule.paths, rule.kind, segments)
            if captured is not None:
                return (
                    None
                    if rule.kind is RuleKind.PASS
                    else Route(RefusalFormat.REST, rule.kind, captured, reads_body=False)
                )
        return None

    def _find(self, method: str, path: bytes) -> Route | Refusal | None:
        segments = self._segments(path)
        if segments is None or isinstance(segments, Refusal):
            return segments
        if any(is_under(segments, prefix) for prefix in self._profile.mcp):
            return Route(RefusalFormat.RPC, RuleKind.ENSURE, {}) if method in LOOKED_AT else None
        for rule in self._path_rules:
            captured = match_paths(rule.paths, rule.kind, segments) if method in rule.methods else None
            if captured is not None:
                return None if rule.kind is RuleKind.PASS else _rest_route(rule, captured)
        return None

    def _segments(self, target: bytes) -> Segments | Refusal | None:
        """The path's only reading if it is guarded, a refusal if it has more and any of them is, else None."""
        path = without_origin(target)
        segments = read_path(path)
        if segments is not None:
            return segments if self._is_guarded(segments) else None
        return AMBIGUOUS_PATH if any(map(self._is_guarded, possible_readings(path))) else None

    def _is_guarded(self, segments: Segments) -> bool:
        return any(is_under(segments, prefix) for prefix in self._prefixes)


def _rest_route(rule: PathRule, captured: Mapping[str, str]) -> Route:
    if rule.kind in (RuleKind.RECOVER, RuleKind.FORGET):
        reads_body = rule.kind is RuleKind.RECOVER
        return Route(RefusalFormat.REST, rule.kind, captured, reads_body=reads_body, after=rule)
    needed = rule.session_required_if
    if needed is not None and needed.equals is not None:
        captured = {**captured, REQUIRED_IF: needed.equals}
    return Route(RefusalFormat.REST, rule.kind, captured)


def wants_upgrade(headers: Headers) -> bool:
    """Whether the request asks for another protocol than HTTP/2, which is never passed on."""
    for name, value in headers:
        if name == b"upgrade" and any(token.strip().lower() not in (b"", b"h2c") for token in value.split(b",")):
            return True
    return False


def match_paths(paths: Sequence[Template], kind: RuleKind, segments: Segments) -> Mapping[str, str] | None:
    """What the first template that matches captures.

    A pass is a permission, so its literals must be written exactly and its ids well: a spelling that only some
    routers take for it falls through to the rules that guard.
    """
    exact = kind is RuleKind.PASS
    for template in paths:
        captured = template.match(segments, exact=exact)
        if captured is not None and not (exact and not all(map(is_safe, captured.values()))):
            return captured
    return None
