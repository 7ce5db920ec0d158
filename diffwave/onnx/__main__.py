"""`python -m diffwave.onnx VOICE mel.npy out.wav`, of `diffwave-onnx` as well."""

from __future__ import annotations

import argparse
import os
import sys
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

# The products of the iterations are small: more threads of NumPy's only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from diffwave.base.errors import InputError
from diffwave.base.files import atomic_path, read_error
from diffwave.base.text import notice, printable
from diffwave.onnx.runtime import SAMPLERS, Samples, Vocoder

PROG = "diffwave-onnx"


class Parser(argparse.ArgumentParser):
    """argparse with one sentence and status 2, as for every other bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """A mel to a wav; returns the exit status: 0, or 2 after bad input, 130 after Ctrl-C."""
    parser = Parser(PROG, description="Speech of a mel-spectrogram, without PyTorch.")
    parser.add_argument("voice", help="folder that `diffwave export --onnx` made")
    parser.add_argument("mel", help=".npy of [n_mels, frames]")
    parser.add_argument("output", help=".wav, 16 bits")
    parser.add_argument("--steps", type=int, help="network calls")
    parser.add_argument("--n-iter", type=int, help="mel-consistency iterations after them")
    parser.add_argument("--sampler", choices=SAMPLERS)
    parser.add_argument("--seed", type=int, default=0, help="same seed, same wave")
    parser.add_argument(
        "--no-enhance", dest="enhance", action="store_false", help="take the mel as it is"
    )
    parser.add_argument("--transpose", type=float, default=0.0, metavar="SEMITONES")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    try:
        _synthesize(**vars(parser.parse_args(argv)))
        return 0
    except InputError as error:
        notice(f"{PROG}: {error}")
        return 2
    except MemoryError:
        notice(f"{PROG}: There is not enough memory.")
        return 2
    except KeyboardInterrupt:
        notice(f"{PROG}: stopped.")
        return 130


def _synthesize(voice: str, mel: str, output: str, threads: int, **options: Any) -> None:
    if Path(output).suffix.lower() != ".wav":
        raise InputError(f"The output {output} must end in .wav.")
    if threads < 0:
        raise InputError("There cannot be fewer than 0 threads.")
    values, vocoder = read_mel(mel), Vocoder(voice, threads)
    start = time.perf_counter()
    samples = vocoder(values, **options)
    spent, made = time.perf_counter() - start, len(samples) / vocoder.sample_rate
    write_wav(output, samples, vocoder.sample_rate)
    print(f"{output}: {made:.2f} s of speech, real-time factor {spent / made:.3f}")


def read_mel(path: str) -> np.ndarray:
    """The array of a .npy; InputError when there is none."""
    try:
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise read_error(path, error) from None
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        reason = type(error).__name__
        raise InputError(f"Cannot read {path}: it is truncated or not a .npy ({reason}).") from None


def write_wav(path: str, samples: Samples, sample_rate: int) -> None:
    """A wav of 16 bits, whole or not at all; what lies beyond full scale is clipped."""
    pcm = np.rint(samples.clip(-1, 1) * 32767).astype("<i2")
    with atomic_path(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm.tobytes())


if __name__ == "__main__":
    sys.exit(main())
