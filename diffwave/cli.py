"""The command line: parse, call, print. `diffwave COMMAND ...`; `synthesize.py` is one of them."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence

from diffwave.commands.options import COMMANDS, RENAMED, Options
from diffwave.commands.parser import Parser, add_options, renamed, settings_to_overrides
from diffwave.errors import InputError, out_of_memory
from diffwave.text import notice


def main(argv: Sequence[str] | None = None, command: str | None = None) -> int:
    """Run a command; returns the exit status: 0, or 2 after bad input, 130 after Ctrl-C.

    Args:
        argv: arguments; those of the process when None.
        command: a subcommand fixed beforehand, for scripts that are one.
    """
    _prepare_streams()
    _unwind_on_signals()
    arguments = renamed(sys.argv[1:] if argv is None else argv, RENAMED)
    prog = "diffwave" if command is None else f"{command}.py"
    try:
        command, options = _parse(arguments, prog, command)
        options.check()
        # Imported here: --help and what is wrong so far need not wait for PyTorch.
        module = f"diffwave.commands.{command.replace('-', '_')}"
        status = int(importlib.import_module(module).run(options))
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
        if not out_of_memory(error):
            raise
        return _fail(prog, "There is not enough memory.")


def _parse(arguments: list[str], prog: str, command: str | None) -> tuple[str, Options]:
    """The command and an instance of its options."""
    if command is not None:
        parser = Parser(prog=prog, description=COMMANDS[command].__doc__)
        add_options(parser, COMMANDS[command])
    else:
        from diffwave import __version__

        parser = Parser(prog=prog, description="A diffusion vocoder: mel-spectrogram to speech.")
        parser.add_argument("--version", action="version", version=f"diffwave {__version__}")
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        for name, options in COMMANDS.items():
            below = commands.add_parser(name, help=options.__doc__, description=options.__doc__)
            if name in arguments:
                add_options(below, options)
    values, rest = parser.parse_known_args(arguments)
    found = vars(values)
    command = str(found.pop("command", command))
    if rest and "set" not in found:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        found["set"] = [*found["set"], *settings_to_overrides(rest, parser)]
    return command, COMMANDS[command](**found)


def _prepare_streams() -> None:
    """Streams that take every name; a closed one is replaced, or the next file opened would be it.

    Names of files need not be text of the terminal's encoding, or of any.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (as long as the process)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _unwind_on_signals() -> None:
    """Make an exception of what would kill the process, so that nothing half written is left.

    What somebody deals with or ignores (nohup) is left alone; only the main thread gets signals.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")):
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, lambda number, _: sys.exit(128 + number))


def _fail(prog: str, sentence: str) -> int:
    notice(f"{prog}: {sentence}")
    return 2


def _discard_output() -> None:
    """What is still buffered would fail once more, with a traceback, when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console_main() -> None:
    """Entry point of the command `diffwave`."""
    sys.exit(main())


if __name__ == "__main__":
    console_main()
