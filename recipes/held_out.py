"""The clips of a prepared corpus that are not trained on, as wav files to score against.

python recipes/held_out.py PREPARED_FOLDER WAVS_FOLDER
"""

import sys
from pathlib import Path

from diffwave.audio import write_audio
from diffwave.data.prepared import VALIDATION, is_prepared, open_prepared
from diffwave.errors import InputError
from diffwave.files import atomic_folder


def main(source: Path, target: Path) -> None:
    """Write them; raises InputError when there are none."""
    if not is_prepared(source):
        raise InputError(f"{source} holds no prepared corpus; run stage 1.")
    prepared = open_prepared(source)
    held_out = [entry for entry in prepared.entries if entry.split == VALIDATION]
    if not held_out:
        raise InputError(f"No clip of {source} was held out; see data.validation.")
    with atomic_folder(target) as folder:
        for entry in held_out:
            path = folder / f"{entry.name.replace('/', '_')}.wav"
            write_audio(path, prepared.clip(entry).wave(), prepared.mel.sample_rate)


if len(sys.argv) != 3:
    sys.exit("usage: held_out.py PREPARED_FOLDER WAVS_FOLDER")
try:
    main(Path(sys.argv[1]), Path(sys.argv[2]))
except InputError as error:
    print(f"held_out.py: {error}", file=sys.stderr)
    sys.exit(2)
