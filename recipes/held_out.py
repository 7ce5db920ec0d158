"""The clips of a prepared corpus that are not trained on, as wav files to score against.

python recipes/held_out.py PREPARED_FOLDER WAVS_FOLDER
"""

import argparse
from pathlib import Path

from diffwave.base.audio import write_audio
from diffwave.base.errors import InputError, run_script
from diffwave.base.files import atomic_folder
from diffwave.data.prepared import VALIDATION, is_prepared, open_prepared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("wavs", type=Path)
    options = parser.parse_args()
    if not is_prepared(options.prepared):
        raise InputError(f"{options.prepared} holds no prepared corpus; run stage 1.")
    prepared = open_prepared(options.prepared)
    held_out = [entry for entry in prepared.entries if entry.split == VALIDATION]
    if not held_out:
        raise InputError(f"No clip of {options.prepared} was held out; see data.validation.")
    with atomic_folder(options.wavs) as folder:
        for entry in held_out:
            path = folder / f"{entry.name.replace('/', '_')}.wav"
            write_audio(path, prepared.clip(entry).wave(), prepared.mel.sample_rate)


run_script(main)
