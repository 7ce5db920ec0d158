"""The averaged weights of a run, as a checkpoint folder with a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffwave.checkpoint import load_checkpoint, save_checkpoint
from diffwave.data.shards import TRAIN, open_prepared
from diffwave.errors import InputError
from diffwave.files import atomic_path
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.train.model_card import Part, model_card
from diffwave.train.settings import SETTINGS_FILE, read_config
from diffwave.train.state import Progress, progress_of, read_state, saved_states

CARD_FILE = "README.md"


def export_run(
    run: Path,
    out: Path,
    *,
    earlier: tuple[Path, ...] = (),
    scores: Mapping[str, Any] | None = None,
    title: str = "",
    data: str = "",
    half: bool = True,
    best: bool = False,
) -> Progress:
    """Write the averaged weights of a run, and a card that says what they are.

    They are those of the newest sound state, or the best by validation.

    Args:
        run: folder of a run, which may go on meanwhile.
        out: checkpoint folder, made or replaced; its parent must exist.
        earlier: folders of the runs that this one's weights came from, first one first.
        scores: what `diffwave evaluate` wrote as JSON.
        title: of the card; the name of `out` when empty.
        data: what it was trained on, in words; by default the hours of the prepared corpus that the
            run's settings name, if it is still there.
        half: store the network in float16.
        best: take the weights that validated best, if they are not the newest.

    Returns:
        how far the run was.

    Raises:
        InputError: no run, none of its states readable, or a folder that cannot be written.
    """
    parts = [part_of(folder) for folder in (*earlier, run)]
    model, progress = averaged_model(run)
    chosen = ""
    if best:
        if not (run / "best").is_dir():
            raise InputError(f"The run in {run} has no best weights: it was not validated yet.")
        model = load_checkpoint(run / "best")
        chosen = f"those of the best validation so far ({progress.best_by} {progress.best:.4g})"
    card = model_card(
        title or out.resolve().name,
        model,
        parts,
        scores=scores,
        data=data or _data_of(run),
        half=half,
        chosen=chosen,
    )
    save_checkpoint(model, out, half)
    with atomic_path(out / CARD_FILE) as path:
        path.write_text(card, encoding="utf-8")
    return progress


def averaged_model(run: Path) -> tuple[DiffusionModel, Progress]:
    """The model of a run with its averaged weights, on the CPU, and how far the run was."""
    state = _newest_state(run)
    if "config" not in state:
        raise InputError(f"The run in {run} is of an early version that did not note its model.")
    try:
        model = DiffusionModel(ModelConfig.from_dict(state["config"]))
        model.load_state_dict(state["module"])
        with torch.no_grad():
            averages = state["ema"]
            for parameter, average in zip(model.learned(), averages, strict=True):
                parameter.copy_(average)
        return model.eval().requires_grad_(False), progress_of(state)
    except InputError:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError):
        raise InputError(f"The newest state in {run} is not one of this package.") from None


def part_of(run: Path) -> Part:
    """What the card says of a run."""
    progress = progress_of(_newest_state(run))
    path = run / SETTINGS_FILE
    settings = path.read_text(encoding="utf-8") if path.is_file() else ""
    return Part(progress.step, progress.minutes, settings)


def _data_of(run: Path) -> str:
    """Length and clips of the corpus of a run; empty when they are not known."""
    try:
        folder = Path(read_config(str(run / SETTINGS_FILE)).data.folder)
        prepared = open_prepared(folder)
    except InputError:  # no settings, no prepared corpus, or it has gone
        return ""
    train = [entry.length for entry in prepared.entries if entry.split == TRAIN]
    minutes = sum(train) / prepared.mel.sample_rate / 60
    told = f"{minutes:.1f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
    return f"{told} in {len(train)} clips, and {len(prepared.entries) - len(train)} held out"


def _newest_state(run: Path) -> dict[str, Any]:
    """The newest state that can be read; a damaged one is passed over, as resuming does."""
    states = saved_states(run)
    for path in reversed(states):
        try:
            return read_state(path)
        except InputError:
            continue
    if states:
        raise InputError(f"None of the {len(states)} checkpoints in {run} can be read.")
    raise InputError(f"There is no run in {run}: it holds no step-*.pt.")
