"""Commands that work beside the running proxy."""
