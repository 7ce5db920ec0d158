"""`diffwave evaluate`: scores of generated audio, or of a checkpoint, against recordings."""

from __future__ import annotations

import argparse
import errno
import os
import tempfile
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from diffwave.commands.common import vocoder_of
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
from diffwave.files import write_error
from diffwave.text import printable
from diffwave.vocoder import DEFAULT

with needed_for("Scoring"):
    from diffwave.eval import report
    from diffwave.eval.scores import Scores, common_utterances
    from diffwave.eval.scoring import System, evaluate_systems


def run(options: argparse.Namespace) -> int:
    """Score folders of generated audio, or a checkpoint on the recordings' own mels, or both."""
    _check_places(options)
    metrics = [name for name in options.metrics.split(",") if name] or None
    choose_metrics(metrics)  # a wrong name is reported before any work
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
            print(f"Listening page: {_write_page(options, scores)}")
    return 0


def _check_places(options: argparse.Namespace) -> None:
    """Report at the beginning what can be known to fail at the end."""
    for path in options.save:
        report.check_suffix(path)
    for path in [*options.save, *([options.html] if options.html else [])]:
        if not Path(path).absolute().parent.is_dir():
            raise write_error(path, OSError(errno.ENOENT, ""))
    if options.html:
        from diffwave.listening.page import check_folder

        check_folder(options.html)


def _systems(
    options: argparse.Namespace, folder: Path
) -> tuple[dict[str, System], dict[str, list[str]]]:
    """The systems that the options name and their utterances; a checkpoint writes to `folder`."""
    systems: dict[str, System] = {}
    utterances: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    folders = [_named(text) for text in options.generated]
    checkpoint = None
    if options.checkpoint or not folders:
        checkpoint, options.checkpoint = _named(options.checkpoint or DEFAULT)
    for name, place in [*folders, *([(checkpoint, options.checkpoint)] if checkpoint else [])]:
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
    if checkpoint:
        files = audio_files(options.reference, options.only)
        utterances[checkpoint] = list(files)
        systems[checkpoint] = _checkpoint(options, list(files.values()), folder)
    return systems, utterances


def _checkpoint(options: argparse.Namespace, files: list[Path], folder: Path) -> System:
    vocoder = vocoder_of(options)
    steps = options.steps or vocoder.config.sampling.steps
    sampler = options.sampler or vocoder.config.sampling.sampler
    rounds = options.rounds
    if rounds is None:
        rounds = vocoder.config.sampling.rounds_after(steps)

    def resynthesise(wave: Tensor) -> Tensor:
        mel = vocoder.mel(wave)
        return vocoder(mel, steps=steps, sampler=sampler, seed=options.seed, rounds=rounds)

    note = (
        f"checkpoint {printable(options.checkpoint)}, {steps} steps of {sampler}, {rounds} "
        f"mel-consistency iterations, seed {options.seed}"
    )
    return System(resynthesis_pairs(files, resynthesise, vocoder.sample_rate, folder), [note])


def _named(text: str) -> tuple[str, str]:
    """Name and place of "NAME=PLACE"; a place alone is named by the last part of its path."""
    name, equals, place = text.partition("=")
    if equals and name and place and os.sep not in name and not Path(text).exists():
        return printable(name), place
    return printable(Path(text).absolute().name), text


def _write_page(options: argparse.Namespace, scores: Scores) -> Path:
    from diffwave.listening.page import write_page  # scores alone need no pictures

    return write_page(
        options.html,
        f"{', '.join(scores.systems)} against {printable(Path(options.reference).absolute().name)}",
        scores,
        [*report.all_notes(scores), report.METHOD, *scores.remarks()],
        transcripts(options.reference),
    )
