"""Full-text search that needs no extension: what a text is found by, and the one place where databases differ.

A text becomes a sequence of terms: stemmed words, and single characters of the scripts that are written without
spaces. A query matches where its space-separated parts, all of them or any, occur as runs of terms, so any substring of
Chinese is found, however short. Both databases index the same terms: SQLite in an FTS5 table, Postgres in a GIN index
over an array. The best match comes first: by BM25 in FTS5, by ts_rank in Postgres.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final, TypeVar

import Stemmer
from sqlalchemy import (
    ColumnElement,
    Dialect,
    Select,
    Table,
    Text,
    and_,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import ARRAY

MAX_INDEXED: Final = 200_000
"""How many characters of a text can be found: taking terms apart must not hold up other requests."""
MAX_TERM: Final = 64
"""Longer words are known by their beginning: an index entry has a largest size."""

MAX_ALTERNATIVES: Final = 100
"""So many parts of a query are looked for where any of them will do."""

_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u1100-\u11ff\u3005-\u3007\u3040-\u312f\u3130-\u318f\u31a0-\u31bf\u31f0-\u31ff"  # jamo, kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"  # Han, Hangul
    "\U00020000-\U0003ffff"  # Han beyond the basic plane
)
_TERM = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+|[^\x00-\x7f\w\s]")
_stem = Stemmer.Stemmer("english").stemWord
_is_unspaced = re.compile(f"[{_UNSPACED}]").match
_fts = table("memory_search", column("rowid"), column("memory_search"), column("rank"))

_Row = TypeVar("_Row", bound=tuple[Any, ...])
Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Phrases to search for, each a run of terms: `every` one of them has to occur, or any."""

    phrases: tuple[Phrase, ...]
    every: bool = True

    def loosened(self) -> SearchQuery:
        """The query for any of the words, without the commonest of them where others are left.

        A run of characters from a script without spaces becomes its pairs: a question in Chinese shares no more with
        its answer.
        """
        parts = dict.fromkeys(part for phrase in self.phrases for part in _parts(phrase))
        telling = [part for part in parts if not COMMON.issuperset(part)]
        return SearchQuery(tuple(telling or parts)[:MAX_ALTERNATIVES], every=False)


def read_query(text: str) -> SearchQuery:
    """Read what a person typed. Raises ValueError where it holds nothing that could be found."""
    phrases = tuple(filter(None, (tuple(_terms(part)) for part in text.split())))
    if not phrases:
        raise ValueError("holds no word to search for")
    return SearchQuery(phrases)


def search_terms(text: str) -> str:
    """The terms of a text in their order, with a space between."""
    return " ".join(_terms(text[:MAX_INDEXED]))


def matching(query: SearchQuery, memories: Table, dialect: Dialect) -> ColumnElement[bool]:
    """The condition that a row of `memories` matches."""
    if dialect.name == "sqlite":
        return memories.c.seq.in_(select(_fts.c.rowid).where(_fts.c.memory_search.op("MATCH")(_for_fts5(query))))
    return _in_postgres(query, memories.c.search_terms)


def ranked(statement: Select[_Row], query: SearchQuery, memories: Table, dialect: Dialect) -> Select[_Row]:
    """The statement about `memories`, limited to the rows that match, the best first and then the newest."""
    if dialect.name == "sqlite":
        found = statement.join(_fts, _fts.c.rowid == memories.c.seq)
        found = found.where(_fts.c.memory_search.op("MATCH")(_for_fts5(query)))
        return found.order_by(_fts.c.rank, memories.c.seq.desc())
    vector = func.to_tsvector(_SIMPLE, func.left(memories.c.search_terms, MAX_INDEXED))
    rank = func.ts_rank(vector, func.to_tsquery(_SIMPLE, _for_postgres(query)), _SHORTER_FIRST)
    found = statement.where(_in_postgres(query, memories.c.search_terms))
    return found.order_by(rank.desc(), memories.c.seq.desc())


def _terms(text: str) -> Iterator[str]:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    for found in _TERM.finditer(folded):
        term = found.group()
        if term.isalnum() or unicodedata.category(term).startswith("S"):  # an emoji is a word, a comma is not
            yield _stem(term)[:MAX_TERM] if term.isascii() else term[:MAX_TERM]


def _parts(phrase: Phrase) -> Iterator[Phrase]:
    for unspaced, run in groupby(phrase, key=lambda term: _is_unspaced(term) is not None):
        terms = tuple(run)
        yield from pairwise(terms) if unspaced and len(terms) > 1 else ((term,) for term in terms)


def _for_fts5(query: SearchQuery) -> str:
    return (" AND " if query.every else " OR ").join(f'"{" ".join(phrase)}"' for phrase in query.phrases)


_SIMPLE: Final[ColumnElement[str]] = literal_column("'simple'")  # the terms are stemmed already
_SHORTER_FIRST: Final = 1  # of texts that match alike: ts_rank divides by 1 + log(length)


def _for_postgres(query: SearchQuery) -> str:
    """The query in the language of to_tsquery, for the rank alone. A term holds no quote."""
    runs = (" <-> ".join(f"'{term}'" for term in phrase) for phrase in query.phrases)
    return (" & " if query.every else " | ").join(f"({run})" for run in runs)


def _in_postgres(query: SearchQuery, terms: ColumnElement[str]) -> ColumnElement[bool]:
    """The index finds rows with all the terms; where their order matters, the text of the terms is looked at too."""
    if not query.every:
        return or_(*(_in_postgres(SearchQuery((phrase,)), terms) for phrase in query.phrases))
    wanted = sorted({term for phrase in query.phrases for term in phrase})
    array = func.string_to_array(terms, literal_column("' '"), type_=ARRAY(Text))  # as the index has it: no parameter
    indexed = array.contains(literal(wanted, ARRAY(Text)))
    spaced = literal(" ") + terms + literal(" ")
    runs = [spaced.contains(f" {' '.join(phrase)} ", autoescape=True) for phrase in query.phrases if len(phrase) > 1]
    return and_(indexed, *runs)


COMMON: Final = frozenset(
    search_terms(
        "a about after all also am an and any are as at be been but by can could did do does for from get had has have "
        "he her him his how i if in into is it its just let like me more my no not of on or our out please she should "
        "so some than thank thanks that the their them then there they this to up us was we were what when where "
        "which who whom why will with would yes you your "
        "的 了 是 我 你 他 她 它 们 在 有 和 就 不 都 也 很 这 那 吗 呢 吧 啊 请 一 个 么"
    ).split()
)
"""Terms that say little about what a text is about."""
