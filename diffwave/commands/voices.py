"""Which vocoder speaks which mel file: the one that was named, or the bundled one that it fits."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from diffwave.base.errors import InputError
from diffwave.base.text import notice
from diffwave.commands.common import vocoder_of
from diffwave.commands.convert_mel import warn
from diffwave.commands.options import Synthesize
from diffwave.mel import MelConfig, check_mel, check_one
from diffwave.mel.conventions import Convention, convention_of, convention_with, same_values
from diffwave.mel.files import read_mel
from diffwave.mel.incoming import AUTO, declared, mistaken, read_incoming
from diffwave.vocoder import DEFAULT, Vocoder, bundled_for, bundled_near

LIKELY = 0.5
"""Probability from which a convention is worth naming for a mel that was refused."""


class Voices:
    """The vocoders of a command, each loaded once.

    With --checkpoint there is that one. Without, a mel whose convention was named, said by its file
    or recognised is spoken by the bundled voice of that very convention, if there is one; else it
    is converted for the bundled voice with the same frames, or for the default one.
    """

    def __init__(self, options: Synthesize) -> None:
        """Load the first one, which shows what is wrong with the options.

        Raises:
            InputError: as `vocoder_of` does, or for an unknown convention.
        """
        self.options = options
        self._loaded: dict[str, Vocoder] = {}
        word = options.convention
        if options.checkpoint is None and word is not None and word != AUTO:
            self.first = self.of(convention_of(word))
        else:
            self.first = self._load(options.checkpoint or DEFAULT)

    def of(self, convention: Convention) -> Vocoder:
        """The vocoder for mels of a convention; says so when it is not the default one."""
        if self.options.checkpoint is not None:
            return self.first
        name = bundled_near(convention)
        new = name not in self._loaded
        vocoder = self._load(name)
        if new and name != DEFAULT:
            with tqdm.external_write_mode(sys.stderr):
                notice(
                    f"Mels of the convention {convention.name!r} are spoken by the voice {name}, "
                    f"at {vocoder.sample_rate} Hz."
                )
        return vocoder

    def _load(self, name: str) -> Vocoder:
        if name not in self._loaded:
            options = dataclasses.replace(self.options, checkpoint=name)
            self._loaded[name] = vocoder_of(options)
        return self._loaded[name]

    def read(self, path: Path) -> tuple[Vocoder, Tensor]:
        """The checked mel [n_mels, T] of a mel file, and the vocoder that is to speak it.

        What was recognised, and any doubt of it, is said on standard error.

        Raises:
            InputError: as `read_incoming` does; for a mel that is not one even when converted, or
                not of the convention that was named; for one that does not fit the checkpoint,
                with what to add where that is clear.
        """
        word = self.options.convention
        if word is None and not _says_another(path, self.first.config.mel):
            return self.first, self._as_it_is(path)
        word = word or AUTO
        incoming = read_incoming(
            path, word, self.options.stats, convention_with(self.first.config.mel)
        )
        incoming.check()
        vocoder = self.of(incoming.convention)
        target = vocoder.config.mel
        goal = Convention(target, "the checkpoint")
        as_it_is = same_values(incoming.convention, target)
        if incoming.how != "as told":
            what = f"{incoming.convention.name} ({incoming.how}), taken as it is"
            warn(path, f"{what if as_it_is else incoming.described(goal)}.")
        warn(path, incoming.doubt)
        return vocoder, check_mel(incoming.mel if as_it_is else incoming.to(goal), target)[0]

    def _as_it_is(self, path: Path) -> Tensor:
        config = self.first.config.mel
        mel = read_mel(path)
        try:
            mel = check_one(mel, config, path)
        except InputError as error:
            raise InputError(f"{error}{self._advice(path, str(error))}") from None
        warn(path, mistaken(mel, config))
        return mel

    def _fits(self, mel: Tensor) -> bool:
        """Whether a mel may be of the first vocoder's convention, and that has a name to give."""
        config = self.first.config.mel
        try:
            check_mel(mel, config)
        except InputError:
            return False
        return convention_with(config) is not None and mistaken(mel, config) is None

    def _advice(self, path: Path, refusal: str) -> str:
        """What to add to the command for a mel that was refused, where its convention is likely."""
        try:
            incoming = read_incoming(path)
        except InputError:
            return ""
        convention, found = incoming.convention, incoming.found
        if found is not None and found.transposed and self._fits(incoming.mel):
            return f" With --from {self.first.config.mel.name} it is turned."
        likely = found is None or found.probabilities[found.label] >= LIKELY
        if not likely or same_values(convention, self.first.config.mel):
            return ""
        name = None if self.options.checkpoint is not None else bundled_for(convention)
        if incoming.doubt is not None:
            if "look like" in refusal and repr(convention.name) not in refusal:
                # Two guesses that contradict each other help nobody.
                return (
                    " Name their convention with --from: one of `diffwave convert-mel --list`, or "
                    "one that differs from it, as hifigan,log=log10."
                )
            speaks = "" if name is None else f" The voice {name} speaks {convention.name!r}."
            return f" {incoming.doubt[0].upper()}{incoming.doubt[1:]}{speaks}"
        if name is None:
            return f" With --from {convention.name} it is converted."
        return f" With --from {convention.name} the voice {name} speaks it."


def _says_another(path: Path, mel: MelConfig) -> bool:
    """Whether a file says that it is of a convention that is known, and not that of `mel`."""
    word = declared(path)
    try:
        return word is not None and not same_values(convention_of(word), mel)
    except InputError:  # the word was meant for something else
        return False
