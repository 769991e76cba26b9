"""A REST body whose list names several sessions: one reference for each of them, decided as a batch.

An element that names a session of its own refers to that one. What is named beside the list counts for every element,
so that an element that contradicts it is ambiguous. An element without a session of its own belongs to the request's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sidecar.extract.head_candidates import Candidates, HeadCandidates
from sidecar.extract.id_resolver import IdResolver
from sidecar.extract.refused import unreadable
from sidecar.model import Reference, RuleKind
from sidecar.profile.profile import SESSION

MOST_REFERENCES: Final = 1_000
"""The most sessions that one request may name: each of them may have to be created."""


def resolve_elements(
    resolver: IdResolver,
    candidates: Candidates,
    elements: Sequence[Candidates],
    kind: RuleKind,
    head: HeadCandidates,
) -> tuple[Reference, ...]:
    """The references of a request, each once, in the order of the body; none where no session is named.

    `candidates` are named outside of the list, `elements` in each of its elements. Raises RequestRefused.
    """
    shared = candidates[SESSION]
    own = {name: list(values) for name, values in candidates.items()}
    apart: list[Candidates] = []
    for element in elements:
        sessions = element[SESSION]
        if sessions and sessions != shared[:1]:
            apart.append({**_together(candidates, element), SESSION: sessions})
        elif sessions or shared:
            own = _together(own, element)
    references: dict[Reference, None] = {}
    for one in [own, *apart] if shared or not apart else apart:
        reference = resolver.resolve_ids(one, kind, head)
        if reference is not None:
            references[reference] = None
        if len(references) > MOST_REFERENCES:
            unreadable(f"The body names more than {MOST_REFERENCES} sessions.")
    return tuple(references)


def _together(one: Candidates, other: Candidates) -> Candidates:
    return {name: [*values, *other.get(name, ())] for name, values in one.items()}
