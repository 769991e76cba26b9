"""The rules of a profile, for paths, for MCP tools and for upgrades: what each matches and the kind that it gives."""

from __future__ import annotations

import dataclasses
import enum
import http
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, InstanceOf, StrictStr, Tag, model_validator
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema

from sidecar.profile.answer_pattern import AnswerPattern, ValuePattern
from sidecar.profile.field_types import STRICT, matching, parsed_by, with_known_names
from sidecar.profile.templates import Template, parse_template

LOOKED_AT: Final = ("POST", "PUT", "PATCH")
"""The methods that a rule is about when it names none, and the only ones looked at where MCP is spoken."""

METHODS: Final = frozenset(
    [
        *(method.value for method in http.HTTPMethod if method is not http.HTTPMethod.CONNECT),
        *("ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL"),
        *("MOVE", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "QUERY", "REBIND", "REPORT", "SEARCH", "SOURCE"),
        *("SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"),
    ]
)
"""The methods that the HTTP parser accepts and the proxy forwards."""


class RuleKind(enum.StrEnum):
    """What a rule wants of the session a request names."""

    ENSURE = "ensure"
    REQUIRE = "require"
    PASS = "pass"
    RECOVER = "recover"
    """Forward at once; where the answer says that the session is missing, create it and send the request again."""
    FORGET = "forget"
    """Forward; where the answer is a success, the session is deleted."""


Case: TypeAlias = tuple[str, Template | str]
"""A part of what a rule is about: the path templates or globs of two cases are compared where their words are equal."""
GuardKind: TypeAlias = Literal[RuleKind.ENSURE, RuleKind.REQUIRE, RuleKind.PASS]


# A name in a path that stands for no id would be a typing error that leaves a route unguarded.
PathTemplate: TypeAlias = Annotated[InstanceOf[Template], parsed_by(parse_template), AfterValidator(with_known_names)]
Paths: TypeAlias = Annotated[tuple[PathTemplate, ...], Field(min_length=1)]
Method: TypeAlias = Annotated[
    StrictStr, matching(METHODS.__contains__, f"a method: {', '.join(sorted(METHODS))} are allowed")
]


@dataclass(frozen=True, slots=True, config=STRICT)
class PathRule:
    """What requests with one of the methods to one of the paths want of the session they name.

    `session_required_if` is the value of a JSON body that must not come without a session id. `says_missing` is the
    answer that means, for the kind `recover`, that the session does not exist. `line` is where the profile has it.
    """

    kind: RuleKind
    methods: tuple[Method, ...]
    paths: Paths
    session_required_if: ValuePattern | None = None
    says_missing: AnswerPattern | None = None
    line: SkipJsonSchema[int] = dataclasses.field(default=0, init=False, compare=False)

    @model_validator(mode="before")
    @classmethod
    def _methods_by_kind(cls, data: Any) -> Any:
        if isinstance(data, dict) and "methods" not in data:
            return {**data, "methods": ("DELETE",) if data.get("kind") == RuleKind.FORGET else LOOKED_AT}
        return data

    @model_validator(mode="after")
    def _recovers_by_an_answer(self) -> PathRule:
        if (self.kind is RuleKind.RECOVER) != (self.says_missing is not None):
            raise ValueError("says_missing is needed where the kind is recover, and allowed nowhere else")
        if self.session_required_if is not None and self.kind not in (RuleKind.ENSURE, RuleKind.REQUIRE):
            raise ValueError("session_required_if is allowed where the kind is ensure or require")
        if self.session_required_if is not None and not self.session_required_if.equals:
            raise ValueError("session_required_if needs equals, and a text that is not empty")
        return self

    def __str__(self) -> str:
        return f"{self.kind} {'|'.join(self.methods)} {' '.join(map(str, self.paths))}"

    @property
    def cases(self) -> list[Case]:
        """Everything that the rule is about."""
        return [(method, path) for method in self.methods for path in self.paths]


@dataclass(frozen=True, slots=True, config=STRICT)
class ToolRule:
    """The kind of an MCP `tools/call` whose tool name matches one of the globs; `*` stands for any text."""

    kind: GuardKind
    tools: Annotated[tuple[StrictStr, ...], Field(min_length=1)]
    line: SkipJsonSchema[int] = dataclasses.field(default=0, init=False, compare=False)

    def __str__(self) -> str:
        return f"{self.kind} tools {' '.join(self.tools)}"

    @property
    def cases(self) -> list[Case]:
        """Everything that the rule is about."""
        return [("tools", glob) for glob in self.tools]


@dataclass(frozen=True, slots=True, config=STRICT)
class UpgradeRule:
    """The kind of a request to one of the paths that asks for an upgrade (RFC 9110, section 7.8)."""

    kind: GuardKind
    paths: Paths
    upgrade: Literal[True] = True
    line: SkipJsonSchema[int] = dataclasses.field(default=0, init=False, compare=False)

    def __str__(self) -> str:
        return f"{self.kind} upgrade {' '.join(map(str, self.paths))}"

    @property
    def cases(self) -> list[Case]:
        """Everything that the rule is about."""
        return [("upgrade", path) for path in self.paths]


def _sort(value: object) -> str:
    if isinstance(value, ToolRule) or (isinstance(value, dict) and "tools" in value):
        return "ToolRule"
    if isinstance(value, UpgradeRule) or (isinstance(value, dict) and "upgrade" in value):
        return "UpgradeRule"
    return "PathRule"


Rule: TypeAlias = PathRule | ToolRule | UpgradeRule
AnyRule: TypeAlias = Annotated[
    Annotated[PathRule, Tag("PathRule")]
    | Annotated[ToolRule, Tag("ToolRule")]
    | Annotated[UpgradeRule, Tag("UpgradeRule")],
    Discriminator(_sort),
]
"""A rule as a profile writes it: `tools` makes it one for tools, `upgrade` one for upgrades."""
