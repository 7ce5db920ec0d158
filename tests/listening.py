"""A small listening page: three systems with awkward names, one of which lacks an utterance."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from signals import speech_like

from diffwave.eval.scores import COLUMNS, Scores

RATE = 16000
NASTY = 'π & "quoted" <img src=x onerror=alert(1)> </script>'
SYSTEMS = ("zebra", NASTY, "quagga")
UTTERANCES = ("first", "two words", "tre <b>ö</b>")
SECONDS = (0.8, 1.1, 0.6)


def wave_of(utterance: int, track: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Track 0 is the recording; the systems are noisier, the later the more."""
    clean = speech_like(SECONDS[utterance], RATE, seed=utterance)
    noise = np.random.default_rng(track).standard_normal(len(clean)).astype(np.float32)
    return clean + np.float32(0.01 * track) * noise


def page_arguments(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Arguments of `write_page`: three systems, the last without the last utterance."""
    references: dict[str, Path] = {}
    systems: dict[str, dict[str, Path]] = {name: {} for name in SYSTEMS}
    for i, utterance in enumerate(UTTERANCES):
        for track in range(len(SYSTEMS) + 1):
            if (i, track) == (2, 3):
                continue
            file = tmp_path / f"{i}-{track}.wav"
            soundfile.write(file, wave_of(i, track), RATE)
            (references if track == 0 else systems[SYSTEMS[track - 1]])[utterance] = file
    rows = [
        (name, utterance, metric, value)
        for s, name in enumerate(SYSTEMS)
        for i, utterance in enumerate(systems[name])
        for metric, value in (
            ("seconds", 1.0), ("lag_ms", 0.0), ("extra_ms", 0.0),
            ("pesq", (3.0 - s, 3.5 - s, math.nan)[i]),
            ("loudness_db", (-0.5 + s, math.nan, math.nan)[i]),
        )
    ]  # fmt: skip
    arguments = {
        "folder": tmp_path / "page",
        "title": f"Title {NASTY}",
        "scores": Scores(
            pd.DataFrame(rows, columns=COLUMNS), references=references, generated=systems
        ),
        "notes": [f"Note {NASTY}"],
        "transcripts": {UTTERANCES[0]: f"Text {NASTY}"},
    }
    return {**arguments, **changes}
