"""Text of unknown origin (file names, keys of archives) as text that can be shown and stored."""

from __future__ import annotations

import sys


def printable(text: object) -> str:
    """The text on one line: control characters, line breaks and lone surrogates are escaped.

    A file name need not be UTF-8 (Python decodes its other bytes to lone surrogates, which no
    encoder takes), and an escape sequence in a name could change the reader's terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def notice(text: str) -> None:
    """One line on standard error."""
    print(printable(text), file=sys.stderr)


def markdown_cell(text: object) -> str:
    """The text in a cell of a Markdown table: on one line, and its bars are no borders."""
    return printable(text).replace("\\", "\\\\").replace("|", "\\|")


def csv_cell(text: object) -> str:
    """The text in a cell of a CSV file that a spreadsheet opens.

    A spreadsheet takes text that begins with =, +, - or @ for a formula, and a formula can open
    files and addresses; an apostrophe before it marks it as text (OWASP, "CSV injection"). Numbers
    need not be passed through here.
    """
    shown = printable(text)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") else shown
