"""A summary without a model: the sentences of a conversation that say most of what it is about, in their order."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from memory_service.model import Compression
from memory_service.search import COMMON, search_terms

SENTENCES: Final[dict[Compression, int]] = {Compression.LOW: 12, Compression.MEDIUM: 5, Compression.HIGH: 2}
"""How many sentences are kept: the higher the compression, the fewer."""
MAX_SENTENCE: Final = 300
SAID_ALREADY: Final = 0.25
MAX_INPUT: Final = 20_000
"""How many characters of one message are looked at: a summary need not read a whole book."""

_SENTENCE_END = re.compile(r"(?<=[。！？；])|(?<=[.!?;])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Spoken:
    """One message: who said it, what was said, and how much it matters (0 to 1)."""

    role: str
    text: str
    importance: float


@dataclass(frozen=True, slots=True)
class _Sentence:
    place: int
    role: str
    text: str
    weight: float
    terms: frozenset[str]


def summarize(messages: Sequence[Spoken], compression: Compression = Compression.MEDIUM) -> str | None:
    """The telling sentences, one a line, each with who said it; None where nothing was said."""
    sentences = _sentences(messages)
    chosen = _choose(sentences, SENTENCES[compression])
    return "\n".join(f"{found.role}: {_shortened(found.text)}" for found in chosen) or None


def _sentences(messages: Sequence[Spoken]) -> list[_Sentence]:
    found: list[_Sentence] = []
    for message in messages:
        for text in _SENTENCE_END.split(message.text[:MAX_INPUT]):
            terms = frozenset(search_terms(text).split())
            if terms:
                found.append(_Sentence(len(found), message.role, text.strip(), 0.5 + message.importance, terms))
    return found


def _choose(sentences: Sequence[_Sentence], most: int) -> list[_Sentence]:
    """Take the best sentence again and again; what was said already counts less, so little is said twice."""
    weights = dict[str, float](Counter(term for sentence in sentences for term in sentence.terms - COMMON))
    left, chosen = list(sentences), list[_Sentence]()
    while left and len(chosen) < most:
        best = max(left, key=lambda sentence: (_score(sentence, weights), -sentence.place))
        chosen.append(best)
        left.remove(best)
        for term in best.terms & weights.keys():
            weights[term] *= SAID_ALREADY
    return sorted(chosen, key=lambda sentence: sentence.place)


def _score(sentence: _Sentence, weights: Mapping[str, float]) -> float:
    """What the sentence would add, for its length: long ones are no better for being long."""
    told = sum(weights.get(term, 0.0) for term in sentence.terms)
    return sentence.weight * told / math.sqrt(len(sentence.terms) + 4)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SENTENCE else text[: MAX_SENTENCE - 1].rstrip() + "…"
