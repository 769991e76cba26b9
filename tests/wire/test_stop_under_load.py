"""A real process that is told to stop under load answers all that it accepted and ends with 0."""
