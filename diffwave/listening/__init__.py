"""A page to hear, see and judge vocoders in a browser."""
