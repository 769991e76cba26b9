"""Streams of events pass one event at a time, may be quiet, and harm nobody by being many."""
