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
        try:
            from diffwave.vocoder import Vocoder
        except ModuleNotFoundError as error:
            if error.name != "diffwave.vocoder":
                raise
            raise ImportError("diffwave-onnx has no Vocoder but diffwave.onnx.Vocoder.") from None
        return Vocoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
