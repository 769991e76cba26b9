"""Full-text search that needs no extension: what a text is found by, and the one place where databases differ.

A text becomes a sequence of terms: stemmed words, and single characters of the scripts that are written without
spaces. A query matches where each of its space-separated parts occurs as a run of terms, so any substring of Chinese
is found, however short. Both databases index the same terms: SQLite in an FTS5 table, Postgres in a GIN index over an
array.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import Stemmer
from sqlalchemy import Column, ColumnElement, Dialect, Text, and_, column, func, literal, literal_column, select, table
from sqlalchemy.dialects.postgresql import ARRAY

MAX_INDEXED: Final = 200_000
"""How many characters of a text can be found: taking terms apart must not hold up other requests."""
MAX_TERM: Final = 64
"""Longer words are known by their beginning: an index entry has a largest size."""

_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u1100-\u11ff\u3005-\u3007\u3040-\u312f\u3130-\u318f\u31a0-\u31bf\u31f0-\u31ff"  # jamo, kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"  # Han, Hangul
    "\U00020000-\U0003ffff"  # Han beyond the basic plane
)
_TERM = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+|[^\x00-\x7f\w\s]")
_stem = Stemmer.Stemmer("english").stemWord


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to search for: every phrase has to occur, each a run of terms."""

    phrases: tuple[tuple[str, ...], ...]


def read_query(text: str) -> SearchQuery:
    """Read what a person typed. Raises ValueError where it holds nothing that could be found."""
    phrases = tuple(filter(None, (tuple(_terms(part)) for part in text.split())))
    if not phrases:
        raise ValueError("holds no word to search for")
    return SearchQuery(phrases)


def search_terms(text: str) -> str:
    """The terms of a text in their order, with a space between."""
    return " ".join(_terms(text[:MAX_INDEXED]))


def matching(query: SearchQuery, seq: Column[int], terms: Column[str], dialect: Dialect) -> ColumnElement[bool]:
    """The condition that a row, numbered `seq` and found by `terms`, matches."""
    return _in_sqlite(query, seq) if dialect.name == "sqlite" else _in_postgres(query, terms)


def _terms(text: str) -> Iterator[str]:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    for found in _TERM.finditer(folded):
        term = found.group()
        if term.isalnum() or unicodedata.category(term).startswith("S"):  # an emoji is a word, a comma is not
            yield _stem(term)[:MAX_TERM] if term.isascii() else term[:MAX_TERM]


def _in_sqlite(query: SearchQuery, seq: Column[int]) -> ColumnElement[bool]:
    fts = table("memory_search", column("rowid"), column("memory_search"))
    wanted = " AND ".join(f'"{" ".join(phrase)}"' for phrase in query.phrases)
    return seq.in_(select(fts.c.rowid).where(fts.c.memory_search.op("MATCH")(wanted)))


def _in_postgres(query: SearchQuery, terms: Column[str]) -> ColumnElement[bool]:
    """The index finds rows with all the terms; where their order matters, the text of the terms is looked at too."""
    every = sorted({term for phrase in query.phrases for term in phrase})
    array = func.string_to_array(terms, literal_column("' '"), type_=ARRAY(Text))  # as the index has it: no parameter
    indexed = array.contains(literal(every, ARRAY(Text)))
    spaced = literal(" ") + terms + literal(" ")
    runs = [spaced.contains(f" {' '.join(phrase)} ", autoescape=True) for phrase in query.phrases if len(phrase) > 1]
    return and_(indexed, *runs)
