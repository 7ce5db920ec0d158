"""`diffwave evaluate`: scores of generated audio, or of a checkpoint, against recordings."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from diffwave.commands.common import described, generation, vocoder_of
from diffwave.errors import InputError
from diffwave.eval.comparison import Comparison, common_sentences
from diffwave.eval.metrics import METRICS, choose_metrics
from diffwave.eval.pairs import audio_files, folder_pairs, listed, resynthesis_pairs
from diffwave.eval.report import METHOD, Report
from diffwave.eval.scoring import System, evaluate_systems
from diffwave.options import Evaluate
from diffwave.text import printable
from diffwave.vocoder import DEFAULT


def run(options: Evaluate) -> int:
    """Score folders of generated audio, or a checkpoint on the recordings' own mels, or both."""
    metrics = [name for name in (options.metrics or "").split(",") if name] or None
    choose_metrics(metrics)  # a wrong name is told before any work
    with tempfile.TemporaryDirectory(prefix="diffwave-") as folder:
        systems, sentences = _systems(options, Path(folder))
        if len(systems) > 1:
            common_sentences(sentences)
        count = sum(map(len, sentences.values()))
        with tqdm(total=count, unit="sentence", disable=None, leave=False) as bar:

            def count_up(done: int, name: str) -> None:
                bar.update()

            reports = evaluate_systems(systems, metrics, count_up, options.jobs)
        result = Comparison(reports) if len(reports) > 1 else next(iter(reports.values()))
        for path in options.save:
            result.save(path)
        print(result.to_markdown())
        if options.html:
            page = _write_page(Path(options.html), options.reference, reports, result)
            print(printable(f"Listening page: {page}"))
    return 0


def _systems(options: Evaluate, folder: Path) -> tuple[dict[str, System], dict[str, list[str]]]:
    """The systems that the options name and their sentences; a checkpoint writes to `folder`."""
    systems: dict[str, System] = {}
    sentences: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    folders = [_named(text) for text in options.generated]
    checkpoint: str | None = None
    checkpoints: list[tuple[str, str]] = []
    if options.checkpoint or not folders:
        checkpoint, options.checkpoint = named = _named(options.checkpoint or DEFAULT)
        checkpoints = [named]
    for name, place in [*folders, *checkpoints]:
        if name in places:
            raise InputError(
                f"Two systems would be called {name!r}, {places[name]} and {place}: "
                f"name one, for example other={place}."
            )
        places[name] = place
    for name, place in folders:
        pairs, sentences[name], missing = folder_pairs(options.reference, place, options.only)
        notes = [f"nothing was generated for {listed(missing)}"] if missing else []
        systems[name] = System(pairs, notes)
    if checkpoint:
        files = audio_files(options.reference, options.only)
        sentences[checkpoint] = list(files)
        systems[checkpoint] = _checkpoint(options, list(files.values()), folder)
    return systems, sentences


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
        return name, place
    return Path(text).absolute().name, text


def _write_page(
    folder: Path, reference: str, reports: dict[str, Report], result: Report | Comparison
) -> Path:
    # Imported here: scores alone need no pictures.
    from diffwave.listening.page import write_page

    references = {
        sentence: file
        for report in reports.values()
        for sentence, file in report.reference_files.items()
    }
    measured = next(iter(reports.values())).values
    return write_page(
        folder,
        f"{', '.join(reports)} against {Path(reference).absolute().name}",
        references,
        {name: report.generated_files for name, report in reports.items()},
        {
            name: {
                metric: dict(zip(report.sentences, values, strict=True))
                for metric, values in report.values.items()
            }
            for name, report in reports.items()
        },
        {metric: METRICS[metric] for metric in measured},
        [*result.notes, METHOD, *(remark.replace("**", "") for remark in result.remarks())],
    )
