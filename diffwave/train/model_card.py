"""The model card of a checkpoint: what it is, what it was trained on and how, what it scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffwave.errors import InputError
from diffwave.model import DiffusionModel, ModelConfig, SamplingConfig


@dataclass(frozen=True)
class Part:
    """One run of training."""

    steps: int
    minutes: float
    settings: str
    """What differs from the defaults, as YAML; empty when it was not noted."""


def model_card(
    title: str,
    model: DiffusionModel,
    parts: Sequence[Part],
    *,
    scores: Mapping[str, Any] | None = None,
    data: str = "",
    half: bool = True,
    chosen: str = "",
) -> str:
    """The card as Markdown.

    Args:
        title: of the card.
        model: that the checkpoint holds.
        parts: runs that made the weights, first one first.
        scores: what `diffwave evaluate` wrote as JSON.
        data: what it was trained on, in words.
        half: whether the network is stored in float16.
        chosen: which weights of the last run these are, when not the last.

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
        ("mels", _mels(config)),
        *([("data", data)] if data else []),
        ("training", "; then ".join(_told(part) for part in parts)),
        *([("weights", chosen)] if chosen else []),
        ("default", _sampling(config.sampling)),
    ]
    lines = [
        f"# {title}",
        "",
        "A vocoder of the package `diffwave`: a mel-spectrogram goes in, speech comes out.",
        "",
        "```bash",
        "python synthesize.py mel.npy out.wav --checkpoint FOLDER_OF_THIS_FILE",
        "```",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in rows),
        "",
    ]
    if scores is not None:
        lines += _scores(scores)
    return "\n".join([*lines, *_how(parts)])


def _mels(config: ModelConfig) -> str:
    mel = config.mel
    return (
        f"`{mel.name}`: {mel.n_mels} bands, {mel.fmin:g} to {mel.fmax:g} Hz, of audio at "
        f"{mel.sample_rate} Hz in frames of {mel.n_fft} samples, {mel.hop_length} apart"
    )


def _told(part: Part) -> str:
    return f"{part.steps:,} steps in {part.minutes:.1f} min"


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


def _how(parts: Sequence[Part]) -> list[str]:
    noted = [(i, part.settings) for i, part in enumerate(parts, 1) if part.settings]
    if not noted:
        return []
    lines = ["## How it was trained", ""]
    for i, settings in noted:
        name = "settings.yaml" if len(parts) == 1 else f"part-{i}.yaml"
        lines += [
            f"`diffwave train {name}`, with these settings in `{name}`:",
            "",
            "```yaml",
            settings.rstrip("\n"),
            "```",
            "",
        ]
    return lines
