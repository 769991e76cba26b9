"""Consul: where it is, calls to it, and the registration of a service."""
