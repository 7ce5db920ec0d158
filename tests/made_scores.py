"""Made-up scores, and a small listening page of three systems with awkward names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from signals import speech_like

from diffwave.eval.scores import FACTS, Scores

NAN = math.nan
RATE = 16000
NASTY = 'π & "quoted" <img src=x onerror=alert(1)> </script>'
SYSTEMS = ("zebra", NASTY, "quagga")
UTTERANCES = ("first", "two words", "tre <b>ö</b>")
SECONDS = (0.8, 1.1, 0.6)


def made_up(
    systems: Mapping[str, Mapping[str, Sequence[float]]],
    utterances: Sequence[str] = [f"s{i}" for i in range(99)],
    **changes: Any,
) -> Scores:
    """{system: {metric: one value for each of the first utterances}}.

    A metric is shorter where the system lacks the last utterances; "extra_ms" may be among them.
    """
    rows = {}
    for system, metrics in systems.items():
        for i in range(max(map(len, metrics.values()))):
            facts = dict.fromkeys(FACTS, 0.0) | {"seconds": 2.0}
            rows[system, utterances[i]] = facts | {name: v[i] for name, v in metrics.items()}
    index = pd.MultiIndex.from_tuples(rows, names=["system", "utterance"])
    notes = {system: [] for system in systems}
    return Scores(pd.DataFrame(rows.values(), index), **{"notes": notes, **changes})


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
        for track in range(4 - (i == 2)):
            file = tmp_path / f"{i}-{track}.wav"
            soundfile.write(file, wave_of(i, track), RATE)
            (references if track == 0 else systems[SYSTEMS[track - 1]])[utterance] = file
    values = {
        name: {"pesq": [3.0 - s, 3.5 - s, NAN], "loudness_db": [-0.5 + s, NAN, NAN]}
        for s, name in enumerate(SYSTEMS)
    }
    values["quagga"] = {name: column[:2] for name, column in values["quagga"].items()}
    arguments = {
        "folder": tmp_path / "page",
        "title": f"Title {NASTY}",
        "scores": made_up(values, UTTERANCES, references=references, generated=systems),
        "notes": [f"Note {NASTY}"],
        "transcripts": {UTTERANCES[0]: f"Text {NASTY}"},
    }
    return {**arguments, **changes}
