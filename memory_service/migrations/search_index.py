"""The index that searches go by, made and removed as a whole: the one thing that the two databases do differently."""

from __future__ import annotations

from typing import Final

from service_kit.sql.revision import execute, on_postgres

_POSTGRES: Final = ["CREATE INDEX memories_by_terms ON memories USING gin (string_to_array(search_terms, ' '))"]

# The FTS5 table keeps no second copy of the terms: it reads them from `memories`, and is told when they change. Terms
# are made of ASCII letters and digits and of other characters: exactly what this tokenizer leaves in one piece.
_FTS: Final = """
CREATE VIRTUAL TABLE memory_search
USING fts5 (search_terms, content = 'memories', content_rowid = 'seq', tokenize = 'ascii')
"""
_ENTER: Final = "INSERT INTO memory_search (rowid, search_terms) VALUES (new.seq, new.search_terms);"
_STRIKE: Final = """
INSERT INTO memory_search (memory_search, rowid, search_terms) VALUES ('delete', old.seq, old.search_terms);
"""
_SQLITE: Final = [
    _FTS,
    "INSERT INTO memory_search (memory_search) VALUES ('rebuild')",
    f"CREATE TRIGGER memory_search_insert AFTER INSERT ON memories BEGIN {_ENTER} END",
    f"CREATE TRIGGER memory_search_delete AFTER DELETE ON memories BEGIN {_STRIKE} END",
    f"CREATE TRIGGER memory_search_update AFTER UPDATE OF search_terms ON memories BEGIN {_STRIKE} {_ENTER} END",
]

_POSTGRES_REMOVAL: Final = ["DROP INDEX memories_by_terms"]
_SQLITE_REMOVAL: Final = [
    "DROP TRIGGER memory_search_insert",
    "DROP TRIGGER memory_search_delete",
    "DROP TRIGGER memory_search_update",
    "DROP TABLE memory_search",
]


def make() -> None:
    """Index all memories, and those to come."""
    for statement in _POSTGRES if on_postgres() else _SQLITE:
        execute(statement)


def remove() -> None:
    """Remove the index: many rows are stored faster without it, and indexed faster at once."""
    for statement in _POSTGRES_REMOVAL if on_postgres() else _SQLITE_REMOVAL:
        execute(statement)
