"""Reads request bodies within bounds and decodes their content codings."""
