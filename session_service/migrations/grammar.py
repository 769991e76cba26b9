"""The safe grammar of ids as SQL conditions, for rows that are too many to read."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

_BROKEN: Final = {
    # In the order of code points under every collation of the database: ranges would mean something else in another.
    # The length apart: a bound on the repetition makes the expression a hundred times slower.
    "postgresql": """({0} COLLATE "C" !~ '^[A-Za-z0-9._~:@|+=-]+$' OR {0} IN ('.', '..') OR length({0}) > 255)""",
    # GLOB and length() stop at a NUL, the length in bytes does not.
    "sqlite": "(typeof({0}) = 'blob' OR"
    " {0} GLOB '*[^A-Za-z0-9._~:@|+=-]*' OR {0} IN ('', '.', '..') OR length(CAST({0} AS BLOB)) > 255"
    " OR length(CAST({0} AS BLOB)) <> length({0}))",
}


def why_broken(bind: sa.Connection) -> str:
    """An SQL expression over a row of `sessions`: why it cannot be kept, or NULL where it can."""
    broken = _BROKEN[bind.dialect.name]
    return (
        "CASE WHEN session_id IS NULL THEN 'session_id_required'"
        f" WHEN {broken.format('session_id')} THEN 'invalid_session_id'"
        " WHEN user_id IS NULL THEN 'user_id_required'"
        f" WHEN {broken.format('user_id')} THEN 'invalid_user_id' END"
    )
