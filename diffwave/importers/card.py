"""The model card of an imported checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path

from diffwave.card import model_card
from diffwave.importers.configuration import About
from diffwave.importers.layouts import Project
from diffwave.model import DiffusionModel


def card_of(layout: Project, file: Path, out: Path, model: DiffusionModel, about: About) -> str:
    """The model card: where the weights come from, and what they want."""
    config, mel, chain = model.config, model.config.mel, model.denoiser.trained_levels
    whole = "" if chain is None else f", the whole chain by --steps {len(chain)}"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    code = f"; the code of {layout.title} is under {layout.licence}" if layout.licence else ""
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
    return model_card(
        about.title or out.resolve().name,
        f"DiffWave, imported by the package `diffwave` from a checkpoint of [{layout.title}]"
        f"({layout.address}).",
        about.licence,
        rows,
        "diffwave",
    )
