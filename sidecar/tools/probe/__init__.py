"""Finds out whether it is safe to create sessions at a session service."""
