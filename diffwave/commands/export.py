"""`diffwave export`: a run's averaged weights as a checkpoint folder with a model card."""

from __future__ import annotations

from pathlib import Path

from diffwave.base.files import read_json
from diffwave.commands.options import Export
from diffwave.train.settings import missing_package


def run(options: Export) -> int:
    """Write the checkpoint folder; returns the exit status.

    Raises:
        InputError: for a folder that holds no run, scores that are none, or a place that cannot be
            written to.
    """
    try:
        from diffwave.train.export import About, export_run
    except ImportError as error:
        raise missing_package(error) from None
    words = (options.title, options.data, options.speaker, options.license)
    progress = export_run(
        Path(options.run),
        Path(options.output),
        earlier=tuple(map(Path, options.after)),
        scores=read_json(options.scores) if options.scores else None,
        about=About(*(word or "" for word in words)),
        half=options.half,
        best=options.best,
    )
    print(f"exported {options.output}: {progress.step} steps, {progress.minutes:.1f} minutes")
    return 0
