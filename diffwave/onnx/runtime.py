"""The vocoder without PyTorch: the networks by ONNX Runtime, everything else by NumPy.

The same chain as :mod:`diffwave.synthesis`, of the same functions. Noise and pulses are addressed
by absolute position, so that the same seed gives PyTorch's samples up to rounding.
"""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from diffwave.base.errors import InputError, out_of_memory
from diffwave.base.files import read_json
from diffwave.chain.angles import alpha_bar_of, angle_of
from diffwave.chain.gaussian import x0_from_eps, x0_from_v
from diffwave.chain.noise import noise_samples
from diffwave.chain.samplers import SAMPLERS, sample
from diffwave.dsp.chunks import by_chunks, chunks
from diffwave.dsp.consistency import match_bands
from diffwave.dsp.source import Source, pulse_times, pulse_train, shaped_source, transposed, with_f0
from diffwave.dsp.stft import ShortTimeFourier, reach
from diffwave.onnx.layout import ABOUT, CONSTANTS, FORMAT, GRAPHS, PRIOR

Samples = NDArray[np.float32]
CHUNK_FRAMES = 1024  # frames generated at a time, as PyTorch's vocoder does
MOST_STEPS = 10_000
DAMAGE = (OSError, EOFError, KeyError, TypeError, ValueError, AttributeError)
"""What reading a damaged file raises."""


class Vocoder:
    """A folder that `diffwave export --onnx` made: log-mel in, samples out.

    >>> vocoder = Vocoder("voice")
    >>> wave = vocoder(mel)             # mel [80, T] -> wave [T * 256]
    """

    def __init__(self, folder: str | os.PathLike[str], threads: int = 0) -> None:
        """Load the graphs.

        Args:
            folder: of the graphs.
            threads: of the networks; 0: as many as ONNX Runtime chooses.

        Raises:
            InputError: for a folder that holds no such voice, or a damaged one.
        """
        self.folder, self._threads = Path(folder), threads
        if not (self.folder / ABOUT).is_file():
            raise InputError(
                f"{folder} is not a voice in ONNX: it has no {ABOUT}; "
                "`diffwave export NAME FOLDER --onnx` makes one."
            )
        about = read_json(self.folder / ABOUT)
        if about.get("format") != FORMAT:
            raise InputError(f"{self.folder / ABOUT} is not of format {FORMAT} of this package.")
        try:
            self.config: dict[str, Any] = about["model"]
            self._fields: dict[str, int] = about["receptive_field"]
            self._mel, self._space = self.config["mel"], self.config["space"]
            self.sample_rate = int(self._mel["sample_rate"])
            self.hop_length = int(self._mel["hop_length"])
            self.stft = ShortTimeFourier(self._space["n_fft"], self.hop_length)
            with np.load(self.folder / CONSTANTS, allow_pickle=False) as constants:
                self._filters = constants["filters"]
                self._share_weights: Any = constants["share_weights"] if self.has_source else None
                self._ends = tuple(constants["ends"].tolist())
            self._v = self.config["diffusion"]["prediction"] == "v"
            self._presets = self.config["sampling"]
        except (*DAMAGE, zipfile.BadZipFile) as error:
            raise InputError(f"{folder} is a damaged voice ({type(error).__name__}).") from None
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    @property
    def has_source(self) -> bool:
        """Whether the chain ends in pulses and noise, and pitch can be given."""
        return "source" in self._fields

    def stream(
        self,
        mel: ArrayLike,
        *,
        steps: int | None = None,
        sampler: str | None = None,
        n_iter: int | None = None,
        seed: int = 0,
        enhance: bool = True,
        f0: ArrayLike | None = None,
        transpose: float = 0.0,
        chunk_frames: int = CHUNK_FRAMES,
    ) -> Iterator[Samples]:
        """Speech for a mel-spectrogram, chunk by chunk, each as soon as it is ready.

        Args:
            mel: [n_mels, T], in the voice's convention.
            steps, sampler, n_iter, seed, enhance, transpose: as of `diffwave.Vocoder.stream`.
            f0: pitch in place of the predicted one, Hz, 0 where there is no voice; [T].
            chunk_frames: frames generated at a time; bounds memory, does not change the result.

        Yields:
            float32 samples, [F * hop_length] for F frames.

        Raises:
            InputError: for a mel that is not one of this voice, and for options out of bounds.
        """
        given = checked_mel(mel, int(self._mel["n_mels"]))[None]
        sampling = self._sampling(steps, sampler, n_iter)
        if chunk_frames < 1:
            raise InputError("A chunk has at least 1 frame.")
        if not -24 <= transpose <= 24:
            raise InputError("A transposition lies within -24 to 24 semitones.")
        return self._generate(given, sampling, seed, enhance, f0, transpose, chunk_frames)

    def __call__(self, mel: ArrayLike, **options: Any) -> Samples:
        """Speech for a mel-spectrogram [n_mels, T], [T * hop_length]; options as of `stream`."""
        return np.concatenate(list(self.stream(mel, **options)))

    def _generate(
        self,
        mel: Samples,
        sampling: dict[str, Any],
        seed: int,
        enhance: bool,
        f0: ArrayLike | None,
        transpose: float,
        chunk_frames: int,
    ) -> Iterator[Samples]:
        if enhance and "enhancer" in self._fields:
            (mel,) = self._of_whole("enhancer", mel, axis=-1)
        source = self._source(mel, f0, transpose)
        hop, pad, n_fft = self.hop_length, self._space["pad_left"], self.stft.n_fft
        context = reach(self._fields["network"], sampling["steps"], sampling["n_iter"], n_fft, hop)
        if source is not None:
            centre = n_fft / 2 - pad
            pulses = pulse_times(source.f0[0], source.voiced[0], self.sample_rate, hop, centre)
        for frames, kept in chunks(mel.shape[-1], chunk_frames, context):
            start, excitation = frames.start * hop - pad, None
            if source is not None:
                train = pulse_train(pulses, start, (frames.stop - frames.start - 1) * hop + n_fft)
                excitation = train, source.share[:, frames]
            signal = self._piece(mel[..., frames], excitation, start, sampling, seed)
            yield signal[pad + kept.start * hop :][: (kept.stop - kept.start) * hop]

    def _piece(
        self,
        mel: Samples,
        excitation: tuple[Samples, Samples] | None,
        start: int,
        sampling: dict[str, Any],
        seed: int,
    ) -> Samples:
        """Samples from `start` on of a mel [1, n_mels, T] and its source, with their context."""
        length = (mel.shape[-1] - 1) * self.hop_length + self.stft.n_fft
        cond, log_envelope, levels = self._run("condition", mel)
        envelope = np.exp(log_envelope)[:, :, None]
        mean, deviation = np.float32(0), envelope
        prior: tuple[Samples, ...] = ()
        if excitation is not None:
            train, share = excitation
            spectrum, share = self.stft.analyse(train[None]), share @ self._share_weights
            least = self._space["least_noise"]
            mean, deviation = shaped_source(spectrum, share, log_envelope, least)
            prior = mean, deviation, envelope

        def noise(stream: int) -> Samples:
            white = noise_samples(seed, stream, start, length)
            return parts(self.stft.analyse(white[None]))

        def denoise(x: Samples, alpha_bar: np.float64) -> Samples:
            t = np.full(1, angle_of(alpha_bar), np.float32)
            (prediction,) = self._run("step", x, t, cond, *prior)
            x_0 = x0_from_v if self._v else x0_from_eps
            return x_0(x, prediction, alpha_bar)  # type: ignore[no-any-return]

        # Stream 0 is where the chain starts; step i of a sampler that adds noise draws i + 1.
        state = sample(
            SAMPLERS[sampling["solver"]],
            denoise,
            noise(0),
            alpha_bar_of(np.asarray(sampling["levels"], np.float64)),
            noise=lambda i: noise(i + 1),
        )
        spectrum = match_bands(
            whole(state * deviation + mean), levels, self._ends, self._filters, self.stft,
            sampling["n_iter"], self._space["momentum"],
        )  # fmt: skip
        return self.stft.inverse(spectrum)[0]  # type: ignore[no-any-return]

    def _source(self, mel: Samples, f0: ArrayLike | None, transpose: float) -> Source | None:
        """What excites the utterance; None of a voice without a source."""
        if not self.has_source:
            if f0 is not None or transpose:
                raise InputError(
                    "This voice has no source: its pitch can be neither given nor transposed."
                )
            return None
        source = Source(*self._of_whole("source", mel))
        if f0 is not None:
            source = with_f0(source, np.asarray(f0, np.float32)[None])
        return transposed(source, transpose) if transpose else source

    def _sampling(
        self, steps: int | None, solver: str | None, n_iter: int | None
    ) -> dict[str, Any]:
        """The preset of a number of steps, with what is asked for."""
        config = self._presets
        steps = config["default"] if steps is None else steps
        if not 1 <= steps <= MOST_STEPS:
            raise InputError(f"The steps are 1 to {MOST_STEPS}, not {steps}.")
        found = {"solver": config["solver"], "n_iter": config["n_iter"]}
        found |= next((p for p in config["presets"] if p["steps"] == steps), {"steps": steps})
        # Without levels of its own, equal steps in angle.
        found["levels"] = found.get("levels") or [i / steps for i in range(steps, 0, -1)]
        asked = {"solver": solver, "n_iter": n_iter}
        found |= {key: value for key, value in asked.items() if value is not None}
        if found["solver"] not in SAMPLERS:
            raise InputError(
                f"There is no sampler named {solver!r}; there are {', '.join(SAMPLERS)}."
            )
        if not 0 <= found["n_iter"] <= MOST_STEPS:
            raise InputError(f"The iterations are 0 to {MOST_STEPS}, not {n_iter}.")
        return found

    def _of_whole(self, name: str, mel: Samples, axis: int = 1) -> list[Samples]:
        """What a graph of a mel makes of a whole one, in chunks; its frames are on that axis."""
        return by_chunks(
            lambda piece: self._run(name, piece), mel, CHUNK_FRAMES, self._fields[name], axis
        )

    def _run(self, name: str, *inputs: Samples) -> list[Samples]:
        """The outputs of a graph, which is loaded when it is first needed."""
        if name not in self._sessions:
            self._sessions[name] = self._load(name)
        names, arrays = itertools.chain(GRAPHS[name][0], PRIOR), map(np.ascontiguousarray, inputs)
        try:
            found = self._sessions[name].run(None, dict(zip(names, arrays, strict=False)))
        except Exception as error:  # ONNX Runtime raises many kinds
            if out_of_memory(error):
                raise MemoryError from None
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{self.folder / name}.onnx does not fit the voice ({reason})."
            ) from None
        return found  # type: ignore[no-any-return]

    def _load(self, name: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        path = self.folder / f"{name}.onnx"
        try:
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many kinds
            reason = str(error).partition("\n")[0]
            raise InputError(f"{path} is not there, or is damaged ({reason}).") from None


def checked_mel(mel: ArrayLike, n_mels: int) -> Samples:
    """A mel as float32 [n_mels, T]; InputError when it is none."""
    try:
        array = np.asarray(mel)
    except (ValueError, TypeError):
        raise InputError("A mel-spectrogram must be an array, and this cannot be one.") from None
    if array.dtype.kind != "f":
        raise InputError(f"A mel-spectrogram must be floating point, not {array.dtype}.")
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.shape[0] != n_mels or array.shape[1] < 2:
        raise InputError(
            f"A mel-spectrogram must have the shape [{n_mels}, frames], of 2 frames at least, "
            f"not {list(array.shape)}."
        )
    if not np.isfinite(array).all():
        raise InputError("The mel-spectrogram holds NaN or infinity.")
    return array.astype(np.float32)


def parts(spectrum: NDArray[np.complex64]) -> Samples:
    """Coordinates [B, T, 2, K] of a spectrum [B, T, K + 1]: all bins but Nyquist."""
    return np.stack((spectrum.real[..., :-1], spectrum.imag[..., :-1]), axis=2)


def whole(coordinates: Samples) -> NDArray[np.complex64]:
    """The inverse of :func:`parts`; Nyquist is 0."""
    batch, frames, _, bins = coordinates.shape
    spectrum = np.zeros((batch, frames, bins + 1), np.complex64)
    spectrum.real[..., :-1], spectrum.imag[..., :-1] = coordinates[:, :, 0], coordinates[:, :, 1]
    return spectrum
