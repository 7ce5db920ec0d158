"""Text to speech (egs/tts): phonemes, the acoustic model, and the command as its user starts it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
EGS = ROOT / "egs" / "tts"
sys.path.insert(0, str(EGS))
pytest.importorskip("transformers")
acoustic = pytest.importorskip("acoustic")
phonemes = pytest.importorskip("phonemes")
speak = pytest.importorskip("speak")

SMALL = {
    "hidden_size": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_linear_units": 16,
    "decoder_linear_units": 16,
    "speech_decoder_postnet_layers": 2,
    "speech_decoder_postnet_units": 8,
    "pitch_predictor_channels": 8,
    "energy_predictor_channels": 8,
    "duration_predictor_channels": 8,
}
SYMBOLS = [*phonemes.SPECIAL, "h", "ə", "l", "ˈoʊ", "w", "ˈɜː", "d", "θ", "ɪ", "s", "z", "t", "ɛ"]


def model_of(seed: int = 0) -> object:
    torch.manual_seed(seed)
    model = acoustic.build(len(SYMBOLS), 2, **SMALL).eval()
    for layer in model.speech_decoder_postnet.layers:  # it begins as the identity
        torch.nn.init.normal_(layer.batch_norm.weight)
    return model


def voices() -> object:
    one = {"pitch": [5.3, 0.2], "energy": [-5.0, 1.0]}
    return acoustic.Voices(SYMBOLS, ["a", "b"], {"a": one, "b": one})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("acoustic")
    acoustic.save(folder, model_of(), voices())
    return folder


def texts(*counts: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    tokens = torch.zeros(len(counts), max(counts), dtype=torch.long)
    for row, count in enumerate(counts):
        tokens[row, :count] = torch.randint(8, len(SYMBOLS), (count,))
    return tokens, torch.tensor(counts)


def test_the_same_mel_as_the_library_predicts() -> None:
    model = model_of()
    model.duration_predictor.linear.bias.data.fill_(1.5)
    tokens, counts = texts(11)
    with torch.inference_mode():
        theirs = model(tokens, speaker_ids=torch.tensor([[1]]), return_dict=True)
        ours = acoustic.predict(
            model, tokens, counts, torch.tensor([1]), theirs.duration_outputs, beyond=(0, 0)
        )
    assert int(theirs.duration_outputs.sum()) > 20
    torch.testing.assert_close(
        ours.mel.transpose(1, 2), theirs.spectrogram * acoustic.MEL_STD + acoustic.MEL_MEAN
    )
    torch.testing.assert_close(ours.pitch, theirs.pitch_outputs[..., 0])


def test_padding_changes_nothing() -> None:
    model = model_of()
    tokens, counts = texts(11, 4)
    durations = torch.tensor([[2] * 11, [3, 0, 4, 1] + [0] * 7])
    pitch, energy = torch.randn(2, 11), torch.randn(2, 11)
    with torch.inference_mode():
        both = acoustic.predict(
            model, tokens, counts, torch.tensor([0, 1]), durations, pitch, energy
        )
        one = acoustic.predict(
            model, tokens[1:, :4], counts[1:], torch.tensor([1]), durations[1:, :4],
            pitch[1:, :4], energy[1:, :4],
        )  # fmt: skip
    assert both.frames.tolist() == [22, 8]
    for name in ("coarse", "mel"):
        padded, alone = getattr(both, name)[1, :, :8], getattr(one, name)[0]
        torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        both.log_durations[1, :4], one.log_durations[0], atol=1e-5, rtol=1e-5
    )


def test_durations_keep_their_sum() -> None:
    exact = torch.full((1, 40), 2.4)
    whole = acoustic.whole_frames(exact, torch.ones(1, 40, dtype=torch.bool))
    assert int(whole.sum()) == 96 and set(whole[0].tolist()) == {2, 3}
    slow = acoustic.whole_frames(exact, torch.ones(1, 40, dtype=torch.bool), rate=0.5)
    assert int(slow.sum()) == 192
    silent = acoustic.whole_frames(exact * 0, torch.ones(1, 40, dtype=torch.bool))
    assert int(silent.sum()) == 1
