"""Runs all three processes on one machine."""
