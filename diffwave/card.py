"""A model card: what a checkpoint is, as Markdown with the front matter of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from diffwave.base.text import markdown_cell

_CARD = """---
{front}---

# {title}

{about}

```bash
python synthesize.py mel.npy out.wav --checkpoint FOLDER_OF_THIS_FILE
```

| | |
|---|---|
{rows}
"""


def model_card(
    title: str, about: str, licence: str, rows: Mapping[str, str], tag: str, **front: Any
) -> str:
    """The card of a vocoder.

    Args:
        title: heading, on one line.
        about: a sentence.
        licence: of the weights, as the hub calls it; empty where it is not known.
        rows: of a table; those without text are left out.
        tag: of the hub, beside "vocoder" and "diffusion".
        front: more of the front matter.
    """
    front = {
        "license": licence or "unknown",
        "library_name": "diffwave",
        "pipeline_tag": "text-to-speech",
        "tags": ["vocoder", "diffusion", tag],
        **front,
    }
    lines = {name: markdown_cell(" ".join(text.split())) for name, text in rows.items() if text}
    return _CARD.format(
        front="".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items()),
        title=" ".join(title.split()),
        about=about,
        rows="\n".join(f"| {name} | {text} |" for name, text in lines.items()),
    )
