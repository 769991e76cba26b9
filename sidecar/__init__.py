"""A reverse proxy that makes sure a session exists, for its owner, before a write reaches the memory service."""
