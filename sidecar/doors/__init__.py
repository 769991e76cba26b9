"""The doors: proxy, fast path, middleware and authoriser, and how they refuse."""
