"""The cache of known sessions."""
