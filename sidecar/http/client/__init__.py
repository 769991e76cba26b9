"""Connections to the upstream, and what is sent over them."""
