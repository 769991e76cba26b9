"""What URLs of databases are taken, and how identifiers are quoted."""

from __future__ import annotations

import pytest

from service_kit.sql.engine import parse_url, quoted


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///data/a.db", "sqlite+aiosqlite"),
        ("sqlite+pysqlite:////a.db", "sqlite+aiosqlite"),
        ("postgresql://u:p@host/db", "postgresql+asyncpg"),
        ("postgres://u:p@host/db", "postgresql+asyncpg"),
        ("postgresql+psycopg://u@/db?host=/run", "postgresql+asyncpg"),
    ],
)
def test_every_spelling_of_the_two_databases_is_understood(url: str, driver: str) -> None:
    """The installed driver is used for a URL that names any driver."""
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize("url", ["", "data/a.db", "mysql://u:secret@host/db", "sqlite://", "sqlite:///:memory:", "::"])
def test_other_urls_are_refused_without_being_repeated(url: str) -> None:
    """The message says what is allowed, and no password."""
    with pytest.raises(ValueError, match="sqlite:///PATH or postgresql://") as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


def test_an_identifier_is_quoted_whatever_is_in_it() -> None:
    """A double quote inside is doubled (SQL:2016, section 5.2)."""
    assert quoted('a"b') == '"a""b"'
