"""The environment that Alembic needs to find in a folder: one for all services."""
