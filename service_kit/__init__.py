"""What any of the three processes needs and none of them is about: addresses, serving, databases, registration."""
