"""Mel-spectrograms: conventions, the frontend, telling one convention from another, files."""

from diffwave.mel.check import check_mel, check_one
from diffwave.mel.config import PRESETS, MelConfig, mel_config, preset
from diffwave.mel.frontend import MelSpectrogram
