"""`diffwave export`: a run as a checkpoint folder with a model card, or a voice as ONNX graphs."""

from __future__ import annotations

from pathlib import Path

from diffwave.base.files import read_json
from diffwave.base.libraries import needed_for
from diffwave.checkpoint import CONFIG_FILE, load_checkpoint
from diffwave.commands.options import Export
from diffwave.model import DiffusionModel
from diffwave.vocoder import find_checkpoint


def run(options: Export) -> int:
    """Write the folder; returns the exit status.

    Raises:
        InputError: for a folder that holds no run, scores that are none, or a place that cannot be
            written to.
    """
    if options.onnx:
        from diffwave.onnx.export import export_onnx

        export_onnx(_model_of(options), options.output, options.half)
        print(f"exported {options.output}")
        return 0
    with needed_for("Training", "train"):
        from diffwave.train.export import About, export_run
    progress = export_run(
        Path(options.run),
        Path(options.output),
        earlier=tuple(map(Path, options.after)),
        scores=read_json(options.scores) if options.scores else None,
        about=About(**options.about()),
        half=options.half,
        best=options.best,
    )
    print(f"exported {options.output}: {progress.step} steps, {progress.minutes:.1f} minutes")
    return 0


def _model_of(options: Export) -> DiffusionModel:
    """The model of a checkpoint, or of a run with its averaged weights."""
    folder = Path(options.run)
    if options.best:
        return load_checkpoint(folder / "best")
    if not folder.is_dir() or (folder / CONFIG_FILE).exists():
        return load_checkpoint(find_checkpoint(options.run))
    with needed_for("Training", "train"):
        from diffwave.train.export import averaged_model
    return averaged_model(folder)[0]
