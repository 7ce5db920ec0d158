"""`diffwave evaluate`: scores of generated audio, or of a checkpoint, against recordings."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from diffwave.commands.common import described, generation, vocoder_of
from diffwave.errors import InputError
from diffwave.eval.libraries import needed_for
from diffwave.eval.metrics import choose_metrics
from diffwave.eval.pairs import (
    audio_files,
    folder_pairs,
    listed,
    resynthesis_pairs,
    transcripts,
)
from diffwave.options import Evaluate
from diffwave.text import printable
from diffwave.vocoder import DEFAULT

with needed_for("Scoring"):
    from diffwave.eval import report
    from diffwave.eval.scores import Scores, common_utterances
    from diffwave.eval.scoring import System, evaluate_systems


def run(options: Evaluate) -> int:
    """Score folders of generated audio, or a checkpoint on the recordings' own mels, or both."""
    if options.html:
        from diffwave.listening.page import check_folder

        check_folder(options.html)  # this and a wrong name are reported before any work
    metrics = [name for name in (options.metrics or "").split(",") if name] or None
    choose_metrics(metrics)
    with tempfile.TemporaryDirectory(prefix="diffwave-") as folder:
        systems, utterances = _systems(options, Path(folder))
        common_utterances(utterances)
        count = sum(map(len, utterances.values()))
        with tqdm(total=count, unit="utterance", disable=None, leave=False) as bar:
            scores = evaluate_systems(systems, metrics, lambda *_: bar.update(), options.jobs)
        for path in options.save:
            report.save(scores, path)
        print(report.to_markdown(scores))
        if options.html:
            print(printable(f"Listening page: {_write_page(options.html, options, scores)}"))
    return 0


def _systems(options: Evaluate, folder: Path) -> tuple[dict[str, System], dict[str, list[str]]]:
    """The systems that the options name and their utterances; a checkpoint writes to `folder`."""
    systems: dict[str, System] = {}
    utterances: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    folders = [_named(text) for text in options.generated]
    checkpoints = []
    if options.checkpoint or not folders:
        checkpoints = [_named(options.checkpoint or DEFAULT)]
    for name, place in [*folders, *checkpoints]:
        if name in places:
            raise InputError(
                f"Two systems would be called {name!r}, {places[name]} and {place}: "
                f"name one, for example other={place}."
            )
        places[name] = place
    for name, place in folders:
        pairs, utterances[name], missing = folder_pairs(options.reference, place, options.only)
        notes = [f"nothing was generated for {listed(missing)}"] if missing else []
        systems[name] = System(pairs, notes)
    for name, options.checkpoint in checkpoints:
        files = audio_files(options.reference, options.only)
        utterances[name] = list(files)
        systems[name] = _checkpoint(options, list(files.values()), folder)
    return systems, utterances


def _checkpoint(options: Evaluate, files: list[Path], folder: Path) -> System:
    vocoder = vocoder_of(options)

    def resynthesise(wave: Tensor) -> Tensor:
        return vocoder(vocoder.mel(wave), **generation(options))

    note = f"checkpoint {options.checkpoint}, {described(options, vocoder.model)}"
    return System(resynthesis_pairs(files, resynthesise, vocoder.sample_rate, folder), [note])


def _named(text: str) -> tuple[str, str]:
    """Name and place of "NAME=PLACE"; a place alone is named by the last part of its path."""
    name, equals, place = text.partition("=")
    if equals and name and place and os.sep not in name and not Path(text).exists():
        return printable(name), place
    return printable(Path(text).absolute().name), text


def _write_page(folder: str, options: Evaluate, scores: Scores) -> Path:
    from diffwave.listening.page import write_page  # scores alone need no pictures

    return write_page(
        folder,
        f"{', '.join(scores.systems)} against {printable(Path(options.reference).absolute().name)}",
        scores,
        [*report.all_notes(scores), report.METHOD, *scores.remarks()],
        transcripts(options.reference),
    )
