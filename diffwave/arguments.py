"""Arguments of every command; imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable


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
    parser.add_argument(
        "--restore",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="give detail back to mels that a model smoothed, if the checkpoint can",
    )
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
        "--rounds",
        type=_at_least(0),
        help="rounds of agreement with the mel after the last step (default: the checkpoint's)",
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
        "generated",
        nargs="*",
        metavar="[NAME=]DIR",
        help="folders of generated audio of the same file names, one for each system; without any, "
        "or beside them, a checkpoint:",
    )
    _model_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the generated audio")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="recordings to take, by file name"
    )
    parser.add_argument(
        "--metrics",
        default="",
        help="comma-separated; default: all; --metrics=-NAME leaves one out (periodicity_rmse and "
        "distillmos take longest)",
    )
    parser.add_argument(
        "--save",
        "--json",
        action="append",
        default=[],
        metavar="FILE",
        help="write the scores: .json, .csv or .md; repeatable",
    )
    parser.add_argument("--html", metavar="DIR", help="write a page to listen, look and compare")
    parser.add_argument(
        "--jobs", type=_at_least(1), default=1, metavar="N", help="processes to score with"
    )


def _prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "audio", metavar="audio_folder", help="folder of recordings (.wav, .flac, .ogg, .mp3)"
    )
    parser.add_argument(
        "prepared", metavar="prepared_folder", nargs="?", help="folder to make, for data.folder"
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file, as of train (repeatable)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, e.g. --set data.prepare.level=keep (repeatable)",
    )
    parser.add_argument(
        "--jobs", type=_at_least(0), default=0, metavar="N", help="files at a time; 0: one per CPU"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace a corpus that was prepared differently"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="make nothing; check the checksums of the one folder given, a prepared one",
    )


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config",
        nargs="*",
        help="YAML file; of several, a later one changes what an earlier one has set",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, e.g. --set run.minutes=60 (repeatable)",
    )
    parser.add_argument(
        "--profile",
        type=_at_least(1),
        nargs="?",
        const=20,
        metavar="STEPS",
        help="only measure what a step costs by part, and write nothing (without a number: 20)",
    )


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="folder of a run")
    parser.add_argument("output", help="checkpoint folder to make")
    parser.add_argument(
        "--after",
        action="append",
        default=[],
        metavar="RUN",
        help="run that this one's weights came from, for its card (repeatable, first one first)",
    )
    parser.add_argument(
        "--scores", metavar="FILE", help="what evaluate saved as .json, for the model card"
    )
    parser.add_argument(
        "--best", action="store_true", help="the weights that validated best instead of the newest"
    )
    parser.add_argument("--title", default="", help="of the model card; default: the folder's name")
    parser.add_argument("--data", default="", metavar="TEXT", help="what it was trained on")
    parser.add_argument("--speaker", default="", metavar="NAME", help="whose voice it is")
    parser.add_argument("--license", default="", metavar="ID", help="of the weights: cc-by-4.0, ..")
    parser.add_argument(
        "--half",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="store the network in half precision",
    )


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="half a minute, to see that it works")
    effort.add_argument("--full", action="store_true", help="every combination; takes hours")
    effort.add_argument(
        "--from",
        dest="result",
        metavar="FILE.json",
        help="measure nothing: tables and plot of an earlier --json",
    )
    parser.add_argument(
        "--systems", default="", metavar="NAMES", help="comma-separated; default: all"
    )
    parser.add_argument("--checkpoint", metavar="NAME", help="of ours (default: the bundled)")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--plot", metavar="FILE.png", help="draw quality against cost")
    parser.add_argument(
        "--scores",
        action="append",
        default=[],
        metavar="NAME=REPORT.json",
        help="quality of a system, from a report of `diffwave evaluate` (repeatable)",
    )


HELP = {
    "synthesize": "Turn mel-spectrograms into speech.",
    "mel": "Make a mel-spectrogram of a recording.",
    "info": "Describe a checkpoint.",
    "evaluate": "Score generated audio, or a checkpoint, against recordings.",
    "prepare": "Make a corpus to train on of a folder of recordings.",
    "train": "Train a vocoder, or go on training one.",
    "export": "Make a checkpoint with a model card of a run.",
    "bench": "Measure what vocoders cost on this machine, ours and others.",
}
ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "synthesize": _synthesize_arguments,
    "mel": _mel_arguments,
    "info": _info_arguments,
    "evaluate": _evaluate_arguments,
    "prepare": _prepare_arguments,
    "train": _train_arguments,
    "export": _export_arguments,
    "bench": _bench_arguments,
}
