"""Text to phonemes by espeak-ng, and phonemes to the numbers that the acoustic model reads.

espeak-ng (GPL-3) comes as a library inside the wheel espeakng-loader; phonemizer-fork calls it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

from diffwave.base.errors import InputError

PAD, START, END, SPACE = "<pad>", "^", "$", " "
"""Padding; the silence before and after an utterance; the boundary between two words."""
COMMA, STOPS = ",", {"?": "?", "!": "!", ".": ".", "\u2026": "."}
"""What punctuation is read as: one of `STOPS` as that, all else as a comma."""
SPECIAL = [PAD, START, END, SPACE, COMMA, ".", "!", "?"]
SILENT = (START, COMMA, ".", "!", "?")  # after these there is no word boundary
DASHES = "\u2014\u2013"

TITLES = ("Mr", "Mrs", "Ms", "Dr", "St", "Messrs", "[A-Z]")
"""What a stop may follow that ends no sentence; the last one are initials."""
ABBREVIATED = "".join(rf"(?<!\b{title})" for title in TITLES)
MARK = re.compile(
    rf"(\s*(?:--|[{DASHES}();:!?\u2026,]|{ABBREVIATED}\.)+(?=\s|$|[\"'\u201d\u2019])\s*"
    rf"|\s+[({DASHES}-]+\s*)"
)
"""A pause: punctuation before white space or the end, so that neither 1,234 nor 3.5 is split."""
NO_WORD = "There is nothing to say: the text holds no word."
STRESS, LONG = "\u02c8\u02cc", "\u02d0"  # ˈ and ˌ before a vowel, ː after it


@functools.cache
def espeak(voice: str = "en-us") -> Any:
    """espeak-ng speaking `voice`; raises `InputError` when its packages are missing."""
    try:
        import espeakng_loader
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise InputError(
            f"Text cannot be turned into phonemes ({error}); pip install -e '.[tts]' in the "
            "project's folder."
        ) from None
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    wrapper = EspeakWrapper()
    wrapper.set_voice(voice)
    return wrapper


def phonemes(text: str) -> list[str]:
    """The symbols of an utterance, from `START` to `END`.

    A stressed vowel is a symbol of its own (ˈeɪ beside eɪ). Words are separated by `SPACE`, or by
    a pause. Raises `InputError` for a text in which nothing is pronounced.
    """
    text = re.sub(rf"\s*([{DASHES}]|--)\s*", " -- ", text.replace("\u2026", "\u2026 "))
    text = re.sub(r"[\"\u201c-\u201e«»\[\]*_]", " ", text.replace("\u2019", "'"))
    symbols = [START]
    for place, piece in enumerate(MARK.split(text)):
        if place % 2:
            if symbols[-1] not in SILENT:
                symbols.append(next((stop for m, stop in STOPS.items() if m in piece), COMMA))
            continue
        if not re.search(r"\w", piece):
            continue
        for word in espeak().text_to_phonemes(piece.strip()).split():
            found = [symbol for symbol in re.sub(r"\(\w+\)", "", word).split("_") if symbol]
            if found:
                if symbols[-1] not in SILENT:
                    symbols.append(SPACE)
                symbols += found
    if not set(symbols) - set(SPECIAL):
        raise InputError(NO_WORD)
    return [*symbols, END]


def encode(symbols: Sequence[str], inventory: Sequence[str]) -> list[int]:
    """Numbers of symbols in the inventory of a model.

    A symbol that the model has not met is read without its stress, then without its length mark,
    then sign by sign; what is still unknown is left out.
    """
    numbers = {symbol: number for number, symbol in enumerate(inventory)}
    encoded: list[int] = []
    for symbol in symbols:
        bare = symbol.lstrip(STRESS)
        for known in (symbol, bare, STRESS[0] + bare, bare.rstrip(LONG), bare + LONG):
            if known in numbers:
                encoded.append(numbers[known])
                break
        else:
            encoded += [numbers[sign] for sign in bare if sign in numbers]
    return encoded
