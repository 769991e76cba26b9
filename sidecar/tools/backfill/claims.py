"""What a dry run would have created so far, so that later pairs of its input meet it as they would in a real run."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sidecar.tools.backfill.ensuring import Ensure, Outcome
from sidecar.tools.backfill.pairs import Pair


class DryRun:
    """The `Ensure` that only looks, by `look`. The first user of a session that is missing would be its owner.

    Claims lie in a temporary database of SQLite's own, which goes to disk when it grows. Raises what `look` raises.
    """

    def __init__(self, look: Ensure) -> None:
        self._look = look
        self._claims = sqlite3.connect("", isolation_level=None)
        self._claims.execute("CREATE TABLE claim (session_id TEXT PRIMARY KEY, user_id TEXT) WITHOUT ROWID")

    async def __call__(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """Say what would come of the pairs. Batches that name one session must be given one after the other."""
        unclaimed = [pair for pair in pairs if self._owner(pair) is None]
        looked = dict(zip(unclaimed, await self._look(unclaimed), strict=True))
        return [self._outcome(pair, looked.get(pair)) for pair in pairs]

    def close(self) -> None:
        """Forget the claims."""
        self._claims.close()

    def _outcome(self, pair: Pair, looked: Outcome | None) -> Outcome:
        owner = self._owner(pair)
        if owner is not None:
            return Outcome.FOUND if owner == pair.user_id else Outcome.CONFLICT
        assert looked is not None  # noqa: S101 # for the type checker: what has no owner was looked up
        if looked is Outcome.CREATED:
            self._claims.execute("INSERT INTO claim VALUES (?, ?)", (pair.session_id, pair.user_id))
        return looked

    def _owner(self, pair: Pair) -> str | None:
        row = self._claims.execute("SELECT user_id FROM claim WHERE session_id = ?", (pair.session_id,)).fetchone()
        return None if row is None else str(row[0])
