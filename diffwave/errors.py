"""The one exception a caller is meant to read: bad input, told in one sentence."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one whole sentence, what and why."""
