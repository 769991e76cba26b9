"""One file a revision, run by Alembic in order."""
