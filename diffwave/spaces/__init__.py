"""The coordinates in which the chain runs."""
