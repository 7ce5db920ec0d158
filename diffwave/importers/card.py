"""The model card of an imported checkpoint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from diffwave.importers.configuration import About
from diffwave.importers.layouts import Project
from diffwave.model import DiffusionModel
from diffwave.text import markdown_cell

_CARD = """---
{front}---

# {title}

DiffWave, imported by the package `diffwave` from a checkpoint of [{project}]({address}).

```bash
python synthesize.py mel.npy out.wav --checkpoint FOLDER_OF_THIS_FILE
```

| | |
|---|---|
{rows}
"""


def model_card(layout: Project, file: Path, out: Path, model: DiffusionModel, about: About) -> str:
    """The model card: where the weights come from, and what they want."""
    config, mel, chain = model.config, model.config.mel, model.denoiser.trained_levels
    whole = "" if chain is None else f", the whole chain by --steps {len(chain)}"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    code = f"; the code of {layout.title} is under {layout.licence}" if layout.licence else ""
    front = {
        "license": about.licence or "unknown",
        "library_name": "diffwave",
        "pipeline_tag": "text-to-speech",
        "tags": ["vocoder", "diffusion", "diffwave"],
    }
    rows = {
        "source": f"{file.name} of {layout.title}, SHA-256 {digest}",
        "network": f"{sum(p.numel() for p in model.learned()) / 1e6:.2f}M parameters, stored in "
        "single precision",
        "mels": f"{mel.name}: {mel.n_mels} bands, {mel.fmin:g} to {mel.fmax:g} Hz, of audio at "
        f"{mel.sample_rate} Hz, {mel.hop_length} samples apart",
        "chain": f"{config.diffusion.schedule}; {config.sampling.default} steps by default{whole}",
        "speaker": about.speaker,
        "data": about.data,
        "licence": about.licence or f"not stated in the file; ask whoever trained it{code}",
    }
    return _CARD.format(
        front="".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items()),
        title=" ".join((about.title or out.resolve().name).split()),
        project=layout.title,
        address=layout.address,
        rows="\n".join(
            f"| {name} | {markdown_cell(text)} |" for name, text in rows.items() if text
        ),
    )
