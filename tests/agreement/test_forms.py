"""No form and no query is admitted in which some reader finds an id that was not checked.

Starlette, werkzeug, aiohttp, Node (URLSearchParams, querystring, formData, qs), Go and PHP are asked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from sidecar.model import Call
from tests.support.form_readers import NAMES, View, in_go, in_node, in_php, in_python, lines
from tests.support.forms import Posted, forms
from tests.support.reading import STORE, head, only, reader

READER = reader()
Ask = Callable[[Sequence[Posted]], Iterable[list[View]]]


def checked(posted: Posted) -> Call:
    """What the sidecar makes of it; beside a query the body names the other id."""
    if posted.kind == "query":
        target = STORE.encode() + b"?" + posted.data
        return only(READER.read(head("POST", target), b"{}"))
    return only(READER.read(head("POST", STORE, (b"content-type", posted.type.encode())), posted.data))


@functools.cache
def calls() -> list[tuple[Posted, Call]]:
    """The corpus, each form with what the sidecar makes of it."""
    return [(posted, checked(posted)) for posted in dict.fromkeys(forms())]


def admitted() -> list[tuple[Posted, Call]]:
    return [(posted, call) for posted, call in calls() if call.refusal is None]


def surplus(call: Call, view: View) -> Iterator[str]:
    """The ids that a reader finds and the sidecar has not checked."""
    reference = call.reference
    known = {"session_id": reference.session_id, "user_id": reference.user_id} if reference else {}
    for name in NAMES if reference or (view and "session_id" in view) else ():
        yield from (value for value in (view or {}).get(name, ()) if value != known.get(name))


READERS: dict[str, Ask] = {
    "python": in_python,
    "node": in_node,
    "go": lambda corpus: in_go(lines(corpus)),
    "php": in_php,
}


@pytest.mark.parametrize("language", READERS)
def test_no_form_is_admitted_in_which_a_reader_finds_another_id(language: str) -> None:
    """Every spelling that any of the readers takes for a watched name was read as the same id, or refused."""
    views = list(READERS[language]([posted for posted, _ in admitted()]))
    missed = [
        (posted, call.reference, view)
        for (posted, call), found in zip(admitted(), views, strict=True)
        for view in found
        if list(surplus(call, view))
    ]
    assert missed == []


@pytest.mark.parametrize("language", READERS)
def test_every_language_has_readers_that_mend_names(language: str) -> None:
    """Otherwise the corpus would prove nothing: among what is refused each finds ids under names that are odd."""
    refused = [posted for posted, call in calls() if call.refusal is not None][::29]
    found = [any((view or {}).get("session_id") for view in views) for views in READERS[language](refused)]
    assert sum(found) > 50


def test_the_corpus_is_not_refused_wholesale() -> None:
    """Fields that only resemble a watched one pass, and exact ones are read."""
    assert len(calls()) > 3_000
    assert sum(call.reference is not None for _, call in admitted()) > 100
    assert sum(call.reference is None for _, call in admitted()) > 100
