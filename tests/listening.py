"""A small listening page: three systems with awkward names, one of which lacks a sentence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from signals import speech_like

from diffwave.eval.metrics import METRICS

RATE = 16000
NASTY = 'π & "quoted" <img src=x onerror=alert(1)> </script>'
SYSTEMS = ("zebra", NASTY, "quagga")
SENTENCES = ("first", "two words", "tre <b>ö</b>")
SECONDS = (0.8, 1.1, 0.6)


def wave_of(sentence: int, track: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Track 0 is the recording; the systems are noisier, the later the more."""
    clean = speech_like(SECONDS[sentence], RATE, seed=sentence)
    noise = np.random.default_rng(track).standard_normal(len(clean)).astype(np.float32)
    return clean + np.float32(0.01 * track) * noise


def page_arguments(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Arguments of `write_page`: three systems, the last without the last sentence."""
    references: dict[str, Path] = {}
    systems: dict[str, dict[str, Path]] = {name: {} for name in SYSTEMS}
    for i, sentence in enumerate(SENTENCES):
        for track in range(len(SYSTEMS) + 1):
            if (i, track) == (2, 3):
                continue
            file = tmp_path / f"{i}-{track}.wav"
            soundfile.write(file, wave_of(i, track), RATE)
            (references if track == 0 else systems[SYSTEMS[track - 1]])[sentence] = file
    scores = {
        name: {
            "pesq": {SENTENCES[0]: 3.0 - s, SENTENCES[1]: 3.5 - s},
            "loudness_db": {SENTENCES[0]: -0.5 + s, SENTENCES[1]: math.nan},
        }
        for s, name in enumerate(SYSTEMS)
    }
    arguments = {
        "folder": tmp_path / "page",
        "title": f"Title {NASTY}",
        "references": references,
        "systems": systems,
        "scores": scores,
        "metrics": {name: METRICS[name] for name in ("pesq", "loudness_db")},
        "notes": [f"Note {NASTY}"],
    }
    return {**arguments, **changes}
