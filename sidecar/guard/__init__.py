"""Decides whether a request may be forwarded."""
