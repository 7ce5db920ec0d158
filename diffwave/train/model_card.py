"""The model card of a checkpoint: what it is, what it was trained on and how, what it scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffwave.errors import InputError
from diffwave.model import DiffusionModel, ModelConfig, SamplingConfig


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
        scores: what `diffwave evaluate` wrote as JSON.
        half: whether the network is stored in float16.

    Raises:
        InputError: scores that are not such a report.
    """
    config = model.config
    count = sum(p.numel() for p in model.learned())
    rows = [
        (
            "network",
            f"`{config.network.kind}`, {count / 1e6:.2f}M "
            f"parameters, stored in {'half' if half else 'single'} precision",
        ),
        ("source", _source(config)),
        ("mels", _mels(config)),
        ("speaker", about.speaker),
        ("data", about.data),
        ("base voice", about.base),
        ("training", "; then ".join(f"{s.steps:,} steps in {s.minutes:.1f} min" for s in stages)),
        ("before and after", _before_and_after(about.before_and_after or {})),
        ("weights", about.chosen),
        ("date", about.date),
        ("licence", about.licence or "not stated; ask whoever trained it"),
        ("default", _sampling(config.sampling)),
    ]
    lines = [
        *_front_matter(about),
        f"# {_cell(about.title)}",
        "",
        "A vocoder of the package `diffwave`: a mel-spectrogram goes in, speech comes out.",
        "",
        "```bash",
        "python synthesize.py mel.npy out.wav --checkpoint FOLDER_OF_THIS_FILE",
        "```",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(text)} |" for name, text in rows if text),
        "",
    ]
    if scores is not None:
        lines += _scores(scores)
    return "\n".join([*lines, *_how(stages)])


def _front_matter(about: About) -> list[str]:
    return [
        "---",
        f"license: {_yaml(about.licence) if about.licence else 'unknown'}",
        "library_name: diffwave",
        "pipeline_tag: text-to-speech",
        "tags: [vocoder, diffusion, mel-spectrogram, speech-synthesis]",
        *([f"base_model: {about.base}"] if "/" in about.base else []),
        "---",
        "",
    ]


def _yaml(text: str) -> str:
    """A scalar: as it stands, or in quotes if that would mean something in YAML."""
    plain = text.replace("-", "").replace(".", "").isalnum()
    return text if plain else "'" + " ".join(text.split()).replace("'", "''") + "'"


def _cell(text: str) -> str:
    """Text that stays in its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _mels(config: ModelConfig) -> str:
    mel = config.mel
    return (
        f"`{mel.name}`: {mel.n_mels} bands, {mel.fmin:g} to {mel.fmax:g} Hz, of audio at "
        f"{mel.sample_rate} Hz in frames of {mel.n_fft} samples, {mel.hop_length} apart"
    )


def _source(config: ModelConfig) -> str:
    if config.source is None:
        return ""
    return "pulses predicted from the mel, or of an F0 that is given; noise beside them by band"


def _before_and_after(values: Mapping[str, tuple[float, float]]) -> str:
    return "; ".join(
        f"{name} {_number(before)} to {_number(after)}" for name, (before, after) in values.items()
    )


def _sampling(sampling: SamplingConfig) -> str:
    preset = sampling.preset()
    plural = "s" if preset.steps != 1 else ""
    text = f"{preset.steps} step{plural} of {preset.solver}"
    if preset.levels:
        text += f" at the noise level{plural} {', '.join(f'{u:g}' for u in preset.levels)}"
    if preset.n_iter:
        text += f", then {preset.n_iter} mel-consistency iteration{'s'[: preset.n_iter != 1]}"
    return text


def _scores(scores: Mapping[str, Any]) -> list[str]:
    try:
        metrics, notes = dict(scores["metrics"]), [str(note) for note in scores["notes"]]
        count = len(scores["sentences"])
        rows = [
            f"| {name}{', ' * bool(m['unit'])}{m['unit']} | {m['better']} "
            f"| {_number(m['mean'])} | {_interval(*m['interval'])} |"
            for name, m in metrics.items()
        ]
    except (KeyError, TypeError, ValueError):
        raise InputError("The scores are not what `diffwave evaluate` saves as JSON.") from None
    return [
        "## Scores",
        "",
        f"On {count} held-out clip{'s'[: count != 1]}, from the mels of the recordings.",
        "",
        "| | better | mean | 95 % interval |",
        "|---|---|---|---|",
        *rows,
        "",
        *(f"- {note}" for note in notes),
        *([""] if notes else []),
    ]


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    """Three significant digits at least; a dash for what is not defined."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _how(stages: Sequence[Stage]) -> list[str]:
    noted = [stage.settings for stage in stages if stage.settings]
    if not noted:
        return []
    return [
        "## How it was trained",
        "",
        "With the settings beside this file, every stage from the weights of the one before:",
        "",
        "```bash",
        *(
            f"diffwave train {name} --set data.folder=PREPARED --set run.folder=STAGE_{i}"
            + (f" --set run.init=STAGE_{i - 1}/export" if i > 1 else "")
            for i, name in enumerate(noted, 1)
        ),
        "```",
        "",
    ]
