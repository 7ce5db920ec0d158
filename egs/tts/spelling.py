"""English as it is written to English as it is read aloud, where espeak-ng reads it otherwise.

espeak-ng expands plain numbers, ordinals, signs and some titles itself. What is left: abbreviations
whose stop would be taken for the end of a sentence, sums of money, decades, and ranges of numbers.
"""

from __future__ import annotations

import re

from diffwave.base.errors import InputError

ABBREVIATIONS = {
    "approx.": "approximately", "Capt.": "captain", "Col.": "colonel", "e.g.": "for example",
    "Gen.": "general", "i.e.": "that is", "Lt.": "lieutenant", "Prof.": "professor",
    "Rev.": "reverend", "Sgt.": "sergeant", "vs.": "versus", "vs": "versus",
}  # fmt: skip
BEFORE_NUMBERS = {
    "Fig.": "figure", "fig.": "figure", "No.": "number", "p.": "page", "pp.": "pages",
    "Vol.": "volume", "vol.": "volume",
}  # fmt: skip
AT_THE_END_TOO = {"a.m.": "AM", "etc.": "et cetera", "Ph.D.": "P H D", "p.m.": "PM"}
"""Abbreviations whose stop may also be that of the sentence."""
CURRENCIES = {
    "$": ("dollar", "dollars", "cents"),
    "€": ("euro", "euros", "cents"),
    "£": ("pound", "pounds", "pence"),
}
INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")  # soft hyphens, marks of direction
FOREIGN = re.compile(
    r"(?=[^\W\d_]|[\ud800-\udfff])[\u0400-\u1dff\u2c00-\ufaff\U00010000-\U0010ffff]"
)
"""A letter of a script other than the Latin and Greek ones, or a byte that is no UTF-8."""
TENS = ("twent", "thirt", "fort", "fift", "sixt", "sevent", "eight", "ninet")


def _any(words: dict[str, str]) -> str:
    return r"(?<![\w.])(" + "|".join(map(re.escape, words)) + r")(?!\w)"


_ABBREVIATION = re.compile(_any(ABBREVIATIONS))
_BEFORE_NUMBER = re.compile(_any(BEFORE_NUMBERS) + r"(?=\s*\d)")
_AT_THE_END_TOO = re.compile(_any(AT_THE_END_TOO) + r"(?P<end>\s*$|(?=\s+[A-Z]))?")
_MONEY = re.compile(r"([$€£])(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d\d)(?!\d)|(\.\d+))?( [mb]illion\b)?")
_DECADE = re.compile(r"(?<![\d.,])'?(\d\d)?([2-9])0s\b")
_RANGE = re.compile(r"(?<![\w-])(\d+)\s?[-\u2013](?=\d+(?![\w-]))")


def read_aloud(text: str) -> str:
    """The text in the words of somebody who reads it out.

    Raises:
        InputError: for a letter of a foreign script, which would be spelt out by its English name.
    """
    text = "".join(" " if ord(c) < 32 and not c.isspace() else c for c in INVISIBLE.sub("", text))
    if found := FOREIGN.search(text):
        raise InputError(f"The text must be English; the letter {found[0]!r} is not.")
    text = _ABBREVIATION.sub(lambda m: ABBREVIATIONS[m[1]], text)
    text = _BEFORE_NUMBER.sub(lambda m: BEFORE_NUMBERS[m[1]] + " ", text)
    text = _AT_THE_END_TOO.sub(
        lambda m: AT_THE_END_TOO[m[1]] + ("" if m["end"] is None else "."), text
    )
    text = _MONEY.sub(_amount, text)
    text = _DECADE.sub(lambda m: f"{m[1] or ''} {TENS[int(m[2]) - 2]}ies", text)
    return _RANGE.sub(r"\1 to ", text)


def _amount(match: re.Match[str]) -> str:
    sign, whole, hundredths, decimals, large = match.groups()
    one, many, parts = CURRENCIES[sign]
    if large or decimals:
        return f"{whole}{'.' + hundredths if hundredths else decimals or ''}{large or ''} {many}"
    words = f"{whole} {one if whole == '1' else many}"
    return words if hundredths in (None, "00") else f"{words} {int(hundredths)} {parts}"
