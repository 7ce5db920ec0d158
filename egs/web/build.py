"""A static page that speaks mel-spectrograms in the browser: everything that it needs, in a folder.

python egs/web/build.py OUT [--voice universal-22k]
python -m http.server -d OUT

OUT then holds the page, the voice as ONNX graphs and ONNX Runtime Web, and the page asks for
nothing else. ONNX Runtime Web is taken from the folder that DIFFWAVE_ORT_WEB names, else from
`node_modules` beside this file, which `npm ci` fills with the version in package-lock.json after
comparing its checksum. Needs diffwave[onnx], and npm where neither folder is there yet.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_folder, read_error, read_json
from diffwave.checkpoint import load_checkpoint
from diffwave.onnx.layout import ABOUT, CONSTANTS, GRAPHS
from diffwave.vocoder import find_checkpoint

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = "onnxruntime-web"
RUNTIME = (
    # For processors, and for graphics cards.
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "ort.webgpu.min.mjs",
    *("ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
)
"""Files of the package's `dist` that the page loads one of the two halves of."""


def main(argv: Sequence[str] | None = None) -> int:
    """Build the page; returns the exit status: 0, or 2 after bad input."""
    parser = argparse.ArgumentParser(description="A page that speaks mels in the browser.")
    parser.add_argument("output", help="folder to make; any static server serves it")
    parser.add_argument(
        "--voice",
        default="universal-22k",
        help="bundled name, checkpoint folder or hub id, or what `diffwave export --onnx` made",
    )
    options = parser.parse_args(argv)
    try:
        build(Path(options.output), options.voice)
    except InputError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("build.py: stopped.", file=sys.stderr)
        return 130
    print(f"{options.output} is ready: python -m http.server -d {options.output}")
    return 0


def build(output: Path, voice: str) -> None:
    """Write the page with a voice to `output`, whole or not at all.

    Raises:
        InputError: no such voice, one that cannot be exported, no ONNX Runtime Web, or a folder
            that cannot be written to.
    """
    runtime = runtime_folder()
    with atomic_folder(output) as temporary:
        _copy(HERE / "site", temporary)
        _copy(ROOT / "diffwave" / "listening" / "assets" / "page.css", temporary / "house.css")
        _copy(ROOT / "egs" / "mel.npy", temporary / "mel.npy")
        (temporary / "ort").mkdir()
        for name in RUNTIME:
            _copy(runtime / "dist" / name, temporary / "ort" / name)
        write_voice(voice, temporary / "voice")


def write_voice(voice: str, folder: Path) -> None:
    """The graphs of a voice in `folder`, its constants one array a file, as JavaScript reads them.

    Raises:
        InputError: as for `build`.
    """
    folder.mkdir()
    if (Path(voice) / ABOUT).is_file():
        names = {ABOUT, CONSTANTS, *(f"{name}.onnx" for name in GRAPHS)}
        for path in Path(voice).iterdir():
            if path.name in names:
                _copy(path, folder / path.name)
    else:
        from diffwave.onnx.export import export_onnx

        export_onnx(load_checkpoint(find_checkpoint(voice)), folder)
    n_fft = read_json(folder / ABOUT)["model"]["space"]["n_fft"]
    if n_fft < 8 or n_fft & (n_fft - 1):
        raise InputError(f"The page needs frames of a power of two of samples, not of {n_fft}.")
    try:
        with zipfile.ZipFile(folder / CONSTANTS) as constants:
            constants.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{voice} is a damaged voice ({type(error).__name__}).") from None
    (folder / CONSTANTS).unlink()


def runtime_folder() -> Path:
    """The folder of the package onnxruntime-web, of the version in package.json.

    Raises:
        InputError: where it is another version, or npm cannot fetch it.
    """
    wanted = read_json(HERE / "package.json")["dependencies"][PACKAGE]
    given = os.environ.get("DIFFWAVE_ORT_WEB")
    folder = Path(given) if given else HERE / "node_modules" / PACKAGE
    if not given and not (folder / "package.json").is_file():
        _fetch()
    found = read_json(folder / "package.json").get("version")
    if found != wanted:
        raise InputError(f"{folder} is {PACKAGE} {found}, and the page needs {wanted}.")
    return folder


def _fetch() -> None:
    """`npm ci` beside this file: the versions and checksums of package-lock.json, no scripts."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(
            f"{PACKAGE} is not there: install npm, or name its folder in DIFFWAVE_ORT_WEB."
        )
    options = ("--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
    done = subprocess.run([npm, "ci", *options], cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0] or "no reason given"
        raise InputError(f"npm cannot fetch {PACKAGE} ({reason}).")


def _copy(source: Path, target: Path) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
    except FileNotFoundError as error:
        if error.filename == os.fspath(source):
            raise read_error(source, error) from None
        raise


if __name__ == "__main__":
    sys.exit(main())
