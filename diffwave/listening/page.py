"""The listening page: a folder to open in a browser, that plays, shows and compares systems.

The folder needs no server and no network. `index.html` loads its scripts and style from `assets/`,
what is known of the systems from `data.js`, the pictures from `pictures/`, and the audio from
`audio/N.js`, one script for utterance N that holds all its waves as FLAC in base64: a page opened
from the disk may run scripts, but not read files. So the browser never asks for the audio of one
system, and the blind tests can hide from page, network log and file names which one is playing.

Every wave is at its reference's sample rate, shifted by the delay that scoring undoes (`align`) and
cut, or continued with silence, to the reference's length: one may switch between them while they
play, and neither a delay nor the duration gives a system away.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import soundfile
from torch import Tensor
from torch.nn import functional as F

from diffwave.audio import read_audio
from diffwave.errors import InputError
from diffwave.eval.metrics import METRICS, library_version
from diffwave.eval.scores import Scores
from diffwave.eval.waves import align
from diffwave.files import atomic_folder
from diffwave.listening import pictures
from diffwave.text import finite

UNEVEN = 0.1  # s; a larger difference in length is reported on the page
MAX_GAIN = 4.0  # of the level matching: a silent wave is not to be blown up
MARKER = "listening-page.txt"  # a folder that holds it may be replaced by a new page
MARKER_TEXT = (
    "This folder is a listening page of `diffwave evaluate --html`; open index.html.\n"
    "It is replaced as a whole when a page is written here again: keep nothing else in it.\n"
)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise `InputError` unless a page may be written here: nothing else may be lost by it.

    The folder is absent, or empty, or an earlier page.
    """
    place = Path(folder)
    if not os.path.lexists(place) or (place / MARKER).is_file():
        return
    if not place.is_dir():
        raise InputError(f"Cannot write {folder}: it exists and is not a folder.")
    if any(place.iterdir()):
        raise InputError(
            f"Cannot write {folder}: it exists and is not an earlier listening page; name a new "
            "folder."
        )


def write_page(
    folder: str | os.PathLike[str],
    title: str,
    scores: Scores,
    notes: Sequence[str] = (),
    transcripts: Mapping[str, str] | None = None,
) -> Path:
    """Write the page of some systems' versions of the same utterances; returns its index.html.

    Args:
        folder: absent, empty, or an earlier page, which is replaced once the new one is complete.
        title: of the page.
        scores: what was measured, and where the audio is: `Scores.references` in the order of the
            page, and `Scores.generated`, where a system may lack utterances.
        notes: what the reader should know, one statement each.
        transcripts: {utterance: text}, shown where there is one.

    Raises:
        InputError: there is no utterance or no system, an audio file cannot be used, the folder
            holds something else or cannot be written, or a library is missing.
    """
    check_folder(folder)
    references, systems = scores.references, scores.generated
    if not references or not systems:
        raise InputError("A listening page needs at least one recording and one system.")
    top = pictures.common_top(pictures.levels_db(*read_audio(path)) for path in references.values())
    notes, digest = list(notes), hashlib.sha256(title.encode())
    with atomic_folder(folder) as new:
        for name in ("assets", "audio", "pictures"):
            (new / name).mkdir()
        (new / MARKER).write_text(MARKER_TEXT)
        utterances = []
        uneven = dict.fromkeys(systems, 0)
        for number, (utterance, path) in enumerate(references.items()):
            files = {name: found.get(utterance) for name, found in systems.items()}
            waves, rate, odd = _waves(path, files)
            for system in odd:
                uneven[system] += 1
            audio = json.dumps([None if wave is None else _flac(wave, rate) for wave in waves])
            digest.update(audio.encode())
            (new / "audio" / f"{number}.js").write_text(f"receiveAudio({number}, {audio});\n")
            _write_pictures(new / "pictures", number, waves, rate, top)
            utterances.append(
                {
                    "name": utterance,
                    "text": (transcripts or {}).get(utterance),
                    "seconds": len(_reference(waves)) / rate,
                    "khz": rate / 2000,
                    "gains": _level_gains(waves),
                }
            )
        notes += [
            f"{count} of {system}'s waves differ from the original's length by more than "
            f"{1000 * UNEVEN:.0f} ms; here they are cut, or continued with silence."
            for system, count in uneven.items()
            if count
        ]
        data = {
            "id": digest.hexdigest()[:16],
            "title": title,
            "notes": notes,
            "systems": list(systems),
            "utterances": utterances,
            "scale": _scale(top),
            **_scores(scores),
        }
        text = json.dumps(finite(data), allow_nan=False, indent=1)
        (new / "data.js").write_text(f"const DATA = {text};\n", encoding="ascii")
        _write_assets(new, title)
    return Path(folder) / "index.html"


def _waves(
    reference: Path, files: Mapping[str, Path | None]
) -> tuple[list[Tensor | None], int, list[str]]:
    """The reference and each system's wave without its delay, [L] each, at the reference's rate.

    Also that rate, and the systems whose wave had another length.
    """
    original, rate = read_audio(reference)
    waves: list[Tensor | None] = [original]
    uneven = []
    for system, path in files.items():
        if path is None:
            waves.append(None)
            continue
        wave, _ = read_audio(path, rate)
        lag = round(align(original.numpy(), wave.numpy(), rate)[2] * rate)
        wave = wave[lag:] if lag > 0 else F.pad(wave, (-lag, 0))
        if abs(len(wave) - len(original)) > UNEVEN * rate:
            uneven.append(system)
        waves.append(F.pad(wave[: len(original)], (0, max(0, len(original) - len(wave)))))
    return waves, rate, uneven


def _reference(waves: list[Tensor | None]) -> Tensor:
    assert waves[0] is not None
    return waves[0]


def _flac(wave: Tensor, sample_rate: int) -> str:
    stream = io.BytesIO()
    samples = wave.clamp(-1, 1).numpy()
    soundfile.write(stream, samples, sample_rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _write_pictures(
    folder: Path, number: int, waves: list[Tensor | None], sample_rate: int, top: float
) -> None:
    """N-0.png is the reference, N-K.png system K, N-K-difference.png their difference."""
    original = pictures.levels_db(_reference(waves), sample_rate)
    for index, wave in enumerate(waves):
        if wave is None:
            continue
        levels = pictures.levels_db(wave, sample_rate)
        (folder / f"{number}-{index}.png").write_bytes(pictures.spectrogram_png(levels, top))
        if index:
            difference = pictures.difference_png(levels, original, top)
            (folder / f"{number}-{index}-difference.png").write_bytes(difference)


def _level_gains(waves: list[Tensor | None]) -> list[float | None]:
    """Factors that give every wave the reference's RMS, all lowered alike where one would clip."""
    target = float(_reference(waves).square().mean().sqrt())
    gains: list[float | None] = []
    for wave in waves:
        rms = math.nan if wave is None else float(wave.square().mean().sqrt())
        gain = min(max(target / rms, 1 / MAX_GAIN), MAX_GAIN) if rms > 0 and target > 0 else 1.0
        gains.append(None if wave is None else gain)
    peaks = [
        gain * float(wave.abs().max())
        for gain, wave in zip(gains, waves, strict=True)
        if wave is not None and gain is not None
    ]
    return [None if gain is None else gain / max(1.0, *peaks) for gain in gains]


def _scale(top: float) -> dict[str, Any]:
    return {
        "low": top - pictures.RANGE_DB,
        "high": top,
        "colours": pictures.css_colours(pictures.LEVEL_COLOURS),
        "difference": pictures.DIFFERENCE_DB,
        "differenceColours": pictures.css_colours(pictures.DIFFERENCE_COLOURS),
    }


def _scores(scores: Scores) -> dict[str, Any]:
    """Tables indexed by system, metric and utterance."""
    index = [(system, utterance) for system in scores.generated for utterance in scores.references]
    values = scores.wide[scores.metrics].reindex(index).to_numpy(dtype=float)
    values = values.reshape(len(scores.generated), len(scores.references), -1).swapaxes(1, 2)
    metrics = [(name, METRICS[name]) for name in scores.metrics]
    return {
        "metrics": [
            {
                "name": name, "title": metric.title or name, "about": metric.about,
                "unit": metric.unit, "better": metric.better,
                "how": f"{library_version(metric)}; {metric.settings}",
            }
            for name, metric in metrics
        ],
        "values": values.tolist(),
        "means": [
            [dataclasses.asdict(scores.summary[name][system]) for name in scores.metrics]
            for system in scores.generated
        ],
        "compared": len(scores.common),
        "tests": [
            {
                "metric": metric,
                "pair": [scores.systems.index(test.first), scores.systems.index(test.second)],
                "difference": test.difference.mean, "n": test.difference.n,
                "p": test.p, "holm": test.p_holm,
            }
            for metric, name in enumerate(scores.metrics)
            for test in scores.tests[name]
        ],
    }  # fmt: skip


def _write_assets(folder: Path, title: str) -> None:
    for asset in resources.files("diffwave.listening").joinpath("assets").iterdir():
        text = asset.read_text(encoding="utf-8")
        if asset.name == "index.html":
            text = Template(text).substitute(title=html.escape(title))
            (folder / "index.html").write_text(text, encoding="utf-8")
        else:
            (folder / "assets" / asset.name).write_text(text, encoding="utf-8")
