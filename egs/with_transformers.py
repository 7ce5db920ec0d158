"""A voice of ours behind the text-to-speech models of Hugging Face transformers.

    python egs/with_transformers.py [VOICE] "Any text." out.wav

VOICE is a checkpoint of 16 kHz with `mel: speecht5`, by default the bundled one; SpeechT5 is read
from the hub.
"""

import sys
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from diffwave import Vocoder
from diffwave.base.audio import write_audio

SPEECHT5 = "speecht5-16k"
"""The bundled voice that speaks SpeechT5's mels as they are."""


class TransformersVocoder(nn.Module):
    """Called as `SpeechT5HifiGan` and `FastSpeech2ConformerHifiGan` are.

    [T, n_mels] or [B, T, n_mels] -> [samples] or [B, samples], on the device of the input. The mel
    is the one that the model predicts, of the voice's own convention. With mean and scale, each
    [n_mels], it is mean + scale * prediction: FastSpeech2Conformer predicts normalised mels.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        mean: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        **options: object,
    ) -> None:
        """`options` are those of a call of the vocoder, such as steps and seed."""
        super().__init__()
        self.vocoder, self.options = vocoder, options
        self.model = vocoder.model  # so that .to(), .parameters() and state_dict() know it
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        mel = vocoder.config.mel
        self.config = SimpleNamespace(sampling_rate=mel.sample_rate, model_in_dim=mel.n_mels)

    def forward(self, spectrogram: Tensor, **_: object) -> Tensor:
        mel = self.mean + self.scale * spectrogram.detach().float()
        wave = self.vocoder(mel.transpose(-1, -2), **self.options)
        return wave.to(spectrogram.device)


if __name__ == "__main__":
    from transformers import SpeechT5ForTextToSpeech, SpeechT5Processor

    *voice, text, out = sys.argv[1:]
    vocoder = TransformersVocoder(Vocoder.from_pretrained(*voice or [SPEECHT5]), seed=1)
    processor = SpeechT5Processor.from_pretrained("microsoft/speecht5_tts")
    model = SpeechT5ForTextToSpeech.from_pretrained("microsoft/speecht5_tts")
    speaker = torch.zeros(1, model.config.speaker_embedding_dim)  # an x-vector, for a real voice
    tokens = processor(text=text, return_tensors="pt")["input_ids"]
    wave = model.generate_speech(tokens, speaker, vocoder=vocoder)
    write_audio(out, wave, vocoder.config.sampling_rate)
