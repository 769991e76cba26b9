"""The `session_service` table of a profile, read into habits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from sidecar.profile.session_api import DEFAULT_API, ApiCall, Meaning, SessionApi, Style
from sidecar.profile.tables import ProfileError, Table
from sidecar.profile.templates import parse_json_path

_NAME = re.compile(r"\{(\w*)\}")
_LOOK_MEANINGS: Final = (Meaning.FOUND, Meaning.ABSENT, Meaning.CONFLICT, Meaning.GONE)
_CREATE_MEANINGS: Final = (
    Meaning.FOUND,
    Meaning.CREATED,
    Meaning.CONFLICT,
    Meaning.GONE,
    Meaning.TAKEN,
    Meaning.PERHAPS,
)


def read_habits(table: Table, names: frozenset[str]) -> SessionApi:
    """Read the `session_service` table of a profile; `names` may stand in its templates. Raises ProfileError."""
    style = table.choice("style", Style)
    habits = DEFAULT_API if style is Style.PUT else _read_foreign(table, names)
    table.done()
    return habits


def _read_foreign(table: Table, names: frozenset[str]) -> SessionApi:
    create = _read_call(table.table("create"), "POST", _CREATE_MEANINGS, names) if table.has("create") else None
    if create and "session_id" not in _names_in(create):
        table.fail("create", create.path, "without {session_id} the service would mint an id of its own")
    return SessionApi(
        style=Style.POST,
        look=_read_call(table.table("look"), "GET", _LOOK_MEANINGS, names),
        create=create,
        id_field=table.parsed_text("id_field", parse_json_path),
        owner_field=table.parsed_text("owner_field", parse_json_path) if table.has("owner_field") else None,
        status_field=table.parsed_text("status_field", parse_json_path) if table.has("status_field") else None,
        ended_values=frozenset(table.texts("ended_values", ())),
        deleted_values=frozenset(table.texts("deleted_values", ())),
        events=table.text("events") if table.has("events") else None,
    )


def _read_call(table: Table, method: str, meanings: tuple[Meaning, ...], names: frozenset[str]) -> ApiCall:
    query = table.content("query") or {}
    for key, value in query.items():
        if not isinstance(value, str):
            table.fail(f"query.{key}", value, "a string is allowed")
    call = ApiCall(
        method=table.text("method", method),
        path=table.text("path"),
        statuses=_read_statuses(table.table("statuses"), meanings),
        query=query,
        body=table.content("body"),
    )
    table.done()
    if not call.path.startswith("/"):
        table.fail("path", call.path, "it must start with /")
    for name in sorted(_names_in(call) - names):
        raise ProfileError(f"{table.place('path')}: {{{name}}} is unknown; allowed here: {', '.join(sorted(names))}")
    return call


def _read_statuses(table: Table, meanings: tuple[Meaning, ...]) -> Mapping[int, Meaning]:
    statuses: dict[int, Meaning] = {}
    for meaning in meanings:
        for status in table.numbers(meaning):
            if status in statuses or not 100 <= status <= 599:
                table.fail(meaning, status, "statuses from 100 to 599 are allowed, each with one meaning")
            statuses[status] = meaning
    table.done()
    if not {Meaning.FOUND, Meaning.CREATED}.intersection(statuses.values()):
        table.fail(Meaning.FOUND, [], "at least one status must mean that the session is there")
    return statuses


def _names_in(call: ApiCall) -> frozenset[str]:
    """The names in the templates of a call."""
    texts = [call.path, *call.query.values(), *_strings(call.body)]
    return frozenset(name for text in texts for name in _NAME.findall(text))


def _strings(value: object) -> Iterator[str]:
    """Every string inside a body, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
