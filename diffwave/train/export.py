"""The averaged weights of a run, as a checkpoint folder with a model card."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path
from diffwave.base.text import decimals, markdown_table
from diffwave.card import About, model_card
from diffwave.checkpoint import load_checkpoint, save_checkpoint
from diffwave.data.prepared import TRAIN, open_prepared
from diffwave.model import DiffusionModel, ModelConfig, SamplingConfig
from diffwave.train.config import TrainConfig
from diffwave.train.logbook import METRICS_FILE, read_rows
from diffwave.train.settings import SETTINGS_FILE, read_config, save_settings
from diffwave.train.state import DECIDING, Progress, load_averaged, newest_state
from diffwave.train.validation import SCORES

CARD_FILE = "README.md"
UNPUBLISHED = "a checkpoint that is not published"


def export_run(
    run: Path,
    out: Path,
    *,
    earlier: tuple[Path, ...] = (),
    scores: Mapping[str, Any] | None = None,
    about: About | None = None,
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
        about: for the card. Its data are by default the length of the prepared corpus that the
            run's settings name, if it is still there.
        half: store the network in float16.
        best: take the weights that validated best, if they are not the newest.

    Returns:
        how far the run was.

    Raises:
        InputError: no run, none of its states readable, scores that are none, or a folder that
            cannot be written.
    """
    about = about or About()
    runs, stages = [*earlier, run], []
    for folder in runs:
        path, state = _newest(folder)
        progress = Progress.of(state)
        stages.append(f"{progress.step:,} steps in {progress.minutes:.1f} min")
    noted = [folder / SETTINGS_FILE for folder in runs]
    settings = [read_config(str(place)) if place.is_file() else None for place in noted]
    model, progress = averaged_model(run)
    chosen = ""
    if best:
        if not (run / "best").is_dir():
            raise InputError(f"The run in {run} has no best weights: it was not validated yet.")
        model = load_checkpoint(run / "best")
        chosen = f"those of the best validation so far ({progress.best_by} {progress.best:.4g})"
    init = (settings[0].run.init or settings[0].run.warm_start) if settings[0] else ""
    base = init if not init or _is_published(init) else UNPUBLISHED
    rows = {
        "source": "" if model.config.source is None else _SOURCE,
        "data": about.data or _data_of(settings[-1]),
        "base voice": base,
        "training": "; then ".join(stages),
        "before and after": _before_and_after(runs[0], run, best) if base else "",
        "weights": chosen,
        "date": datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat(),
        "licence": about.licence or "not stated; ask whoever trained it",
        "default": _sampling(model.config.sampling),
    }
    names = (
        [SETTINGS_FILE] if len(runs) == 1 else [f"stage-{i}.yaml" for i in range(1, len(runs) + 1)]
    )
    files = {name: config for name, config in zip(names, settings, strict=True) if config}
    card = model_card(
        model,
        half,
        out.resolve().name,
        "A vocoder of the package `diffwave`: a mel-spectrogram goes in, speech comes out.",
        about,
        rows,
        "mel-spectrogram",
        **({"base_model": base} if "/" in base else {}),
    )
    card += ("" if scores is None else _scores(scores)) + _how(list(files))
    save_checkpoint(model, out, half)
    for name, config in files.items():
        save_settings(_portable(config), out / name)
    with atomic_path(out / CARD_FILE) as place:
        place.write_text(card, encoding="utf-8")
    return progress


def _how(stages: Sequence[str]) -> str:
    """Commands for the files that hold the settings of the runs, if there are any."""
    commands = "\n".join(
        f"diffwave train {name} --set data.folder=PREPARED --set run.folder=STAGE_{i}"
        + f" --set run.init=STAGE_{i - 1}/export" * (i > 1)
        for i, name in enumerate(stages, 1)
    )
    return _HOW.format(commands=commands) if commands else ""


_SOURCE = "pulses predicted from the mel, or of an F0 that is given; noise beside them by band"
_SCORES = """
## Scores

On {count} held-out clip{s}, from the mels of the recordings.

{table}
"""
_HOW = """
## How it was trained

With the settings beside this file, every stage from the weights of the one before:

```bash
{commands}
```
"""


def averaged_model(run: Path) -> tuple[DiffusionModel, Progress]:
    """The model of a run with its averaged weights, on the CPU, and how far the run was."""
    _, state = _newest(run)
    if "config" not in state:
        raise InputError(f"The run in {run} is of an early version that did not note its model.")
    try:
        model = DiffusionModel(ModelConfig.from_dict(state["config"]))
        load_averaged(model, state)
        return model.eval().requires_grad_(False), Progress.of(state)
    except InputError:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError):
        raise InputError(f"The newest state in {run} is not one of this package.") from None


def _newest(run: Path) -> tuple[Path, dict[str, Any]]:
    newest = newest_state(run)
    if newest is None:
        raise InputError(f"There is no run in {run}: it holds no step-*.pt.")
    return newest


def _portable(config: TrainConfig) -> TrainConfig:
    """The settings of a run without the folders of this machine."""
    run = config.run
    init, warm_start = (name if _is_published(name) else "" for name in (run.init, run.warm_start))
    return dataclasses.replace(
        config,
        run=dataclasses.replace(run, folder="", init=init, warm_start=warm_start),
        data=dataclasses.replace(config.data, folder="", mel_folder=""),
    )


def _is_published(name: str) -> bool:
    """Whether a base is a bundled voice or a hub id, which mean the same on any machine."""
    return bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)) and not Path(name).exists()


def _before_and_after(first: Path, last: Path, best: bool) -> str:
    """Scores before the first step and at the end, of those that both runs measured."""
    before = {row[2]: row[3] for row in read_rows(first / METRICS_FILE) if row[0] == "0"}
    rows = read_rows(last / METRICS_FILE)
    if best:
        steps = [row[0] for row in rows if row[2] == "best"]
        rows = [row for row in rows if row[0] == steps[-1]] if steps else []
    after = {row[2]: row[3] for row in rows}
    return "; ".join(
        f"{name} {decimals(float(before[name]))} to {decimals(float(after[name]))}"
        for name in dict.fromkeys((*SCORES, *DECIDING))
        if name in before and name in after
    )


def _data_of(config: TrainConfig | None) -> str:
    """Length and clips of the corpus of a run; empty when they are not known."""
    if config is None or not config.data.folder:
        return ""
    try:
        prepared = open_prepared(Path(config.data.folder))
    except InputError:  # not prepared, or it has gone
        return ""
    train = [entry.length for entry in prepared.entries if entry.split == TRAIN]
    minutes = sum(train) / prepared.mel.sample_rate / 60
    length = f"{minutes:.1f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
    return f"{length} in {len(train)} clips, and {len(prepared.entries) - len(train)} held out"


def _sampling(sampling: SamplingConfig) -> str:
    preset = sampling.preset()
    levels = ", ".join(f"{u:g}" for u in preset.levels) or "evenly spaced"
    return (
        f"steps: {preset.steps} of {preset.solver}; noise levels: {levels}; "
        f"mel-consistency iterations: {preset.n_iter}"
    )


def _scores(scores: Mapping[str, Any]) -> str:
    try:
        notes, count = [str(note) for note in scores["notes"]], len(scores["utterances"])
        rows = [
            (f"{name}{', ' * bool(m['unit'])}{m['unit']}", m["better"], decimals(m["mean"]),
             "-" if None in m["interval"] else " to ".join(map(decimals, m["interval"])))
            for name, m in scores["metrics"].items()
        ]  # fmt: skip
    except (KeyError, TypeError, AttributeError):
        raise InputError("The scores are not what `diffwave evaluate` saves as JSON.") from None
    table = "\n".join(markdown_table(["", "better", "mean", "95 % interval"], rows))
    # Of a checkpoint the scorer noted its folder on the disk there.
    place = r"^checkpoint .*, (?=\d+ steps? of )"
    bullets = "".join(f"- {re.sub(place, 'this checkpoint, ', note)}\n" for note in notes)
    text = _SCORES.format(count=count, s="s"[: count != 1], table=table)
    return f"{text}\n{bullets}" if notes else text
