"""The databases of the services: engines for SQLite and Postgres, transactions, and schema migrations."""
