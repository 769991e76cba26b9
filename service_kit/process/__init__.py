"""A server process: the address it listens on, the signals that stop it, and the libraries it loads."""
