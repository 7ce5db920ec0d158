"""Windows of an utterance, and batches of windows of several: each as it would be alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import enhancing_config, random_model, source_config, speech_mel, waveform_config

from diffwave import Vocoder
from diffwave.model import ModelConfig
from diffwave.serving.batch import Utterance, generate_windows
from diffwave.serving.windows import FIRST_FRAMES, windows

sizes = st.integers(1, 700)


@given(
    frames=sizes, reach=st.integers(0, 90), most=sizes, stream=st.booleans(), alike=st.booleans()
)
def test_windows_hold_every_frame_once_and_what_it_depends_on(
    frames: int, reach: int, most: int, stream: bool, alike: bool
) -> None:
    found = list(windows(frames, reach, most, stream=stream, alike=alike))
    assert [w.start for w in found] == [0, *(w.end for w in found[:-1])]
    assert found[-1].end == frames
    for w in found:
        assert 0 <= w.first <= max(0, w.start - reach) and min(frames, w.end + reach) == w.stop
        assert w.end - w.start <= most


def test_windows_of_a_stream_grow_and_alike_ones_are_of_one_length() -> None:
    kept = [w.end - w.start for w in windows(3000, 50, 1024, stream=True)]
    assert kept[:3] == [FIRST_FRAMES, 8 * FIRST_FRAMES, 1024]
    inner = list(windows(1000, 50, 100, alike=True))[1:]
    assert {w.stop - w.first for w in inner} == {200}


@pytest.mark.parametrize("config", [source_config(), enhancing_config(), waveform_config()])
def test_in_a_batch_of_strangers_every_utterance_is_as_alone(config: ModelConfig) -> None:
    vocoder = Vocoder(random_model(config), "cpu")
    model, pitch = vocoder.model, 3.0 if config.source else 0.0
    n_iter = 4 if config.space.kind == "spectral" else 0
    settings = [{"seed": 5, "transpose": pitch}, {"seed": -7}, {"seed": 5, "enhance": False}]
    mels = [speech_mel(1.0 + 0.45 * i, seed=i) for i in range(3)]
    batch = [
        Utterance(model, mel, model.sampling(None, None, n_iter), most=30, alike=True, **each)
        for mel, each in zip(mels, settings, strict=True)
    ]
    waves: list[list[torch.Tensor]] = [[], [], []]
    together = 0
    while waiting := [u for u in batch if u.window is not None]:
        same = [u for u in waiting if u.shape == waiting[0].shape]
        together = max(together, len(same))
        for utterance, wave in zip(same, generate_windows(model, same), strict=True):
            waves[batch.index(utterance)].append(wave)
    assert together == 3 and len({len(pieces) for pieces in waves}) == 3
    for mel, each, pieces in zip(mels, settings, waves, strict=True):
        alone = vocoder(mel, n_iter=n_iter, **each)
        wave = torch.cat(pieces)
        assert wave.shape == alone.shape
        assert (wave - alone).abs().max() <= 1e-5 * alone.abs().max()
