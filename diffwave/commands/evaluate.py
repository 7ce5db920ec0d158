"""`diffwave evaluate`: scores of generated audio, or of a checkpoint, against recordings."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from diffwave.base.errors import InputError
from diffwave.base.libraries import needed_for
from diffwave.base.text import printable
from diffwave.commands.common import described, generation, named, vocoder_of
from diffwave.commands.options import Evaluate
from diffwave.eval.metrics import choose_metrics
from diffwave.vocoder import DEFAULT

with needed_for("Scoring"):
    from diffwave.eval import report
    from diffwave.eval.scoring import (
        System,
        audio_files,
        evaluate_systems,
        folder_system,
        resynthesis_system,
    )


def run(options: Evaluate) -> int:
    """Score folders of generated audio, or a checkpoint on the recordings' own mels, or both."""
    if options.html:
        from diffwave.listening import page  # scores alone need no pictures

        page.check_folder(options.html)  # this and a wrong name are reported before any work
    metrics = [name for name in (options.metrics or "").split(",") if name]
    choose_metrics(metrics)
    with tempfile.TemporaryDirectory(prefix="diffwave-") as folder:
        systems = _systems(options, Path(folder))
        total = sum(len(system.pairs) for system in systems.values())
        with tqdm(total=total, unit="utterance", disable=None, leave=False) as bar:
            scores = evaluate_systems(systems, metrics, bar.update, options.jobs)
        for path in options.save:
            report.save(scores, path)
        print(report.to_markdown(scores))
        if options.html:
            recordings = printable(Path(options.reference).absolute().name)
            title = f"{', '.join(scores.systems)} against {recordings}"
            notes = [*report.all_notes(scores), report.METHOD, *scores.remarks()]
            texts = transcripts(options.reference)
            place = page.write_page(options.html, title, scores, notes, texts)
            print(printable(f"Listening page: {place}"))
    return 0


def _systems(options: Evaluate, folder: Path) -> dict[str, System]:
    """The systems that the options name; a checkpoint writes what it generates to `folder`."""
    checkpoint = options.checkpoint or (None if options.generated else DEFAULT)
    places: dict[str, str] = {}
    for text in [*options.generated, *([checkpoint] if checkpoint else [])]:
        name, place = named(text)
        if name in places:
            raise InputError(
                f"Two systems would be called {name!r}, {places[name]} and {place}: "
                f"name one, for example other={place}."
            )
        places[name] = place
    systems = {
        name: folder_system(options.reference, place, options.only, options.rate)
        for name, place in list(places.items())[: len(options.generated)]
    }
    if checkpoint:
        files = audio_files(options.reference, options.only)
        options.checkpoint = place
        vocoder = vocoder_of(options)

        def resynthesise(wave: Tensor) -> Tensor:
            return vocoder(vocoder.mel(wave), **generation(options))

        notes = [f"checkpoint {place}, {described(options, vocoder.model)}"]
        systems[name] = resynthesis_system(
            files, resynthesise, vocoder.sample_rate, folder, notes, options.rate
        )
    return systems


def transcripts(folder: str) -> dict[str, str]:
    """{utterance: text} of the metadata.csv of a corpus, as LJSpeech's: lines "name|...|text".

    The file is looked for in the folder of recordings and in the one above. Nothing is required of
    it: without it, or where a line is of another kind, there are no texts.
    """
    for place in (Path(folder), Path(folder).absolute().parent):
        try:
            lines = (place / "metadata.csv").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        cells = [line.split("|") for line in lines]
        return {Path(first).stem: rest[-1] for first, *rest in cells if rest}
    return {}
