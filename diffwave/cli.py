"""The command line: parse, call, print. `diffwave COMMAND ...`; `synthesize.py` is one of them."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from diffwave.arguments import ARGUMENTS, HELP
from diffwave.errors import InputError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence and status 2, as for every other bad input."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None, command: str | None = None) -> int:
    """Run a command; returns the exit status: 0, or 2 after bad input, 130 after Ctrl-C.

    Args:
        argv: arguments; those of the process when None.
        command: a subcommand fixed beforehand, for scripts that are one.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    prog = "diffwave"
    try:
        if command is not None:
            prog = f"{command}.py"
            parser = _Parser(prog=prog, description=HELP[command], formatter_class=_formatter)
            ARGUMENTS[command](parser)
            options = parser.parse_args(arguments)
        else:
            options = _full_parser().parse_args(arguments)
            command = str(options.command)
        status = _run(command, options)
        sys.stdout.flush()  # here, where a failure is still dealt with
        return status
    except InputError as error:
        return _fail(prog, str(error))
    except KeyboardInterrupt:
        print(f"{prog}: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left; nothing to tell anybody
        _discard_output()
        return 0
    except OSError as error:  # of a file that no other layer answers for
        if error.filename is None:
            _discard_output()
        return _fail(prog, f"{error.filename or 'Output'}: {error.strerror or error}.")
    except (MemoryError, RuntimeError) as error:
        # PyTorch's own error is a RuntimeError on the CPU: "can't allocate memory".
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        return _fail(prog, "There is not enough memory; try a smaller --chunk.")


def _fail(prog: str, sentence: str) -> int:
    print(f"{prog}: {sentence}", file=sys.stderr)
    return 2


def _discard_output() -> None:
    """What is still buffered would fail once more, with a traceback, when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def synthesize_main() -> None:
    """Entry point of the root `synthesize.py`."""
    sys.exit(main(command="synthesize"))


def console_main() -> None:
    """Entry point of the command `diffwave`."""
    sys.exit(main())


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.ArgumentDefaultsHelpFormatter(prog, max_help_position=28)


def _full_parser() -> argparse.ArgumentParser:
    from diffwave import __version__

    parser = _Parser(prog="diffwave", description="A diffusion vocoder: mel-spectrogram to speech.")
    parser.add_argument("--version", action="version", version=f"diffwave {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, add_arguments in ARGUMENTS.items():
        add_arguments(
            subparsers.add_parser(
                name, help=HELP[name], description=HELP[name], formatter_class=_formatter
            )
        )
    return parser


def _run(command: str, options: argparse.Namespace) -> int:
    # Imported here: --help and a wrong argument need not wait for PyTorch.
    module = importlib.import_module(f"diffwave.commands.{command}")
    return int(module.run(options))


if __name__ == "__main__":
    console_main()
