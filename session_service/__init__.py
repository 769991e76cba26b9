"""Sessions: who owns them, whether they are active, ended or deleted, and what changed in which order."""
