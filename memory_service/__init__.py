"""Memories of agents and their full-text search, over REST and MCP."""
