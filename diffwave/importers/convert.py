"""A DiffWave checkpoint of another project, made a checkpoint folder of this package."""

from __future__ import annotations

import hashlib
from pathlib import Path

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_folder
from diffwave.base.text import counted
from diffwave.card import model_card
from diffwave.checkpoint import save_checkpoint
from diffwave.importers.configuration import About, configuration
from diffwave.importers.layouts import PROJECTS, Project
from diffwave.importers.tensors import load, own_tensors, translated, weights
from diffwave.model import DiffusionModel, ModelConfig


def import_checkpoint(project: str, file: Path, out: Path, about: About) -> ModelConfig:
    """Write the weights of another project's file as a checkpoint folder with a model card.

    Args:
        project: a name in `PROJECTS`.
        file: its checkpoint.
        out: folder, made or replaced; its parent must exist.
        about: what the file does not say.

    Returns:
        the configuration written.

    Raises:
        InputError: a file that is not one of that project, holds a tensor that its network does
            not have, lacks one or has another shape; a schedule that is not known.
    """
    layout = PROJECTS[project]
    content = load(file)
    try:
        state, params = weights(content, layout)
        state, betas = own_tensors(state)
        config = configuration(layout, state, params, betas, about)
        model = DiffusionModel(config)
        model.network.load_state_dict(translated(layout, state, model.network.state_dict()))
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    card = _card(layout, file, out, model, about)
    with atomic_folder(out) as folder:
        save_checkpoint(model, folder, half=False)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return config


def _card(layout: Project, file: Path, out: Path, model: DiffusionModel, about: About) -> str:
    """The model card: where the weights come from, and what they want."""
    config, chain = model.config, model.denoiser.trained_levels
    whole = "" if chain is None else f", the whole chain by --steps {len(chain)}"
    steps = counted(config.sampling.default, "step")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    code = f"; the code of {layout.title} is under {layout.licence}" if layout.licence else ""
    rows = {
        "source": f"{file.name} of {layout.title}, SHA-256 {digest}",
        "chain": f"{config.diffusion.schedule}; {steps} by default{whole}",
        "licence": about.licence or f"not stated in the file; ask whoever trained it{code}",
    }
    what = "DiffWave, imported by the package `diffwave` from a checkpoint of "
    what += f"[{layout.title}]({layout.address})."
    return model_card(model, False, out.resolve().name, what, about, rows, "diffwave")
