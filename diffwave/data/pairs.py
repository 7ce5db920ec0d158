"""Recordings and mels of the same names, as a vocoder is fine-tuned on (ground-truth-aligned)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffwave.errors import InputError
from diffwave.files import find_files
from diffwave.mel import MelConfig, check_mel
from diffwave.mel.files import MEL_SUFFIXES, read_mel


class MelFolder:
    """The mels below a folder, all in one convention.

    A mel may be `tolerance` frames longer or shorter than its recording. Raises InputError if there
    is no such folder, or no mel in it or its subfolders.
    """

    def __init__(self, folder: str, config: MelConfig, tolerance: int) -> None:
        self.folder, self.config, self.tolerance = Path(folder), config, tolerance
        if not self.folder.is_dir():
            raise InputError(f"There is no folder {folder!r} of mels; set data.mel_folder.")
        self.paths: dict[Path, list[Path]] = {}
        for path in find_files(self.folder, MEL_SUFFIXES):
            stem = path.relative_to(self.folder).with_suffix("")
            for key in {stem, Path(stem.name)}:
                self.paths.setdefault(key, []).append(path)
        if not self.paths:
            raise InputError(f"There is no mel ({', '.join(MEL_SUFFIXES)}) below {folder}.")

    def path_of(self, recording: Path) -> Path:
        """The mel of a recording, whose path is relative to the folder of the audio.

        The mel has the same path but for the suffix, or the same name in whatever subfolder.
        InputError if there is none, or more than one.
        """
        stem = recording.with_suffix("")
        found = self.paths.get(stem) or self.paths.get(Path(stem.name))
        if not found:
            raise InputError(f"{recording} has no mel of its name below {self.folder}.")
        if len(found) > 1:
            raise InputError(f"{recording} has several mels, such as {found[0]} and {found[1]}.")
        return found[0]

    def pair(
        self, recording: Path, samples: NDArray[np.int16]
    ) -> tuple[NDArray[np.int16], NDArray[np.float32], int]:
        """A recording [L], at the convention's sample rate, and its mel, cut to what both have.

        Returns:
            samples [T * hop_length] and mel [n_mels, T], frame t of which is the frontend's frame t
            of those samples; and how many frames the mel had more (or, below 0, fewer) than the
            frontend makes of the recording.

        Raises:
            InputError: no mel, an unreadable one, one of another convention, or one whose length
                differs from the recording's by more than the tolerance.
        """
        path = self.path_of(recording)
        mels = read_mel(path)
        try:
            mels = check_mel(mels, self.config)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if len(mels) != 1:
            raise InputError(f"{path} holds {len(mels)} mels; save one to a file.")
        mel, frames = mels[0].numpy(), self.config.frames(len(samples))
        difference = mel.shape[1] - frames
        if abs(difference) > self.tolerance:
            raise InputError(
                f"{path} has {mel.shape[1]} frames, but {recording} has {frames}: more than "
                f"data.mel_tolerance = {self.tolerance} apart."
            )
        # A frontend that centres its frames makes one that begins where the samples end.
        common = min(mel.shape[1], len(samples) // self.config.hop_length)
        if not common:
            raise InputError(f"{recording} is shorter than one frame.")
        return (
            samples[: common * self.config.hop_length],
            np.ascontiguousarray(mel[:, :common]),
            difference,
        )


def length_notes(differences: list[int]) -> list[str]:
    """A note on mels that were not as long as their recordings, if there are any."""
    uneven = [difference for difference in differences if difference]
    if not uneven:
        return []
    return [
        f"{len(uneven)} of {len(differences)} mels differ in length from their recordings, by "
        f"{min(uneven):+d} to {max(uneven):+d} frames; both were cut at the end to what they share."
    ]
