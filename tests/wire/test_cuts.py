"""Wherever the upstream is cut, no truncated answer looks complete, no POST is sent twice, and nothing is left over."""
