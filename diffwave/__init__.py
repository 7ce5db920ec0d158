"""diffwave: a diffusion vocoder, mel-spectrogram in, speech out."""

from typing import TYPE_CHECKING, Any

from diffwave.base.errors import InputError

if TYPE_CHECKING:
    from diffwave.vocoder import Vocoder

__all__ = ["InputError", "Vocoder", "__version__"]
__version__ = "0.3.0"


def __getattr__(name: str) -> Any:
    # Not imported above: --help and a mistyped argument need not wait for PyTorch.
    if name == "Vocoder":
        from diffwave.vocoder import Vocoder

        return Vocoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
