"""`diffwave import`: another project's DiffWave as a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

from diffwave.base.text import counted
from diffwave.commands.options import Import
from diffwave.importers import PROJECTS, About, import_checkpoint


def run(options: Import) -> int:
    """Write the checkpoint folder; returns the exit status.

    Raises:
        InputError: for a file that is not of the project, or a place that cannot be written to.
    """
    about = About(
        schedule=options.schedule or "",
        mel=options.mel or "",
        dilation_cycle=options.dilation_cycle or 0,
        **options.about(),
    )
    config = import_checkpoint(options.project, Path(options.file), Path(options.output), about)
    print(
        f"imported {options.output}: DiffWave of {PROJECTS[options.project].title}, "
        f"mel {config.mel.name}, schedule {config.diffusion.schedule}, "
        f"{counted(config.sampling.default, 'step')} by default"
    )
    return 0
