"""A voice of ours behind a `Synthesizer` of Coqui TTS.

    api = TTS("tts_models/en/ljspeech/glow-tts")
    use_voice(api.synthesizer, Vocoder.from_pretrained(VOICE))
    wave = api.tts("Any text.")

VOICE is a checkpoint trained with `mel: coqui`, or with the changes to it that the model's
`config.json` asks for under `audio`: rate, FFT, hop, mel_fmin, mel_fmax, ref_level_db, max_norm.
"""

from typing import Any

from torch import Tensor, nn

from diffwave import Vocoder
from diffwave.errors import InputError


class CoquiVocoder(nn.Module):
    """Called as Coqui's vocoders are: inference([B, n_mels, T]) -> [B, 1, samples]."""

    def __init__(self, vocoder: Vocoder, **options: object) -> None:
        """`options` are those of a call of the vocoder, such as steps and seed."""
        super().__init__()
        self.vocoder, self.options, self.model = vocoder, options, vocoder.model

    def inference(self, mel: Tensor) -> Tensor:
        return self.vocoder(mel.detach(), **self.options)[:, None].to(mel.device)


def use_voice(synthesizer: Any, vocoder: Vocoder, **options: object) -> None:
    """Let a `TTS.utils.synthesizer.Synthesizer` speak with a vocoder.

    What its text-to-speech model predicts is passed on as it is: the synthesizer undoes the
    normalisation of the one and applies that of the other, which are the same here.

    Raises:
        InputError: for a model of another rate.
    """
    audio = synthesizer.tts_model.ap
    if audio.sample_rate != vocoder.sample_rate:
        raise InputError(
            f"The model speaks at {audio.sample_rate} Hz, the voice at {vocoder.sample_rate} Hz."
        )
    synthesizer.vocoder_model = CoquiVocoder(vocoder, **options)
    synthesizer.vocoder_ap = audio
    synthesizer.vocoder_config = {"audio": {"sample_rate": vocoder.sample_rate}}
    synthesizer.output_sample_rate = vocoder.sample_rate
