"""Column types are the same thing in either database."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.dialects import postgresql, sqlite

from service_kit.sql.columns import UtcDateTime, id_type

BERLIN = dt.timezone(dt.timedelta(hours=1))


def test_a_time_is_the_same_moment_in_either_database() -> None:
    """SQLite stores UTC without a zone and gives it back with one."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=BERLIN)
    kind = UtcDateTime()
    stored = kind.process_bind_param(moment, sqlite.dialect())
    assert stored == dt.datetime(2026, 1, 2, 2, 4, 5, 6)  # noqa: DTZ001 -- what SQLite holds has no zone
    assert kind.process_result_value(stored, sqlite.dialect()) == moment
    assert kind.process_bind_param(moment, postgresql.dialect()) == moment
    assert kind.process_result_value(moment, postgresql.dialect()) == moment


def test_no_time_stays_no_time() -> None:
    """NULL goes in and out."""
    assert UtcDateTime().process_bind_param(None, sqlite.dialect()) is None
    assert UtcDateTime().process_result_value(None, sqlite.dialect()) is None


def test_ids_have_one_type() -> None:
    """VARCHAR(255) wherever they stand."""
    assert str(id_type()) == "VARCHAR(255)"
