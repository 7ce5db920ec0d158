"""Networks that predict noise or velocity, by their kind; they know no schedules."""

from diffwave.networks.base import Network, NetworkConfig
from diffwave.networks.diffwave import WaveformNet, WaveformNetConfig
from diffwave.networks.enhancer import MelEnhancer, MelEnhancerConfig
from diffwave.networks.source import SourcePredictor, SourcePredictorConfig
from diffwave.networks.spectral import SpectralNet, SpectralNetConfig
from diffwave.networks.variants import VariantNet, VariantNetConfig

NETWORKS: dict[str, tuple[type[NetworkConfig], type[Network]]] = {
    SpectralNetConfig.kind: (SpectralNetConfig, SpectralNet),
    WaveformNetConfig.kind: (WaveformNetConfig, WaveformNet),
    VariantNetConfig.kind: (VariantNetConfig, VariantNet),
}
"""A new network is a file here and a line above."""

__all__ = [
    "NETWORKS",
    "MelEnhancer",
    "MelEnhancerConfig",
    "Network",
    "NetworkConfig",
    "SourcePredictor",
    "SourcePredictorConfig",
    "SpectralNet",
    "SpectralNetConfig",
    "VariantNet",
    "VariantNetConfig",
    "WaveformNet",
    "WaveformNetConfig",
]
