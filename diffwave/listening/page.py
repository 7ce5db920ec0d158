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
import hashlib
import html
import io
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import soundfile
import torch
from torch import Tensor
from torch.nn import functional as F

from diffwave.base.audio import read_audio
from diffwave.base.errors import InputError
from diffwave.base.files import atomic_folder, json_text
from diffwave.base.libraries import version_of
from diffwave.eval.metrics import METRICS
from diffwave.eval.scores import Scores
from diffwave.listening import pictures

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
    if place.is_dir() and not (place / MARKER).is_file() and any(place.iterdir()):
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
    digest = hashlib.sha256(title.encode())
    with atomic_folder(folder) as new:
        for name in ("assets", "audio", "pictures"):
            (new / name).mkdir()
        (new / MARKER).write_text(MARKER_TEXT)
        utterances = []
        for number, (utterance, path) in enumerate(references.items()):
            original, rate = read_audio(path)
            waves = {0: original}  # by track; some systems may lack the utterance
            for track, name in enumerate(systems, 1):
                if utterance in systems[name]:
                    lag_ms = scores.table.loc[(name, utterance), "lag_ms"]
                    wave, _ = read_audio(systems[name][utterance], rate)
                    waves[track] = _in_step(wave, round(lag_ms * rate / 1000), len(original))
            flacs = {track: _flac(wave, rate) for track, wave in waves.items()}
            gains = dict(zip(waves, _level_gains(torch.stack([*waves.values()])), strict=True))
            audio = json.dumps([flacs.get(track) for track in range(1 + len(systems))])
            digest.update(audio.encode())
            (new / "audio" / f"{number}.js").write_text(f"receiveAudio({number}, {audio});\n")
            _write_pictures(new / "pictures", number, waves, rate, top)
            utterances.append(
                {
                    "name": utterance,
                    "text": (transcripts or {}).get(utterance),
                    "seconds": len(original) / rate,
                    "khz": rate / 2000,
                    "gains": [gains.get(track) for track in range(1 + len(systems))],
                }
            )
        data = {
            "id": digest.hexdigest()[:16],
            "title": title,
            "notes": list(notes),
            "systems": list(systems),
            "utterances": utterances,
            "scale": pictures.scale(top),
            **_scores(scores),
        }
        (new / "data.js").write_text(f"const DATA = {json_text(data)};\n", encoding="utf-8")
        for asset in resources.files("diffwave.listening").joinpath("assets").iterdir():
            text = asset.read_text(encoding="utf-8")
            if asset.name == "index.html":
                text = Template(text).substitute(title=html.escape(title))
            place = new if asset.name == "index.html" else new / "assets"
            (place / asset.name).write_text(text, encoding="utf-8")
    return Path(folder) / "index.html"


def _in_step(wave: Tensor, lag: int, length: int) -> Tensor:
    """A wave without its delay of `lag` samples, cut or continued with silence to a length."""
    wave = F.pad(wave, (-lag, 0))  # cuts where the lag is positive
    return F.pad(wave, (0, length - len(wave)))


def _flac(wave: Tensor, sample_rate: int) -> str:
    stream = io.BytesIO()
    samples = wave.clamp(-1, 1).numpy()
    soundfile.write(stream, samples, sample_rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _write_pictures(
    folder: Path, number: int, waves: Mapping[int, Tensor], rate: int, top: float
) -> None:
    """N-0.png is the original, N-K.png system K, N-K-difference.png their difference."""
    levels = {track: pictures.levels_db(wave, rate) for track, wave in waves.items()}
    for track, level in levels.items():
        (folder / f"{number}-{track}.png").write_bytes(pictures.spectrogram_png(level, top))
        if track:
            difference = pictures.difference_png(level, levels[0], top)
            (folder / f"{number}-{track}-difference.png").write_bytes(difference)


def _level_gains(waves: Tensor) -> list[float]:
    """Factors that give waves [N, L] the first one's RMS, all lowered alike if one would clip."""
    waves = waves.double()
    level = waves.square().mean(dim=1).sqrt()
    gains = (level[0] / level).clamp(1 / MAX_GAIN, MAX_GAIN)
    gains = torch.where((level > 0) & (level[0] > 0), gains, 1.0)
    gains /= (gains * waves.abs().amax(dim=1)).max().clamp(min=1)
    return list(gains.tolist())


def _scores(scores: Scores) -> dict[str, Any]:
    """Tables indexed by system, metric and utterance."""
    index = [(system, utterance) for system in scores.generated for utterance in scores.references]
    values = scores.table[scores.metrics].reindex(index).to_numpy(dtype=float)
    values = values.reshape(len(scores.generated), len(scores.references), -1).swapaxes(1, 2)
    metrics = [(name, METRICS[name]) for name in scores.metrics]
    return {
        "metrics": [
            {
                "name": name, "title": metric.title or name, "about": metric.about,
                "unit": metric.unit, "better": metric.better,
                "how": f"{version_of(metric.library)}; {metric.settings}",
            }
            for name, metric in metrics
        ],
        "values": values.tolist(),
        "means": [
            [scores.summary[name][system]._asdict() for name in scores.metrics]
            for system in scores.generated
        ],
        "compared": len(scores.common),
        "tests": [
            {
                "metric": scores.metrics.index(test.metric),
                "pair": [scores.systems.index(test.first), scores.systems.index(test.second)],
                "difference": test.difference.mean, "n": test.difference.n,
                "p": test.p, "holm": test.p_holm,
            }
            for test in scores.tests
        ],
    }  # fmt: skip
