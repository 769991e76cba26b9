"""Reads JSON strictly and finds ids in it."""
