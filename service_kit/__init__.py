"""What all three processes need and none of them is about: addresses, logs, serving, databases, registration."""
