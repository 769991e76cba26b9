"""Serves what can be admitted at once, without a task."""
