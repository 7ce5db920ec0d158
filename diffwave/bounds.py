"""Numbers that come from outside, checked before anything is made of them."""

from __future__ import annotations

import math
import operator
from typing import Any

from diffwave.errors import InputError

_SHOWN = 40
"""Characters of a wrong value that a message repeats."""


def integer(name: str, value: Any, least: int, most: int) -> int:
    """`value` as an int within least .. most; InputError names it otherwise.

    NumPy's integers are taken; booleans, texts and floats are not.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise InputError(f"{name} must be an integer, not {shown(value)}.")
    if not least <= number <= most:
        limit = f"at least {least}" if number < least else f"at most {most}"
        raise InputError(f"{name} must be {limit}, not {shown(number)}.")
    return number


def real(name: str, value: Any, least: float, most: float) -> float:
    """`value` as a float within least .. most; InputError names it otherwise."""
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer of hundreds of digits
            number = math.inf
    if not least <= number <= most:
        raise InputError(f"{name} must be a number from {least:g} to {most:g}, not {shown(value)}.")
    return number


def shown(value: Any) -> str:
    """A value as a message repeats it: on one line, and not endless."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python prints
        text = f"a {type(value).__name__} too large to print"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
