"""A profile: which requests write to a session, where the ids stand in them, and how the session service is asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema

from sidecar.profile.field_types import STRICT, FieldName, matching, parsed_by
from sidecar.profile.reachability import unreachable
from sidecar.profile.rules import LOOKED_AT, AnyRule, PathRule, RuleKind, UpgradeRule
from sidecar.profile.session_api import SessionApi, read_session_api
from sidecar.profile.templates import JsonPath, Segments, parse_json_path, parse_template

SESSION: Final = "session_id"
USER: Final = "user_id"
REQUIRED_IF: Final = "session_required_if"
"""Among the watched names: the value that makes a session id necessary, as a rule demands it and as a body has it."""

_NAME = re.compile(rf"(?!(?:{SESSION}|{REQUIRED_IF}|credentials)\Z)[a-z][a-z0-9_]*").fullmatch


class Owner(StrEnum):
    """Whether a session has an owner: always, so that a write must name it; perhaps; or never."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


class IdGrammar(StrEnum):
    """Which ids there may be: those of the safe grammar, or any text without control characters and slashes."""

    SAFE = "safe"
    TEXT = "text"


class AfterDelete(StrEnum):
    """What becomes of a write to a session that was deleted through the sidecar and has left no trace."""

    REFUSE = "refuse"
    RECREATE = "recreate"


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("a name stands there twice: different names are allowed")
    return names


def _prefix(text: str) -> Segments:
    template = parse_template(text)
    if template.names or "*" in text:
        raise ValueError(f"{text!r} is not a prefix: only literal segments are allowed")
    return tuple(segment.casefold() for segment in template.segments)


Name: TypeAlias = Annotated[
    StrictStr, matching(_NAME, "a name: lower-case letters, digits and _ are allowed, not session_id")
]
Prefixes: TypeAlias = tuple[Annotated[Segments, parsed_by(_prefix)], ...]


@dataclass(frozen=True, slots=True, config=STRICT)
class Places:
    """Where one id may stand, besides the path: JSON paths, form fields, query fields, header names in lower case.

    `default` is the value where no place has one; a session or user id has none.
    """

    json: tuple[Annotated[JsonPath, parsed_by(parse_json_path)], ...] = ()
    form: tuple[FieldName, ...] = ()
    query: tuple[FieldName, ...] = ()
    header: tuple[Annotated[FieldName, AfterValidator(str.lower)], ...] = ()
    default: StrictStr | None = None


@dataclass(frozen=True, slots=True, config=STRICT)
class MetaTool:
    """The two arguments in which a meta-tool carries the call it wraps: the inner tool's name and its arguments."""

    name: StrictStr
    arguments: StrictStr


def _places(places: Mapping[str, Places], info: ValidationInfo) -> Mapping[str, Places]:
    if "scope" not in info.data:
        return places
    allowed = {SESSION, USER, *info.data["scope"]}
    for name, one in places.items():
        if name not in allowed:
            raise ValueError(f"{name} is unknown; allowed here: {', '.join(sorted(allowed))}")
        if one.default is not None and name in (SESSION, USER):
            raise ValueError(f"{name} cannot have a default")
    return places


def _tells_owners(service: SessionApi, info: ValidationInfo) -> SessionApi:
    """Refuse a service whose answers name no owner, where the guard needs it."""
    owner = info.data.get("owner")
    if service.owner_field is not None or owner in (None, Owner.NONE):
        return service
    if owner is Owner.OPTIONAL:
        raise ValueError('owner_field is missing: with owner = "optional" it tells which sessions have no owner')
    if USER not in service.look.names and not service.credentials:
        raise ValueError("owner_field is missing, and look does not contain {user_id}: any user would be the owner")
    return service


def _variables(variables: Mapping[str, Places], info: ValidationInfo) -> Mapping[str, Places]:
    for name in variables:
        if name in (USER, *info.data.get("scope", ())):
            raise ValueError(f"{name} cannot be a variable: it is a part of what a session is known by")
    return variables


@dataclass(frozen=True, slots=True, config=STRICT)
class Profile:
    """Everything that differs from one memory service to the next.

    `prefixes` are the guarded parts of the memory service and `mcp` those where MCP is spoken, in folded case.
    `scope` are the names that make a session id unique together with it. `places` has an entry for `session_id`,
    `user_id` and each name of `scope`. `variables` are further values for the templates of the session service's calls;
    they do not tell sessions apart. Of the rules of one kind the first that matches decides; none means pass.
    """

    name: StrictStr
    prefixes: Prefixes
    owner: Owner
    service: Annotated[SessionApi, BeforeValidator(read_session_api), AfterValidator(_tells_owners)] = Field(
        validation_alias="session_service"
    )
    summary: StrictStr = ""
    mcp: Prefixes = ()
    scope: Annotated[tuple[Name, ...], AfterValidator(_different)] = ()
    places: Annotated[Mapping[StrictStr, Places], AfterValidator(_places)] = Field(
        default_factory=dict, validation_alias="ids"
    )
    variables: Annotated[Mapping[Name, Places], AfterValidator(_variables)] = Field(default_factory=dict)
    meta_tool: MetaTool | None = None
    rules: tuple[AnyRule, ...] = ()
    id_grammar: IdGrammar = IdGrammar.SAFE
    after_delete: AfterDelete = AfterDelete.RECREATE
    file: SkipJsonSchema[str] = dataclasses.field(default="", init=False, compare=False)

    @model_validator(mode="before")
    @classmethod
    def _names_everything(cls, data: Any) -> Any:
        """Give every id its places, also where the profile says nothing of them."""
        if not isinstance(data, dict):
            return data
        names = (SESSION, USER, *_strings(data.get("scope", ())))
        written = data.get("ids", {})
        if not isinstance(written, dict):
            return data
        return {**data, "ids": {name: written.get(name, {}) for name in names} | written}

    @property
    def watched(self) -> Mapping[str, Places]:
        """The places of everything that is read in requests: ids, variables, and what makes a session id necessary."""
        needed = [rule.session_required_if for rule in self.rules if isinstance(rule, PathRule)]
        pointers = dict.fromkeys(pattern.at for pattern in needed if pattern is not None)
        conditions = Places(json=tuple(tuple(at.split("/")[1:]) for at in pointers))
        return {**self.places, **self.variables, **({REQUIRED_IF: conditions} if pointers else {})}

    @property
    def session_names(self) -> frozenset[str]:
        """The keys and fields by which requests name a session: the last key of a JSON path, form and query fields."""
        places = self.places[SESSION]
        keys = (path[-1].removesuffix("[]") for path in places.json)
        return frozenset((*keys, *places.form, *places.query))

    @property
    def literals(self) -> frozenset[str]:
        """The segments that its paths spell out: none of them is an id of a request."""
        by_path = [rule for rule in self.rules if isinstance(rule, PathRule | UpgradeRule)]
        templates = [template.segments for rule in by_path for template in rule.paths]
        segments = {segment for path in (*templates, *self.prefixes, *self.mcp) for segment in path}
        return frozenset(segment for segment in segments if segment.isidentifier() or "-" in segment)

    @property
    def methods(self) -> frozenset[str]:
        """The methods of the requests that are looked at; all others pass, unless they ask for an upgrade."""
        looked_at = [rule for rule in self.rules if isinstance(rule, PathRule) and rule.kind is not RuleKind.PASS]
        methods = frozenset(method for rule in looked_at for method in rule.methods)
        return methods.union(LOOKED_AT) if self.mcp else methods

    @property
    def acts_on_answers(self) -> bool:
        """Whether a rule acts on the answer to a request: one that recovers or forgets."""
        kinds = {rule.kind for rule in self.rules}
        return bool(kinds & {RuleKind.RECOVER, RuleKind.FORGET})

    def unreachable_rules(self) -> list[str]:
        """One sentence, with file and line, for each rule that can never match, in the order of the profile."""
        found = unreachable(self.rules, self.prefixes, self.mcp)
        return [f"{self.file}:{rule.line}: {rule}: {finding}" for rule, finding in found]


def names_of(content: Mapping[str, Any]) -> frozenset[str]:
    """The names that may stand in braces in the templates of a profile that is being read."""
    variables = content.get("variables")
    names = tuple(variables) if isinstance(variables, dict) else ()
    return frozenset({SESSION, USER, *_strings(content.get("scope")), *names})


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
