"""`diffwave likelihood`: the variational bound of a checkpoint on recordings."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from diffwave.base.errors import InputError
from diffwave.base.libraries import needed_for
from diffwave.base.text import printable
from diffwave.commands.common import named, table
from diffwave.commands.options import Likelihood
from diffwave.mel.files import MEL_SUFFIXES, read_mel
from diffwave.vocoder import DEFAULT, Vocoder

with needed_for("The likelihood"):
    from diffwave.analysis import bound_report
    from diffwave.analysis.likelihood import Bound, UtteranceBound
    from diffwave.analysis.plots import check_figure
    from diffwave.analysis.recordings import Recordings
    from diffwave.eval.scoring import audio_files

SAMPLES = (
    "16-bit PCM; the decoder's Gaussian is discretised (Ho et al. 2020, eq. 13), nothing is "
    "dequantised."
)
COEFFICIENTS = (
    "No bits per sample: overlapping frames have more coefficients than there are samples, and the "
    "noise of the chain lies in a subspace of them. These are nats per coefficient of the whitened "
    "STFT, each coefficient by itself: they compare recordings under one checkpoint. Add the "
    "log-deviation for the STFT's own scale."
)


PULSES = "The mean of the prior has the recordings' own pulses, as in training."


def run(options: Likelihood) -> int:
    """Print the terms of every set of recordings; write what else is asked for."""
    if options.plot is not None:
        check_figure(options.plot)
    files = _files(options)
    mels = _mels(options, files)
    if options.threads:
        torch.set_num_threads(options.threads)
    vocoder = Vocoder.from_pretrained(options.checkpoint or DEFAULT, options.device)
    bound = Bound(vocoder.model, options.steps, options.draws, options.seed)
    reader = Recordings(vocoder.sample_rate, options.seconds)
    sets: dict[str, list[UtteranceBound]] = {}
    with tqdm(total=sum(map(len, files.values())), unit="recording", disable=None) as bar:
        for name, paths in files.items():
            sets[name] = []
            for stem, path in paths.items():
                mel = mels[name][stem] if name in mels else None
                samples = reader.read(path)
                try:
                    given = None if mel is None else read_mel(mel)
                    if given is not None and reader.cut:
                        given = given[..., : len(samples) // vocoder.hop_length]
                    sets[name].append(bound.of(stem, samples, given))
                except InputError as error:
                    raise InputError(f"{mel or path}: {error}") from None
                bar.update()
    notes = [SAMPLES if vocoder.model.space.of_samples else COEFFICIENTS]
    notes += [PULSES] * (vocoder.model.source is not None) + reader.notes
    report = bound_report.Report(
        bound.unit, bound.levels, vocoder.hop_length / vocoder.sample_rate, sets, notes
    )
    if options.json is not None:
        bound_report.save_json(options.json, bound_report.to_json(report))
    if options.per_frame is not None:
        bound_report.save_frames(report, options.per_frame)
    if options.plot is not None:
        bound_report.save_plot(report, options.plot)
    print(f"{report.unit}, a chain of {len(bound.levels)} steps, noise drawn {options.draws}x")
    print("standard errors in brackets: over recordings, of the noise alone\n")
    print(table(bound_report.rows(report)))
    print("\n" + "\n".join(report.notes))
    return 0


def _files(options: Likelihood) -> dict[str, dict[str, Path]]:
    """The recordings of every set, by name."""
    sets: dict[str, dict[str, Path]] = {}
    for text in options.recordings:
        name, place = named(text)
        if name in sets:
            raise InputError(f"Two sets would be called {name!r}: name one, other={place}.")
        path = Path(place)
        if path.is_dir():
            chosen = audio_files(path, options.only)
        elif path.exists():
            chosen = {printable(path.stem): path}
        else:
            raise InputError(f"There is no file or folder {place}.")
        sets[name] = dict(list(chosen.items())[: options.limit])
    return sets


def _mels(options: Likelihood, files: dict[str, dict[str, Path]]) -> dict[str, dict[str, Path]]:
    """Mels of other making, of the sets that they are given for."""
    found: dict[str, dict[str, Path]] = {}
    for text in options.mels:
        name, equals, folder = text.partition("=")
        if not equals:
            if len(files) > 1:
                raise InputError(f"Say which set the mels are of: --mels NAME={text}.")
            name, folder = next(iter(files)), text
        if name not in files:
            raise InputError(f"--mels: there is no set {name!r}; there are {', '.join(files)}.")
        if not Path(folder).is_dir():
            raise InputError(f"There is no folder {folder}.")
        found[name] = {stem: _mel_of(stem, Path(folder)) for stem in files[name]}
    return found


def _mel_of(stem: str, folder: Path) -> Path:
    for suffix in MEL_SUFFIXES:
        if (folder / f"{stem}{suffix}").is_file():
            return folder / f"{stem}{suffix}"
    raise InputError(f"There is no mel of {stem} in {folder}.")
