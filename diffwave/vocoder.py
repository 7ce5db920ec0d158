"""The facade: `Vocoder.from_pretrained()(mel) -> wave`."""

from __future__ import annotations

import inspect
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from numpy.typing import ArrayLike
from torch import Tensor

from diffwave.base.device import choose_device
from diffwave.base.errors import InputError
from diffwave.base.files import read_error
from diffwave.base.libraries import needed_for
from diffwave.base.schema import AtLeastOne, convert
from diffwave.chain.samplers import Callback
from diffwave.checkpoint import CONFIG_FILE, load_checkpoint, load_config, save_checkpoint
from diffwave.mel import MelConfig
from diffwave.mel.check import as_tensor, check_mel
from diffwave.mel.conventions import Convention
from diffwave.mel.convert import difference
from diffwave.mel.pieces import checked_pieces, comes_in_pieces
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.precision import INT8_IS_FOR_CPUS, in_precision
from diffwave.streaming import generate_stream, open_stream
from diffwave.synthesis import CHUNK_FRAMES, Watch, generate

DEFAULT = "universal-22k"  # the bundled checkpoint that is used unless another is named
STREAM_FRAMES = 64
"""Frames generated at a time of a mel that comes in pieces: 0.7 s at 22.05 kHz and hop 256."""
Semitones = Annotated[float, Meta(ge=-24, le=24)]


class Vocoder:
    """A trained diffusion vocoder: log-mel in, samples out.

    >>> vocoder = Vocoder.from_pretrained()
    >>> wave = vocoder(mel)             # mel [80, T] -> wave [T * 256]
    """

    def __init__(
        self, model: DiffusionModel, device: str = "auto", precision: str = "float32"
    ) -> None:
        """The model, on a device and in a precision as of :meth:`from_pretrained`."""
        self.model = model.eval().requires_grad_(False)
        self.precision = "float32"
        self.to(device)
        self.model, self.precision = in_precision(self.model, precision), precision

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = DEFAULT,
        device: str = "auto",
        precision: str = "float32",
    ) -> Vocoder:
        """Load a vocoder by the name of a bundled checkpoint, a folder, or a Hugging Face hub id.

        Args:
            name: "universal-22k", "path/to/folder", or "owner/name" on the hub (which needs the
                package huggingface_hub and, the first time, a network).
            device: "auto", "cpu", "cuda", "cuda:1", "mps".
            precision: of the matrix products of the network: "float32", "bfloat16" or "int8" (CPU);
                of `spectral` networks.

        Raises:
            InputError: for an unknown name, a damaged checkpoint, or a device or precision that is
                not there.
        """
        return cls(load_checkpoint(find_checkpoint(name)), device, precision)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint folder that :meth:`from_pretrained` reads, whole or not at all.

        Raises:
            InputError: when it cannot be written (its parent must exist), or is not in float32.
        """
        if self.precision != "float32":
            raise InputError(f"A voice in {self.precision} is not saved: load it in float32.")
        save_checkpoint(self.model, folder, half=False)

    def push_to_hub(self, name: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the checkpoint to "owner/name" on the Hugging Face hub; the commit's address.

        Args:
            name: of a new or an existing repository.
            private: whether a new repository is private.
            token: of the hub; the one that was logged in with when None.

        Raises:
            InputError: for a name of another form, without the package huggingface_hub, or when the
                hub refuses or cannot be reached.
        """
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name), re.ASCII):
            raise InputError(
                f'A voice on the Hugging Face hub is called "owner/name", not {str(name)!r:.80}; '
                "save_pretrained writes a folder."
            )
        with needed_for(f"Uploading {name!r} to the Hugging Face hub", "hub"):
            import huggingface_hub
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "checkpoint"
            self.save_pretrained(folder)
            try:
                api = huggingface_hub.HfApi(token=token)
                api.create_repo(name, private=private, exist_ok=True)
                return str(api.upload_folder(repo_id=name, folder_path=folder))
            except Exception as error:  # the hub's client raises many kinds
                raise InputError(
                    f"The Hugging Face hub did not take {name!r}: {_reason(error)}."
                ) from None

    def to(self, device: str | torch.device) -> Vocoder:
        """Move the model to a device ("auto", "cpu", "cuda", ..); returns itself, as a module does.

        Raises:
            InputError: for a device that is not there.
        """
        chosen = choose_device(str(device))
        if self.precision == "int8" and chosen.type != "cpu":
            raise InputError(INT8_IS_FOR_CPUS)
        self.device = chosen
        self.model.to(self.device)
        return self

    def eval(self) -> Vocoder:
        """Itself: a vocoder is always ready for inference."""
        self.model.eval()
        return self

    @property
    def config(self) -> ModelConfig:
        """All settings of the checkpoint."""
        return self.model.config

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.mel.sample_rate

    @property
    def hop_length(self) -> int:
        """Samples per mel frame."""
        return self.config.mel.hop_length

    def mel(self, wave: Tensor | ArrayLike) -> Tensor:
        """Mel-spectrogram that this vocoder understands, [L] -> [n_mels, T] or [B, L] -> [B, ..].

        Args:
            wave: floating-point samples in -1 .. 1 at `sample_rate`.

        Raises:
            InputError: for a wave that is too short, of another rank or no array at all.
        """
        return self.model.mel(as_tensor("wave", wave).to(self.device)).cpu()

    def stream(
        self,
        mel: Tensor | ArrayLike | Iterable[Tensor | ArrayLike],
        *,
        steps: int | None = None,
        sampler: str | None = None,
        n_iter: int | None = None,
        seed: int = 0,
        enhance: bool = True,
        f0: Tensor | ArrayLike | None = None,
        transpose: float = 0.0,
        chunk_frames: int | None = None,
        low_latency: bool = False,
        callback: Callback | None = None,
        watch: Watch | None = None,
        progress: Callable[[int], object] | None = None,
        **deprecated: Any,
    ) -> Iterator[Tensor]:
        """Speech for a mel-spectrogram, chunk by chunk, each as soon as it is ready.

        Args:
            mel: [n_mels, T] or [B, n_mels, T], NumPy or PyTorch, in the checkpoint's convention. Or
                an iterator of its pieces [n_mels, T_i], of any sizes, as another model makes them:
                the same wave, each chunk as soon as the frames that it depends on have come
                (:meth:`look_ahead`).
            steps: network calls; more is slower and, up to a point, better. The checkpoint's own
                default when None.
            sampler: a name in `diffwave.chain.samplers.SAMPLERS`; the checkpoint's own when None.
            n_iter: mel-consistency (Griffin-Lim) iterations after the last step
                (:mod:`diffwave.dsp.consistency`), each far cheaper than a step; the
                checkpoint's own number for so many steps when None.
            seed: same seed, same wave, whatever the batch or the chunks.
            enhance: give detail back to a mel that was smoothed, as predicted ones are; the mel of
                a recording passes as it is. Of checkpoints that have a mel enhancer.
            f0: pitch in place of the predicted one, Hz, 0 where there is no voice; [T] or [B, T].
                Of checkpoints that have a source.
            transpose: semitones by which the pitch, predicted or given, is raised (lowered where
                negative), within 50 .. 600 Hz. Of checkpoints that have a source.
            chunk_frames: frames generated at a time; bounds memory, does not change the result. By
                default 1024, or 64 of a mel in pieces.
            low_latency: wait at most 80 ms for later frames before a frame is generated: a wave a
                little worse than the other, which does not depend on the pieces either. It has its
                own number of frames at a time, and takes no f0.
            callback: `callback(step, alpha_bar, x, x_0)`, for those who study the chain.
            watch: `watch(step, alpha_bar, x, x_0)`, the same as samples, chunk by chunk
                (`diffwave.synthesis.generate`); of a whole mel.
            progress: called with the number of frames of every finished chunk.
            deprecated: the former names `rounds` of n_iter and `restore` of enhance.

        Yields:
            float32 samples on the CPU, [F * hop_length] or [B, F * hop_length] for F frames.

        Raises:
            InputError: for a mel that is not one of this convention, and for options out of bounds
                or of a wrong type, or iterations or low latency asked of a model on samples. Of a
                mel in pieces also while iterating, when a piece is none.
        """
        for old, new in (("rounds", "n_iter"), ("restore", "enhance")):
            if old in deprecated:
                warnings.warn(f"{old} is now called {new}.", DeprecationWarning, stacklevel=2)
        n_iter, enhance = deprecated.pop("rounds", n_iter), deprecated.pop("restore", enhance)
        if deprecated:
            raise TypeError(f"A vocoder has no option {', '.join(deprecated)}.")
        sampling = self.model.sampling(steps, sampler, n_iter)
        shared: dict[str, Any] = {
            "seed": convert(seed, int, "The seed", strict=True),
            "enhance": bool(enhance),
            "transpose": convert(transpose, Semitones, "The transposition", strict=True),
            "callback": callback,
        }
        if chunk_frames is not None:
            convert(chunk_frames, AtLeastOne, "chunk_frames", strict=True)
        whole, one = False, True
        if comes_in_pieces(mel):
            given: Iterable[Tensor] = checked_pieces(mel, self.config.mel)
        else:
            whole = not low_latency
            mel = as_tensor("mel-spectrogram", mel)  # type: ignore[arg-type]  # it is no iterator
            one, checked = mel.ndim == 2, check_mel(mel, self.config.mel)
            given = [checked.detach().cpu()]
        if whole:
            shared |= {"watch": watch, "progress": progress}
            shared["chunk_frames"] = CHUNK_FRAMES if chunk_frames is None else chunk_frames
            if f0 is not None:
                shared["f0"] = _pitch(f0, one)
            pieces = generate(self.model, checked, sampling, **shared)
        else:
            if f0 is not None or watch is not None:
                what = "A pitch is given" if watch is None else "A chain is watched"
                raise InputError(f"{what} for a whole mel, and without low latency.")
            frames = STREAM_FRAMES if chunk_frames is None and not low_latency else chunk_frames
            stream = open_stream(self.model, sampling, frames, low_latency, **shared)
            pieces = generate_stream(stream, given, progress)
        return (piece[0] for piece in pieces) if one else pieces

    def look_ahead(
        self,
        *,
        steps: int | None = None,
        n_iter: int | None = None,
        enhance: bool = True,
        low_latency: bool = False,
    ) -> int:
        """Frames of a mel in pieces that have to follow a chunk before :meth:`stream` yields it.

        Args: as of :meth:`stream`.
        """
        frames, sampling = None if low_latency else 1, self.model.sampling(steps, None, n_iter)
        return open_stream(self.model, sampling, frames, low_latency, enhance=enhance).look_ahead

    def __call__(
        self, mel: Tensor | ArrayLike | Iterable[Tensor | ArrayLike], **options: Any
    ) -> Tensor:
        """Speech for a mel-spectrogram, [T * hop_length] or [B, T * hop_length].

        Args:
            mel: [n_mels, T] or [B, n_mels, T], NumPy or PyTorch, in the checkpoint's convention; or
                pieces of one.
            options: as of :meth:`stream`.
        """
        return torch.cat(list(self.stream(mel, **options)), dim=-1)

    # For help() and completion.
    __call__.__signature__ = inspect.signature(stream).replace(  # type: ignore[attr-defined]
        return_annotation="Tensor"
    )


def _pitch(f0: Tensor | ArrayLike, one: bool) -> Tensor:
    """F0 [B, T] of one utterance, [T], or of several, [B, T]."""
    pitch = as_tensor("pitch", f0, integers=True).detach().float().cpu()
    if pitch.ndim != 2 - one:
        raise InputError(
            f"A pitch is one number for each frame of the mel, not of the shape "
            f"{list(pitch.shape)}."
        )
    return pitch[None] if one else pitch


def bundled_folder() -> Path:
    """Where the bundled checkpoints are: in the installed package, or in the checkout."""
    inside = Path(__file__).parent / "pretrained"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "pretrained"


def bundled() -> list[str]:
    """Names of the bundled checkpoints."""
    return sorted(path.parent.name for path in bundled_folder().glob(f"*/{CONFIG_FILE}"))


def bundled_for(convention: Convention) -> str | None:
    """Name of the bundled checkpoint that takes mels of a convention as they are, or None.

    As they are but for units and logarithms, which are converted exactly. The default comes first.
    """
    return next((name for name, voice in _voices() if difference(convention, voice).exact), None)


def bundled_near(convention: Convention) -> str:
    """Name of the bundled checkpoint to which mels of a convention are best converted.

    One that takes them as they are, or has the same frames: another filterbank alone costs little
    (`docs/conventions.md`: `hifigan-16k` for `speecht5`), other frames much. Else the default.
    """

    def frames(mel: MelConfig) -> tuple[int, int, int]:
        return mel.sample_rate, mel.n_fft, mel.hop_length

    near = (name for name, voice in _voices() if frames(voice.mel) == frames(convention.mel))
    return bundled_for(convention) or next(near, DEFAULT)


def _voices() -> list[tuple[str, Convention]]:
    """The bundled checkpoints, the default first, and the conventions of their mels."""
    names = sorted(bundled(), key=lambda name: name != DEFAULT)
    return [(name, Convention(load_config(bundled_folder() / name).mel, name)) for name in names]


def find_checkpoint(name: str | os.PathLike[str]) -> Path:
    """Folder of a checkpoint: an existing folder, a bundled name, or a hub id, in this order."""
    path = Path(name)
    try:
        found = path.is_dir()
    except OSError as error:  # of a name that is too long
        raise read_error(path, error) from None
    if found:
        return path
    if str(name) in bundled():
        return bundled_folder() / str(name)
    if str(name).count("/") == 1 and not path.is_absolute() and not str(name).startswith("."):
        return _from_hub(str(name))
    raise InputError(
        f"There is no checkpoint {str(name)!r}: neither a folder nor one of the bundled "
        f"({', '.join(bundled()) or 'none'})."
    )


def _from_hub(name: str) -> Path:
    with needed_for(f"{name!r} is no folder; looking for it on the Hugging Face hub", "hub"):
        import huggingface_hub
    patterns = ["config.json", "*.safetensors"]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises many kinds
        raise InputError(
            f"There is no folder {name!r:.80}, and the Hugging Face hub gave nothing of that "
            f"name: {_reason(error)}."
        ) from None


def _reason(error: Exception) -> str:
    """What the hub's client says first, without the advice that follows."""
    first = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    return f"{type(error).__name__}{first and f' ({first:.200})'}"
