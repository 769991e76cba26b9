"""What differs from one memory service to the next, read from a TOML file once, when the program starts."""
