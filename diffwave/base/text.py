"""Text of unknown origin (file names, keys of archives) as text that can be shown and stored."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence


def printable(text: object) -> str:
    """The text on one line: control characters, line breaks and lone surrogates are escaped.

    A file name need not be UTF-8 (Python decodes its other bytes to lone surrogates, which no
    encoder takes), and an escape sequence in a name could change the reader's terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def notice(text: str) -> None:
    """One line on standard error."""
    print(printable(text), file=sys.stderr)


def counted(number: int, name: str) -> str:
    """A number and its noun: "1 file", "2 files"."""
    return f"{number} {name}" + "s" * (number != 1)


def markdown_cell(text: object) -> str:
    """The text in a cell of a Markdown table: on one line, and its bars are no borders."""
    return printable(text).replace("\\", "\\\\").replace("|", "\\|")


def markdown_table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a Markdown table, whose columns also line up in a terminal."""
    cells = aligned([[markdown_cell(cell) for cell in row] for row in [header, *rows]])
    cells.insert(1, ["-" * len(cell) for cell in cells[0]])
    return [f"| {' | '.join(row)} |" for row in cells]


def aligned(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells filled up with blanks to the width of their columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[*map(str.ljust, row, widths)] for row in rows]


def number(value: float | None) -> str:
    """Three significant digits, never an exponent; a dash for what is not defined."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}".removesuffix(".") if abs(value) >= 1e-4 else f"{value:.6f}"


def decimals(value: float | None) -> str:
    """A score: three significant digits at least; a dash for what is not defined."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def csv_cell(text: object) -> str:
    """The text in a cell of a CSV file that a spreadsheet opens.

    A spreadsheet takes text that begins with =, +, - or @ for a formula, and a formula can open
    files and addresses; an apostrophe before it marks it as text (OWASP, "CSV injection"). Numbers
    need not be passed through here.
    """
    shown = printable(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") else shown
