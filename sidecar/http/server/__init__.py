"""Connections of clients, and how requests are read from them and responses written to them."""
