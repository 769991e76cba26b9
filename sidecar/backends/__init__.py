"""What the guard and the doors use; each module translates foreign errors once, at its own edge."""
