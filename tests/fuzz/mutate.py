"""Changes that damage happens to make, or somebody who wants to see a program fail."""

from __future__ import annotations

import copy
import random
from typing import Any

NUMBERS = [0, 1, -1, 2, 3, 127, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1]
NAMES = ["a", "Grüße 東京", "a\x1b[31mb", "a\nb", "a\udcff", "=1+1", "-x", "a|b", "a" * 200]


def nasty_value(rng: random.Random) -> Any:
    """A value that settings should not have."""
    depth = rng.choice([2, 50, 200])
    nested: Any = 1
    for _ in range(depth):
        nested = [nested] if rng.random() < 0.5 else {"a": nested}
    values = [
        None, True, False, "", "x", "1", "\x1b[31m\n\0", "é" * 1000, 0, 1, -1, 2, 3, 7, 0.5, -0.5,
        1e-30, 1e30, 1e308, 10**9, 10**18, 10**30, -(10**30), 10**400, float("nan"), float("inf"),
        [], [[]], {}, [0], [10**18, 2, 4], [1.5, None], {"a": 1}, nested, list(range(1000)),
        [0.5] * 5000,
    ]  # fmt: skip
    return rng.choice(values)


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to four changes; most of them near the start, where headers are."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        size = len(out)
        if not size:
            break
        place = rng.randrange(min(size, rng.choice([16, 64, 512, size])))
        length = rng.choice([1, 2, 4, 8, 64, 1000])
        match rng.randrange(7):
            case 0:
                out[place] ^= 1 << rng.randrange(8)
            case 1:
                out[place] = rng.randrange(256)
            case 2:
                number = rng.choice(NUMBERS) % (1 << 8 * (width := rng.choice([1, 2, 4, 8])))
                order = rng.choice(["little", "big"])
                out[place : place + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
            case 3:
                del out[place : place + length]
            case 4:
                out[place:place] = rng.randbytes(length)
            case 5:
                out[place:place] = out[place : place + length]
            case 6:
                del out[rng.randrange(size) :]
    return bytes(out)


def mutated_tree(rng: random.Random, tree: Any) -> Any:
    """Settings with one or two places changed, removed, added or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 2)):
        node = tree
        while isinstance(node, dict | list) and node:
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            inner = node[key]
            if isinstance(inner, dict | list) and inner and rng.random() < 0.85:
                node = inner
                continue
            match rng.randrange(8):
                case 0:
                    del node[key]
                case 1 if isinstance(node, dict):
                    node[rng.choice(NAMES)] = nasty_value(rng)
                case 2 if isinstance(node, dict):
                    node[rng.choice(list(node))] = node[key]
                case 3 if isinstance(inner, int | float) and not isinstance(inner, bool):
                    node[key] = inner * rng.choice([-1, 0, 2, 0.5, 10, 1e6])
                case _:
                    node[key] = nasty_value(rng)
            break
    return tree
