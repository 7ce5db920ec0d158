"""The averaged weights of a run, as a checkpoint folder with a model card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from diffwave.checkpoint import load_checkpoint, save_checkpoint
from diffwave.data.shards import TRAIN, open_prepared
from diffwave.errors import InputError
from diffwave.files import atomic_path
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.train.logbook import METRICS_FILE, read_rows
from diffwave.train.model_card import About, Stage, model_card
from diffwave.train.settings import SETTINGS_FILE, read_config
from diffwave.train.state import Progress, progress_of, read_state, saved_states
from diffwave.train.validation import SCORES

CARD_FILE = "README.md"
UNPUBLISHED = "a checkpoint that is not published"
_FOLDERS = [("run", "folder"), ("run", "init"), ("data", "folder"), ("data", "mel_folder")]
"""Settings that are places on the machine that trained."""


def export_run(
    run: Path,
    out: Path,
    *,
    earlier: tuple[Path, ...] = (),
    scores: Mapping[str, Any] | None = None,
    title: str = "",
    data: str = "",
    speaker: str = "",
    licence: str = "",
    half: bool = True,
    best: bool = False,
) -> Progress:
    """Write the averaged weights of a run, a card that says what they are, and its settings.

    They are those of the newest sound state, or the best by validation.

    Args:
        run: folder of a run, which may go on meanwhile.
        out: checkpoint folder, made or replaced; its parent must exist.
        earlier: folders of the runs that this one's weights came from, first one first.
        scores: what `diffwave evaluate` wrote as JSON.
        title: of the card; the name of `out` when empty.
        data: what it was trained on, in words; by default the hours of the prepared corpus that the
            run's settings name, if it is still there.
        speaker: whose voice it is.
        licence: of the weights, as the Hugging Face hub calls it, such as "cc-by-4.0".
        half: store the network in float16.
        best: take the weights that validated best, if they are not the newest.

    Returns:
        how far the run was.

    Raises:
        InputError: no run, none of its states readable, or a folder that cannot be written.
    """
    runs = [*earlier, run]
    names = [SETTINGS_FILE] if len(runs) == 1 else [f"stage-{i + 1}.yaml" for i in range(len(runs))]
    settings = {
        name: _portable(folder / SETTINGS_FILE)
        for name, folder in zip(names, runs, strict=True)
        if (folder / SETTINGS_FILE).is_file()
    }
    stages = []
    for name, folder in zip(names, runs, strict=True):
        progress = progress_of(_newest_state(folder))
        stages.append(Stage(progress.step, progress.minutes, name if name in settings else ""))
    model, progress = averaged_model(run)
    chosen = ""
    if best:
        if not (run / "best").is_dir():
            raise InputError(f"The run in {run} has no best weights: it was not validated yet.")
        model = load_checkpoint(run / "best")
        chosen = f"those of the best validation so far ({progress.best_by} {progress.best:.4g})"
    newest = saved_states(run)[-1].stat().st_mtime
    base = _base_of(runs[0])
    about = About(
        title or out.resolve().name,
        data or _data_of(run),
        speaker,
        licence,
        base,
        datetime.fromtimestamp(newest, UTC).date().isoformat(),
        chosen,
        _before_and_after(runs[0], run, best) if base else None,
    )
    card = model_card(about, model, stages, scores=scores, half=half)
    save_checkpoint(model, out, half)
    for name, text in {CARD_FILE: card, **settings}.items():
        with atomic_path(out / name) as path:
            path.write_text(text, encoding="utf-8")
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


def _portable(path: Path) -> str:
    """The settings of a run without the folders of this machine."""
    import yaml

    settings = _plain_settings(path)
    for section, name in _FOLDERS:
        values = settings.get(section)
        if isinstance(values, dict) and not (name == "init" and _is_published(values.get(name))):
            values.pop(name, None)
    settings = {key: value for key, value in settings.items() if value != {}}
    return str(yaml.safe_dump(settings, sort_keys=False, default_flow_style=None))


def _plain_settings(path: Path) -> dict[str, Any]:
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise InputError(f"{path} is not the settings of a run.") from None
    return settings if isinstance(settings, dict) else {}


def _base_of(run: Path) -> str:
    """What a run started from, in words that hold on any machine; empty for nothing."""
    path = run / SETTINGS_FILE
    section = _plain_settings(path).get("run") if path.is_file() else None
    init = section.get("init") if isinstance(section, dict) else None
    if not init:
        return ""
    return str(init) if _is_published(init) else UNPUBLISHED


def _is_published(name: Any) -> bool:
    """Whether a base is a bundled voice or a hub id, which mean the same on any machine."""
    return (
        bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(name or ""))) and not Path(str(name)).exists()
    )


def _before_and_after(first: Path, last: Path, best: bool) -> dict[str, tuple[float, float]]:
    """Scores before the first step and at the end, of those that both runs measured."""
    before = {row[2]: row[3] for row in read_rows(first / METRICS_FILE) if row[0] == "0"}
    rows = read_rows(last / METRICS_FILE)
    if best:
        steps = [row[0] for row in rows if row[2] == "best"]
        rows = [row for row in rows if row[0] == steps[-1]] if steps else []
    after = {row[2]: row[3] for row in rows}
    names = [*SCORES, "loss_validation", "loss_restoration"]
    found = [name for name in names if name in before and name in after]
    return {name: (float(before[name]), float(after[name])) for name in found}


def _data_of(run: Path) -> str:
    """Length and clips of the corpus of a run; empty when they are not known."""
    try:
        folder = Path(read_config(str(run / SETTINGS_FILE)).data.folder)
        prepared = open_prepared(folder)
    except InputError:  # no settings, no prepared corpus, or it has gone
        return ""
    train = [entry.length for entry in prepared.entries if entry.split == TRAIN]
    minutes = sum(train) / prepared.mel.sample_rate / 60
    length = f"{minutes:.1f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
    return f"{length} in {len(train)} clips, and {len(prepared.entries) - len(train)} held out"


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
