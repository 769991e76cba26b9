"""Reads declared forms, urlencoded and multipart, and finds ids in them."""
