"""Text of unknown origin, escaped for a terminal, a table and a spreadsheet."""

from __future__ import annotations

import pytest

from diffwave.base.errors import InputError
from diffwave.base.text import csv_cell, markdown_cell, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 東京 🎙", "Grüße, 東京 🎙"),
        ("a\x1b[31m\r\nb\0", r"a\x1b[31m\r\nb\x00"),
        ("a\udcff\u202e", r"a\udcff\u202e"),
        (r"C:\new", r"C:\new"),
    ],
)
def test_control_characters_are_shown_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(InputError(text)) == str(ValueError(shown))
    shown.encode("utf-8")


def test_a_bad_input_is_a_bad_value() -> None:
    """A caller that knows nothing of the exception still catches it."""
    with pytest.raises(ValueError, match="^A mel needs 80 bands\\.$"):
        raise InputError("A mel needs 80 bands.")


def test_cells_stay_cells() -> None:
    assert markdown_cell("a|b\n\\|") == r"a\|b\\n\\\|"
    assert csv_cell("\t=1+1") == r"\t=1+1"
    for formula in ("=1+1", "+1", "-1", "@A1", " =1"):
        assert csv_cell(formula) == f"'{formula}"
    assert csv_cell("LJ001-0001, =") == "LJ001-0001, ="
