"""Repairs orphans: ensures every pair of user and session that it reads."""
