"""A voice of ours behind Matcha-TTS.

    output = matcha.synthesise(x, x_lengths, n_timesteps=10)
    wave = to_waveform(output["mel"], MatchaVocoder(Vocoder.from_pretrained()))  # of matcha.cli

The bundled voice fits: `output["mel"]` is of the `hifigan` convention, not normalised any more.
Matcha's denoiser removes a hum of HiFi-GAN's and is not needed.
"""

from torch import Tensor, nn

from diffwave import Vocoder


class MatchaVocoder(nn.Module):
    """Called as HiFi-GAN's `Generator` is: [B, n_mels, T] -> [B, 1, samples]."""

    def __init__(self, vocoder: Vocoder, **options: object) -> None:
        """`options` are those of a call of the vocoder, such as steps and seed."""
        super().__init__()
        self.vocoder, self.options, self.model = vocoder, options, vocoder.model

    def forward(self, mel: Tensor) -> Tensor:
        return self.vocoder(mel.detach(), **self.options)[:, None].to(mel.device)
