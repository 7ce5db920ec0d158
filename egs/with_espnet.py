"""A voice of ours behind ESPnet2's `Text2Speech`.

    text2speech = Text2Speech.from_pretrained("kan-bayashi/ljspeech_fastspeech2")
    text2speech.vocoder = EspnetVocoder(Vocoder.from_pretrained(VOICE))
    wave = text2speech("Any text.")["wav"]

VOICE is a checkpoint trained with `mel: espnet`, whose rate, FFT, hop, fmin and fmax must be those
of the recipe (`conf/*.yaml`). `Text2Speech` gives the vocoder its mel before normalisation
(`feat_gen_denorm`), which is plain log10; leave `prefer_normalized_feats` off.
"""

from torch import Tensor, nn

from diffwave import Vocoder


class EspnetVocoder(nn.Module):
    """Called as ESPnet2's vocoder wrappers are: [T, n_mels] -> [samples]; its rate is `fs`."""

    def __init__(self, vocoder: Vocoder, **options: object) -> None:
        """`options` are those of a call of the vocoder, such as steps and seed."""
        super().__init__()
        self.vocoder, self.options, self.model = vocoder, options, vocoder.model
        self.fs = vocoder.sample_rate

    def forward(self, feats: Tensor) -> Tensor:
        return self.vocoder(feats.detach().mT, **self.options).to(feats.device)
