"""Validates configuration and profile, and tries what the sidecar connects to."""
