"""Gives ids the letter case back that a uuid column has folded, as far as a table of sessions beside it tells.

Ids are compared byte for byte. Where one old table kept them as text and the other as uuid, the rows of a user with an
upper-case id would belong to two users from now on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from alembic import op

from service_kit.sql.migration_log import migration_log
from service_kit.sql.revision import columns

_SESSIONS: Final = "sessions"
_RESTORE: Final = {
    "session_id": """
        UPDATE memories SET session_id = spelled.id FROM (
            SELECT lower(session_id) AS folded, min(session_id) AS id FROM sessions
            GROUP BY 1 HAVING count(DISTINCT session_id) = 1
        ) AS spelled
        WHERE memory_type = 'session' AND memories.session_id = spelled.folded AND spelled.id <> spelled.folded""",
    # The owner of that very session: another user may have the same id in another spelling.
    "user_id": """
        UPDATE memories SET user_id = sessions.user_id FROM sessions
        WHERE memory_type = 'session' AND memories.session_id = sessions.session_id
        AND memories.user_id = lower(sessions.user_id) AND memories.user_id <> sessions.user_id""",
}


def restore_spelling(folded: Collection[str]) -> None:
    """Restore the ids in these columns of the memories that were taken over."""
    told = columns(_SESSIONS)
    for name, statement in _RESTORE.items():
        if name in folded and all(one in told and isinstance(told[one]["type"], sa.String) for one in _RESTORE):
            count = op.get_bind().exec_driver_sql(statement).rowcount
            if count:
                migration_log().notes.append(
                    f"{name}: {count} memories take the letter case of {_SESSIONS}, which a uuid column folds"
                )
