"""The model card of a checkpoint: what it is, what it was trained on and how, what it scores."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffwave.errors import InputError
from diffwave.model import DiffusionModel, SamplingConfig
from diffwave.text import decimals, markdown_cell, markdown_table


@dataclass(frozen=True)
class Stage:
    """One run of training."""

    steps: int
    minutes: float
    settings: str = ""
    """File beside the card that holds its settings; empty when they were not noted."""


@dataclass(frozen=True)
class About:
    """What only people know of a voice, and what its runs noted; empty where it is not known."""

    title: str
    data: str = ""
    """What it was trained on, in words."""
    speaker: str = ""
    licence: str = ""
    """An identifier as the Hugging Face hub has them, such as "mit" or "cc-by-4.0"."""
    base: str = ""
    """Voice that training started from: a bundled name or a hub id."""
    date: str = ""
    """Of the last training."""
    chosen: str = ""
    """Which weights of the last run these are, when not the last."""
    before_and_after: Mapping[str, tuple[float, float]] | None = None
    """Validations of the first run before its first step, and of the weights exported."""


_CARD = """---
{front}---

# {title}

A vocoder of the package `diffwave`: a mel-spectrogram goes in, speech comes out.

```bash
python synthesize.py mel.npy out.wav --checkpoint FOLDER_OF_THIS_FILE
```

| | |
|---|---|
{rows}
{scores}{how}"""
_SCORES = """
## Scores

On {count} held-out clip{s}, from the mels of the recordings.

{table}
"""
_HOW = """
## How it was trained

With the settings beside this file, every stage from the weights of the one before:

```bash
{commands}
```
"""


def model_card(
    about: About,
    model: DiffusionModel,
    stages: Sequence[Stage],
    *,
    scores: Mapping[str, Any] | None = None,
    half: bool = True,
) -> str:
    """The card as Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        about: the rest.
        model: that the checkpoint holds.
        stages: runs that made the weights, first one first.
        scores: what `diffwave evaluate` wrote as JSON; InputError if it is not such a report.
        half: whether the network is stored in float16.
    """
    mel, count = model.config.mel, sum(p.numel() for p in model.learned())
    changes = (about.before_and_after or {}).items()
    rows = {
        "network": f"`{model.config.network.kind}`, {count / 1e6:.2f}M parameters, stored in "
        f"{'half' if half else 'single'} precision",
        "mels": f"`{mel.name}`: {mel.n_mels} bands, {mel.fmin:g} to {mel.fmax:g} Hz, of audio at "
        f"{mel.sample_rate} Hz in frames of {mel.n_fft} samples, {mel.hop_length} apart",
        "source": "" if model.config.source is None else _SOURCE,
        "speaker": about.speaker,
        "data": about.data,
        "base voice": about.base,
        "training": "; then ".join(f"{s.steps:,} steps in {s.minutes:.1f} min" for s in stages),
        "before and after": "; ".join(
            f"{name} {decimals(before)} to {decimals(after)}" for name, (before, after) in changes
        ),
        "weights": about.chosen,
        "date": about.date,
        "licence": about.licence or "not stated; ask whoever trained it",
        "default": _sampling(model.config.sampling),
    }
    return _CARD.format(
        front=_front_matter(about),
        title=" ".join(about.title.split()),
        rows="\n".join(f"| {name} | {_cell(text)} |" for name, text in rows.items() if text),
        scores="" if scores is None else _scores(scores),
        how=_how(stages),
    )


def _front_matter(about: About) -> str:
    import yaml

    front = {
        "license": about.licence or "unknown",
        "library_name": "diffwave",
        "pipeline_tag": "text-to-speech",
        "tags": ["vocoder", "diffusion", "mel-spectrogram", "speech-synthesis"],
        **({"base_model": about.base} if "/" in about.base else {}),
    }
    return str(yaml.safe_dump(front, sort_keys=False, allow_unicode=True))


_SOURCE = "pulses predicted from the mel, or of an F0 that is given; noise beside them by band"


def _cell(text: str) -> str:
    return markdown_cell(" ".join(text.split()))


def _sampling(sampling: SamplingConfig) -> str:
    preset = sampling.preset()
    plural = "s"[: preset.steps != 1]
    text = f"{preset.steps} step{plural} of {preset.solver}"
    if preset.levels:
        text += f" at the noise level{plural} {', '.join(f'{u:g}' for u in preset.levels)}"
    if preset.n_iter:
        text += f", then {preset.n_iter} mel-consistency iteration{'s'[: preset.n_iter != 1]}"
    return text


def _scores(scores: Mapping[str, Any]) -> str:
    try:
        notes, count = [str(note) for note in scores["notes"]], len(scores["utterances"])
        rows = [
            (f"{name}{', ' * bool(m['unit'])}{m['unit']}", m["better"], decimals(m["mean"]),
             "-" if None in m["interval"] else " to ".join(map(decimals, m["interval"])))
            for name, m in scores["metrics"].items()
        ]  # fmt: skip
    except (KeyError, TypeError, AttributeError):
        raise InputError("The scores are not what `diffwave evaluate` saves as JSON.") from None
    table = "\n".join(markdown_table(["", "better", "mean", "95 % interval"], rows))
    bullets = "".join(f"- {_without_place(note)}\n" for note in notes)
    text = _SCORES.format(count=count, s="s"[: count != 1], table=table)
    return f"{text}\n{bullets}" if notes else text


def _without_place(note: str) -> str:
    """What `diffwave evaluate` notes of a checkpoint, without the folder on the scorer's disk."""
    return re.sub(r"^checkpoint .*, (?=\d+ steps? of )", "this checkpoint, ", note)


def _how(stages: Sequence[Stage]) -> str:
    noted = [stage.settings for stage in stages if stage.settings]
    commands = "\n".join(
        f"diffwave train {name} --set data.folder=PREPARED --set run.folder=STAGE_{i}"
        + f" --set run.init=STAGE_{i - 1}/export" * (i > 1)
        for i, name in enumerate(noted, 1)
    )
    return _HOW.format(commands=commands) if noted else ""
