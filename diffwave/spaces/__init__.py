"""The coordinates in which the chain runs, by their kind."""

from diffwave.dsp.source import Source
from diffwave.spaces.base import Prior, Space, SpaceConfig
from diffwave.spaces.source import Excitation
from diffwave.spaces.spectral import SpectralConfig, SpectralSpace
from diffwave.spaces.waveform import EnergyPrior, WaveformConfig, WaveformSpace

SPACES: dict[str, tuple[type[SpaceConfig], type[Space]]] = {
    SpectralConfig.kind: (SpectralConfig, SpectralSpace),
    WaveformConfig.kind: (WaveformConfig, WaveformSpace),
}
"""A new space is a file here and a line above."""
