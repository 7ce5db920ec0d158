"""The command line: parse, call, print. `diffwave COMMAND ...`; `synthesize.py` is one of them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

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
            parser = _Parser(prog=prog, description=_HELP[command], formatter_class=_formatter)
            _ARGUMENTS[command](parser)
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
    for name, add_arguments in _ARGUMENTS.items():
        add_arguments(
            subparsers.add_parser(
                name, help=_HELP[name], description=_HELP[name], formatter_class=_formatter
            )
        )
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
        return value

    return number


def _synthesize_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        help="a mel-spectrogram (.npy, .npz, .pt, .safetensors), a recording to analyse and "
        "resynthesise (.wav, .flac, .ogg, .mp3), or a folder of either",
    )
    parser.add_argument("output", help="a .wav or .flac file; a folder if the input is one")
    _model_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="same seed, same wave")
    parser.add_argument("--bits", choices=("16", "24", "float"), default="16", help="sample format")
    parser.add_argument(
        "--chunk",
        type=_at_least(1),
        default=1024,
        metavar="FRAMES",
        help="frames at a time; bounds memory",
    )


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", metavar="NAME", help="bundled name, folder or hub id (default: the bundled)"
    )
    parser.add_argument(
        "--steps", type=_at_least(1), help="network calls (default: the checkpoint's)"
    )
    parser.add_argument(
        "--sampler", help="ddim, dpm-solver++ or ancestral (default: the checkpoint's)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--threads", type=_at_least(0), default=0, help="CPU threads; 0: PyTorch's choice"
    )


def _mel_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help="a recording")
    parser.add_argument("output", help="a .npy file")
    parser.add_argument("--preset", default="hifigan", help="mel convention")


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", nargs="?", help="default: list the bundled ones")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", help="folder of original recordings")
    parser.add_argument(
        "generated", nargs="?", help="folder of generated audio of the same names; or a checkpoint:"
    )
    _model_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the generated audio")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="recordings to take, for a checkpoint"
    )
    parser.add_argument("--metrics", default="", help="comma-separated; default: all")
    parser.add_argument(
        "--save", action="append", default=[], metavar="FILE", help=".json, .csv or .md; repeatable"
    )


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", help="YAML file; default: the defaults")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, e.g. --set run.minutes=60 (repeatable)",
    )


_HELP = {
    "synthesize": "Turn mel-spectrograms into speech.",
    "mel": "Make a mel-spectrogram of a recording.",
    "info": "Describe a checkpoint.",
    "evaluate": "Score generated audio, or a checkpoint, against recordings.",
    "train": "Train a vocoder, or go on training one.",
}
_ARGUMENTS = {
    "synthesize": _synthesize_arguments,
    "mel": _mel_arguments,
    "info": _info_arguments,
    "evaluate": _evaluate_arguments,
    "train": _train_arguments,
}


def _run(command: str, options: argparse.Namespace) -> int:
    # Imported here: --help and a wrong argument need not wait for PyTorch.
    if command == "train":
        from diffwave.training.run import run

        return run(options.config, options.set)
    from diffwave import commands

    return int(getattr(commands, command)(options))


if __name__ == "__main__":
    console_main()
