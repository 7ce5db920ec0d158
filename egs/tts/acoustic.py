"""The acoustic model: transformers' FastSpeech2Conformer, called with or without durations.

The library's own `forward` takes durations in training only, and predicts them otherwise. Predicted
mels that agree with a recording need the recording's durations at inference too, so the same
modules are called here one after another. A checkpoint is a folder of network.json (the library's),
tts.json (ours: symbols, speakers, statistics) and model.safetensors.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diffwave.base.errors import InputError

MEL_MEAN, MEL_STD = -5.0, 2.2
"""About those of ln mels of speech; the network's outputs are normalised by them."""
BEYOND = (12, 16)
"""Padding, symbols and frames, behind even the longest of a batch. The library's convolutions see
beyond the end of an utterance; with so much it is the same there in a batch and alone."""


@dataclass
class Voices:
    """What the numbers of a model mean."""

    symbols: list[str]
    speakers: list[str]
    statistics: dict[str, dict[str, list[float]]]
    """Of each speaker, mean and standard deviation of "pitch" (ln Hz) and "energy"."""
    mel: str = "hifigan"


@dataclass
class Prediction:
    """What the model makes of a batch of texts. N phonemes, T frames."""

    mel: Tensor
    """[B, n_mels, T], in ln amplitude."""
    coarse: Tensor
    """[B, n_mels, T], before the last convolutions."""
    frames: Tensor
    """[B] lengths."""
    log_durations: Tensor
    """[B, N], ln(1 + frames)."""
    pitch: Tensor
    """[B, N], in standard deviations of the speaker."""
    energy: Tensor
    """[B, N], likewise."""
    durations: Tensor
    """[B, N] in frames, those that were used."""


def build(symbols: int, speakers: int, **settings: Any) -> Any:
    """A model with random weights, of 7.5 million parameters unless `settings` say otherwise."""
    FastSpeech2ConformerConfig, FastSpeech2ConformerModel = _library()
    values: dict[str, Any] = {
        "hidden_size": 192,
        "encoder_layers": 3,
        "decoder_layers": 4,
        "encoder_linear_units": 256,
        "decoder_linear_units": 256,
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
        "decoder_kernel_size": 15,
        "speech_decoder_postnet_units": 192,
        "pitch_predictor_layers": 3,
        "pitch_predictor_channels": 192,
        "energy_predictor_channels": 192,
        "duration_predictor_layers": 3,
        "duration_predictor_channels": 192,
        "pitch_predictor_dropout": 0.4,
        "energy_predictor_dropout": 0.4,
        "duration_predictor_dropout_rate": 0.3,
        "decoder_dropout_rate": 0.1,
        "decoder_positional_dropout_rate": 0.1,
        "decoder_attention_dropout_rate": 0.1,
        "speech_decoder_postnet_dropout": 0.3,
    }
    values |= settings
    config = FastSpeech2ConformerConfig(
        vocab_size=symbols, num_mel_bins=80, num_speakers=max(2, speakers), **values
    )
    model: Any = FastSpeech2ConformerModel(config)
    with torch.no_grad():
        # The last convolutions begin as the identity, and durations as about 80 ms.
        model.speech_decoder_postnet.layers[-1].batch_norm.weight.zero_()
        model.duration_predictor.linear.bias.fill_(2.0)
    return model


def predict(
    model: Any,
    tokens: Tensor,
    counts: Tensor,
    speakers: Tensor,
    durations: Tensor | None = None,
    pitch: Tensor | None = None,
    energy: Tensor | None = None,
    frames: int | None = None,
    rate: float = 1.0,
    beyond: tuple[int, int] = BEYOND,
) -> Prediction:
    """Mels of a batch, in training or evaluation mode.

    Args:
        model: a FastSpeech2ConformerModel.
        tokens: [B, N] numbers of symbols, padded with 0.
        counts: [B] numbers of symbols.
        speakers: [B] numbers of speakers.
        durations: [B, N] frames, 0 where padded; predicted by default.
        pitch, energy: [B, N], normalised; predicted by default.
        frames: the longest sum of `durations`, if known; asking a GPU for it takes time.
        rate: speaking rate, by which the predicted durations are divided.
        beyond: padding behind the longest, in symbols and frames.
    """
    most = tokens.shape[1]
    tokens = F.pad(tokens, (0, beyond[0]))
    present = torch.arange(tokens.shape[1], device=tokens.device)[None] < counts[:, None]
    # The library's masks are 1 for what is there, [B, 1, N].
    hidden = model.encoder(tokens, present[:, None].int(), return_dict=True)[0]
    hidden = hidden + model.speaker_id_embedding(speakers)[:, None]
    stops = model.stop_gradient_from_pitch_predictor, model.stop_gradient_from_energy_predictor
    of_pitch, of_energy = (hidden.detach() if stop else hidden for stop in stops)
    predicted_pitch = model.pitch_predictor(of_pitch, ~present[..., None]).float()
    predicted_energy = model.energy_predictor(of_energy, ~present[..., None]).float()
    log_durations = _log_durations(model.duration_predictor, hidden).masked_fill(~present, 0)
    if durations is None:
        durations = whole_frames(log_durations.exp() - 1, present, rate)
    else:
        durations = F.pad(durations, (0, beyond[0]))
    used_pitch = predicted_pitch if pitch is None else F.pad(pitch, (0, beyond[0]))[..., None]
    used_energy = predicted_energy if energy is None else F.pad(energy, (0, beyond[0]))[..., None]
    hidden = hidden + model.pitch_embed(used_pitch) + model.energy_embed(used_energy)
    ends = durations.cumsum(1)
    lengths = ends[:, -1]
    total = int(lengths.max()) if frames is None else frames
    places = torch.arange(total + beyond[1], device=tokens.device)[None]
    places = places.expand(len(tokens), -1).contiguous()
    spoken = places < lengths[:, None]
    index = torch.searchsorted(ends, places, right=True).clamp(max=tokens.shape[1] - 1)
    spread = hidden.float().gather(1, index[..., None].expand(-1, -1, hidden.shape[-1]))
    spread = spread * spoken[..., None]
    decoded = model.decoder(spread, spoken[:, None].int(), return_dict=True)[0]
    coarse, fine = model.speech_decoder_postnet(decoded * spoken[..., None])
    return Prediction(
        mel=fine[:, :total].float().transpose(1, 2) * MEL_STD + MEL_MEAN,
        coarse=coarse[:, :total].float().transpose(1, 2) * MEL_STD + MEL_MEAN,
        frames=lengths,
        log_durations=log_durations[:, :most],
        pitch=predicted_pitch[:, :most, 0],
        energy=predicted_energy[:, :most, 0],
        durations=durations[:, :most],
    )


def _log_durations(predictor: Any, hidden: Tensor) -> Tensor:
    """ln(1 + frames) [B, N]; the predictor itself rounds them in evaluation mode."""
    hidden = hidden.transpose(1, 2)
    for layer in predictor.conv_layers:
        hidden = layer(hidden)
    logs: Tensor = predictor.linear(hidden.transpose(1, 2)).squeeze(-1).float()
    return logs


def whole_frames(durations: Tensor, present: Tensor, rate: float = 1.0) -> Tensor:
    """Durations [B, N] in whole frames whose sums stay within half a frame of the exact ones.

    At least one frame for the first symbol, so that nothing is empty.
    """
    exact = (durations.clamp(0, 200) * present / rate).double()
    whole = exact.cumsum(1).round().diff(dim=1, prepend=exact.new_zeros(len(exact), 1)).long()
    whole[:, 0] = whole[:, 0].clamp(min=1)
    return whole


def save(folder: Path, model: Any, voices: Voices, state: dict[str, Tensor] | None = None) -> None:
    """Write a checkpoint in half precision into an existing folder."""
    from safetensors.torch import save as serialise

    state = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in (model.state_dict() if state is None else state).items()
    }
    # Not save_file, which makes a file that only its owner may read.
    (folder / "model.safetensors").write_bytes(serialise(state))
    (folder / "network.json").write_text(model.config.to_json_string(use_diff=False))
    text = json.dumps(asdict(voices), ensure_ascii=False, indent=1)
    (folder / "tts.json").write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[Any, Voices]:
    """A model in evaluation mode on the CPU, and its voices.

    Raises `InputError` when the folder is no such checkpoint or a package is missing.
    """
    FastSpeech2ConformerConfig, FastSpeech2ConformerModel = _library()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        voices = Voices(**json.loads((folder / "tts.json").read_text(encoding="utf-8")))
        values = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        model = FastSpeech2ConformerModel(FastSpeech2ConformerConfig(**values))
        state = load_file(folder / "model.safetensors")
        model.load_state_dict({name: value.to(_kind(value)) for name, value in state.items()})
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder} holds no acoustic model that can be read: {reason}.") from None
    return model.eval(), voices


def _kind(value: Tensor) -> torch.dtype:
    return torch.float32 if value.is_floating_point() else value.dtype


def _library() -> tuple[Any, Any]:
    try:
        from transformers import FastSpeech2ConformerConfig, FastSpeech2ConformerModel
    except ImportError as error:
        raise InputError(
            f"The acoustic model needs transformers ({error}); pip install -e '.[tts]' in the "
            "project's folder."
        ) from None
    return FastSpeech2ConformerConfig, FastSpeech2ConformerModel
