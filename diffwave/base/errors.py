"""The one exception a caller is meant to read: bad input, described in one sentence."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from diffwave.base.text import notice, printable


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one whole sentence, what and why.

    Messages quote names from files and of files, so what cannot be shown in them is escaped.
    """

    def __init__(self, message: object) -> None:
        super().__init__(printable(message))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says so; PyTorch's own, on the CPU, is a RuntimeError."""
    return isinstance(error, MemoryError) or "allocate" in str(error)


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Run the `main` of a script and exit with what it returns; with 2 after bad input."""
    try:
        sys.exit(main())
    except InputError as error:
        notice(f"{Path(sys.argv[0]).name}: {error}")
        sys.exit(2)
