"""`diffwave prepare AUDIO_FOLDER PREPARED_FOLDER`: recordings to a corpus to train on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from diffwave.commands.options import Prepare
from diffwave.data.prepare import prepare
from diffwave.data.prepared import is_prepared, open_prepared
from diffwave.errors import InputError
from diffwave.train.settings import read_config

NAMED = 10  # rejected files that are named on the screen; all are in the report


def run(options: Prepare) -> int:
    """Prepare a corpus, or check the files of one; returns the exit status.

    Raises:
        InputError: for settings or folders that cannot be used, no usable audio, or a damaged file.
    """
    if options.verify:
        return _verify(Path(options.audio))
    assert options.prepared is not None  # checked beforehand
    config = read_config(options.config, options.set)
    target = Path(options.prepared)
    jobs = options.jobs or os.cpu_count() or 1
    report = prepare(
        Path(options.audio), target, config.data, config.model_config(), jobs, options.force,
        sys.stderr.isatty(),
    )  # fmt: skip
    if report is None:
        print(f"{target} is up to date; --force prepares it again.")
        return 0
    for remark in list(report.rejected.values())[:NAMED]:
        print(f"rejected: {remark.sentence}", file=sys.stderr)
    if len(report.rejected) > NAMED:
        print(f"rejected: {len(report.rejected) - NAMED} more, see the report", file=sys.stderr)
    print("\n".join(report.summary()))
    print(f"prepared {target}; the report is {target / 'report.md'}")
    return 0


def _verify(folder: Path) -> int:
    if not is_prepared(folder):
        raise InputError(f"{folder} holds no prepared corpus.")
    prepared = open_prepared(folder)
    damaged = prepared.damaged(sys.stderr.isatty())
    if damaged:
        raise InputError(f"{folder} is damaged: the checksum of {', '.join(damaged)} is wrong.")
    print(f"{folder}: {len(prepared.entries)} clips in {len(prepared.files)} files, all as written")
    return 0
