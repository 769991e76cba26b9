"""Finds the sessions that a request names. Pure: no I/O, no clock, no event loop."""
