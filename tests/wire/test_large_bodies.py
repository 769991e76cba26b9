"""Bodies of any size stream through an unguarded route of a real process without being held."""
