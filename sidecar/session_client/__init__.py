"""The session service over HTTP: calls, verdicts, discovery, events."""
