"""A DiffWave checkpoint of another project, made a checkpoint folder of this package."""

from __future__ import annotations

from pathlib import Path

from diffwave.checkpoint import save_checkpoint
from diffwave.errors import InputError
from diffwave.files import atomic_folder
from diffwave.importers.card import model_card
from diffwave.importers.configuration import About, configuration
from diffwave.importers.layouts import PROJECTS
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
    card = model_card(layout, file, out, model, about)
    with atomic_folder(out) as folder:
        save_checkpoint(model, folder, half=False)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return config
