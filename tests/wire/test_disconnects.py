"""Whenever the client goes away, the upstream's request is cancelled and nothing is left over."""
