"""A model card: what a checkpoint is, as Markdown with the front matter of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffwave.base.text import markdown_cell
from diffwave.model import DiffusionModel

_CARD = """---
{front}---

# {title}

{what}

```bash
python synthesize.py mel.npy out.wav --checkpoint FOLDER_OF_THIS_FILE
```

| | |
|---|---|
{rows}
"""


@dataclass(frozen=True)
class About:
    """What only people know of a voice; empty where it is not known."""

    title: str = ""
    """By default the name of the folder."""
    data: str = ""
    """What it was trained on, in words."""
    speaker: str = ""
    licence: str = ""
    """Of the weights, as the Hugging Face hub calls it, such as "cc-by-4.0"."""


def model_card(
    model: DiffusionModel,
    half: bool,
    folder: str,
    what: str,
    about: About,
    rows: Mapping[str, str],
    tag: str,
    **front: Any,
) -> str:
    """The card of a vocoder.

    Args:
        model: whose sizes are told.
        half: whether it is stored in half precision.
        folder: name of its folder.
        what: a sentence.
        about: what is known of the voice.
        rows: more of the table; those without text are left out.
        tag: of the hub, beside "vocoder" and "diffusion".
        front: more of the front matter.
    """
    front = {
        "license": about.licence or "unknown",
        "library_name": "diffwave",
        "pipeline_tag": "text-to-speech",
        "tags": ["vocoder", "diffusion", tag],
        **front,
    }
    mel, weights = model.config.mel, sum(p.numel() for p in model.learned()) / 1e6
    table = {
        "network": f"`{model.config.network.kind}`, {weights:.2f}M parameters, stored in "
        f"{'half' if half else 'single'} precision",
        "mels": f"`{mel.name}`: {mel.n_mels} bands, {mel.fmin:g} to {mel.fmax:g} Hz, of audio at "
        f"{mel.sample_rate} Hz in frames of {mel.n_fft} samples, {mel.hop_length} apart",
        "speaker": about.speaker,
        "data": about.data,
        **rows,
    }
    lines = {name: markdown_cell(" ".join(text.split())) for name, text in table.items() if text}
    return _CARD.format(
        front="".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items()),
        title=" ".join((about.title or folder).split()),
        what=what,
        rows="\n".join(f"| {name} | {text} |" for name, text in lines.items()),
    )
