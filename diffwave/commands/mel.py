"""`diffwave mel`: the mel-spectrogram of a recording."""

from __future__ import annotations

import argparse

from diffwave.audio import read_audio
from diffwave.mel import MelSpectrogram, preset
from diffwave.mel.files import write_mel


def run(options: argparse.Namespace) -> int:
    """A recording to a .npy mel of a preset."""
    config = preset(options.preset)
    wave, _ = read_audio(options.input, config.sample_rate)
    result = MelSpectrogram(config)(wave)
    write_mel(options.output, result)
    print(f"{options.output}: {list(result.shape)}, {config.name} convention")
    return 0
