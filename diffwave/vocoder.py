"""The facade: `Vocoder.from_pretrained()(mel) -> wave`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffwave.chain.samplers import Callback, get_sampler
from diffwave.checkpoint import CONFIG_FILE, load_checkpoint
from diffwave.device import choose_device
from diffwave.errors import InputError
from diffwave.mel import check_mel
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.synthesis import CHUNK_FRAMES, generate

DEFAULT = "ljspeech-22k"
"""The bundled checkpoint that is used unless another is named."""


class Vocoder:
    """A trained diffusion vocoder: log-mel in, samples out.

    >>> vocoder = Vocoder.from_pretrained()
    >>> wave = vocoder(mel)             # mel [80, T] -> wave [T * 256]
    """

    def __init__(self, model: DiffusionModel, device: str = "auto") -> None:
        self.device = choose_device(device)
        self.model = model.eval().requires_grad_(False).to(self.device)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str] = DEFAULT, device: str = "auto"
    ) -> Vocoder:
        """Load a vocoder by the name of a bundled checkpoint, a folder, or a Hugging Face hub id.

        Args:
            name: "ljspeech-22k", "path/to/folder", or "owner/name" on the hub (which needs the
                package huggingface_hub and, the first time, a network).
            device: "auto", "cpu", "cuda", "cuda:1", "mps".

        Raises:
            InputError: for an unknown name, a damaged checkpoint, or a device that is not there.
        """
        return cls(load_checkpoint(find_checkpoint(name)), device)

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

    def mel(self, wave: Tensor | NDArray[np.floating]) -> Tensor:
        """Mel-spectrogram that this vocoder understands, [L] -> [n_mels, T] or [B, L] -> [B, ..].

        Args:
            wave: samples in -1 .. 1 at `sample_rate`.

        Raises:
            InputError: for a wave that is too short or of another rank.
        """
        # A copy: PyTorch takes no array that is reversed, and warns of one that is read-only.
        samples = wave if isinstance(wave, Tensor) else torch.from_numpy(np.array(wave))
        return self.model.mel(samples.to(self.device)).cpu()

    def __call__(
        self,
        mel: Tensor | ArrayLike,
        *,
        steps: int | None = None,
        sampler: str | None = None,
        seed: int = 0,
        rounds: int | None = None,
        restore: bool = True,
        chunk_frames: int = CHUNK_FRAMES,
        callback: Callback | None = None,
    ) -> Tensor:
        """Speech for a mel-spectrogram.

        Args:
            mel: [n_mels, T] or [B, n_mels, T], NumPy or PyTorch, in the checkpoint's convention.
            steps: network calls; more is slower and, up to a point, better. The checkpoint's own
                default when None.
            sampler: a name in `diffwave.chain.samplers.SAMPLERS`; the checkpoint's own when None.
            seed: same seed, same wave, whatever the batch or the chunks.
            rounds: of agreement with the mel after the last step (:mod:`diffwave.spaces`),
                each far cheaper than a step; the checkpoint's own number when None.
            restore: give detail back to a mel that was smoothed, as predicted ones are; the mel of
                a recording passes as it is. Of checkpoints that have a restorer.
            chunk_frames: frames generated at a time; bounds memory, does not change the result.
            callback: `callback(step, alpha_bar, x, x_0)`, for those who study the chain.

        Returns:
            float32 samples on the CPU, [T * hop_length] or [B, T * hop_length].

        Raises:
            InputError: for a mel that is not one of this convention, steps below 1, or rounds that
                are negative or asked of a model on samples.
        """
        pieces = self.stream(
            mel,
            steps=steps,
            sampler=sampler,
            seed=seed,
            rounds=rounds,
            restore=restore,
            chunk_frames=chunk_frames,
            callback=callback,
        )
        return torch.cat(list(pieces), dim=-1)

    def stream(
        self,
        mel: Tensor | ArrayLike,
        *,
        steps: int | None = None,
        sampler: str | None = None,
        seed: int = 0,
        rounds: int | None = None,
        restore: bool = True,
        chunk_frames: int = CHUNK_FRAMES,
        callback: Callback | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[Tensor]:
        """The same, yielded chunk by chunk as soon as each is ready; arguments as for a call."""
        if chunk_frames < 1:
            raise InputError(f"A chunk needs at least 1 frame, not {chunk_frames}.")
        if rounds is not None and (rounds < 0 or (rounds and self.config.space is None)):
            raise InputError(
                f"Rounds of mel agreement are 0 or more, not {rounds}."
                if rounds < 0
                else "Rounds of mel agreement need a spectral space, not a chain on samples."
            )
        array = mel if isinstance(mel, Tensor) else np.asarray(mel)
        batch = check_mel(array, self.config.mel)
        sampling = self.config.sampling
        pieces = generate(
            self.model,
            batch,
            self.model.levels(sampling.steps if steps is None else steps),
            get_sampler(sampler or sampling.sampler),
            seed,
            chunk_frames,
            callback,
            progress,
            rounds,
            restore,
        )
        return (piece[0] for piece in pieces) if array.ndim == 2 else pieces


def bundled_folder() -> Path:
    """Where the bundled checkpoints are: in the installed package, or in the checkout."""
    inside = Path(__file__).parent / "pretrained"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "pretrained"


def bundled() -> list[str]:
    """Names of the bundled checkpoints."""
    return sorted(path.parent.name for path in bundled_folder().glob(f"*/{CONFIG_FILE}"))


def find_checkpoint(name: str | os.PathLike[str]) -> Path:
    """Folder of a checkpoint: an existing folder, a bundled name, or a hub id, in this order."""
    path = Path(name)
    if path.is_dir():
        return path
    if str(name) in bundled():
        return bundled_folder() / str(name)
    if str(name).count("/") == 1 and not path.is_absolute() and not str(name).startswith("."):
        return _from_hub(str(name))
    raise InputError(
        f"There is no checkpoint {str(name)!r}: neither a folder nor one of the bundled "
        f"({', '.join(bundled()) or 'none'})."
    )


def _from_hub(repository: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            f"There is no folder {repository!r}; to look for it on the Hugging Face hub, "
            "install huggingface_hub."
        ) from None
    try:
        return Path(snapshot_download(repository, allow_patterns=["config.json", "*.safetensors"]))
    except Exception as error:  # the hub's client raises many kinds
        raise InputError(
            f"There is no folder {repository!r}, and the Hugging Face hub gave nothing of that "
            f"name ({type(error).__name__})."
        ) from None
