"""Says what would happen to a request, and why."""
