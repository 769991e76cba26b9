"""The ways in: proxy, fast path, shadow mode, admin pages, and how they refuse."""
