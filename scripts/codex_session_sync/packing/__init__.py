"""Making packages from the sessions of a home, which is only read."""
