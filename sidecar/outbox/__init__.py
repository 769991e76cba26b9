"""The journal of sessions owed to the session service, and the relay that pays them."""
