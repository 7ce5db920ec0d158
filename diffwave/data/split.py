"""Which clips of a corpus are held out for validation: their names decide, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from fnmatch import fnmatch
from pathlib import Path

from diffwave.data.config import DataConfig
from diffwave.data.shards import TRAIN, VALIDATION, Entry

LEAST_VALIDATION = 4
"""Clips held out when no patterns say which, if they are no more than a quarter."""


def matches(file: str, patterns: list[str]) -> bool:
    """Whether the name of a file is one that the patterns hold out."""
    return any(fnmatch(Path(file).name, pattern) for pattern in patterns)


def split(entries: list[Entry], data: DataConfig) -> list[Entry]:
    """The clips with some of them held out for validation.

    Those whose recording matches `data.validation`; without patterns `data.prepare`'s share of
    them, at least `LEAST_VALIDATION` but at most a quarter, which are the first in the order of the
    digests of their names: a clip that is added moves few others.
    """
    if data.validation:
        held_out = {entry.name for entry in entries if matches(entry.file, data.validation)}
    else:
        share = math.ceil(data.prepare.validation_share * len(entries))
        count = min(max(LEAST_VALIDATION, share), len(entries) // 4) if share else 0
        held_out = set(sorted((entry.name for entry in entries), key=_digest)[:count])
    return [
        dataclasses.replace(entry, split=VALIDATION if entry.name in held_out else TRAIN)
        for entry in entries
    ]


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()
