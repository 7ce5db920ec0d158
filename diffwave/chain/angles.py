"""The noise level as an angle u in quarter turns: alpha_bar = cos(pi u / 2)^2."""

from __future__ import annotations

import math

from diffwave.base.arrays import Array, namespace


def angle_of(alpha_bar: Array) -> Array:
    """u in [0, 1] with alpha_bar = cos(pi u / 2)^2; any shape."""
    return namespace(alpha_bar).arccos(alpha_bar.clip(0, 1) ** 0.5) * (2 / math.pi)


def alpha_bar_of(u: Array) -> Array:
    """alpha_bar = cos(pi u / 2)^2, exactly 0 at u = 1; any shape."""
    xp = namespace(u)
    return xp.where(u == 1, 0.0, xp.cos(u * (math.pi / 2)) ** 2)
