"""Entry points for `torch.hub`: torch.hub.load("owner/repository", "vocoder")."""

from __future__ import annotations

dependencies = ["docstring_parser", "msgspec", "numpy", "safetensors", "soundfile", "soxr", "tqdm"]


def vocoder(name: str = "", device: str = "auto"):  # type: ignore[no-untyped-def]
    """A `diffwave.Vocoder`: mel [80, T] or [B, 80, T] -> wave [T * 256] or [B, T * 256].

    Args:
        name: a bundled voice (the default one when empty), a checkpoint folder, or a hub id.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
    """
    from diffwave.vocoder import DEFAULT, Vocoder

    return Vocoder.from_pretrained(name or DEFAULT, device)
