"""Store a voice in a folder, publish it, and load it from either.

    python egs/share_a_voice.py VOICE folder              # nothing leaves the machine
    python egs/share_a_voice.py VOICE folder owner/name   # to the Hugging Face hub and back

VOICE is a bundled name, a folder or a hub id. Publishing needs the package huggingface_hub and its
token (`hf auth login`, or HF_TOKEN).
"""

import sys
from pathlib import Path

import numpy as np
import torch

from diffwave import Vocoder
from diffwave.base.errors import run_script


def main(voice: str, folder: str, name: str | None = None) -> None:
    vocoder = Vocoder.from_pretrained(voice)
    mel = np.load(Path(__file__).parent / "mel.npy")[:, :100]

    vocoder.save_pretrained(folder)  # config.json and model.safetensors
    copies = [Vocoder.from_pretrained(folder)]
    if name is not None:
        print(vocoder.push_to_hub(name))
        copies.append(Vocoder.from_pretrained(name))
    for copy in copies:
        assert torch.equal(copy(mel), vocoder(mel))  # weights, settings and seed are the same


if __name__ == "__main__":
    run_script(lambda: main(*sys.argv[1:]))
