"""How the schema of the memory service came to be: an Alembic history of its own."""
