"""What all three programs share: addresses, logs, serving, databases, registration."""
