"""Weights of one mel for a model of another: what is taken, what moves, and what is refused."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from signals import speech_like
from small_run import Configure, learner_of
from tiny import enhancing_config, random_model, source_config, waveform_config
from torch import Tensor

from diffwave import Vocoder
from diffwave.base.audio import resample
from diffwave.base.errors import InputError
from diffwave.checkpoint import save_checkpoint
from diffwave.mel import MelSpectrogram, preset
from diffwave.mel.config import MelConfig
from diffwave.mel.normalise import NormaliseConfig, frame_triples
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.networks import MelEnhancerConfig, SpectralNetConfig
from diffwave.networks.source import f0_of_classes
from diffwave.spaces import SpectralConfig
from diffwave.train.warm_start import speed, warm_start


def whole_config(mel: MelConfig, bands: tuple[float, ...]) -> ModelConfig:
    """Every part of a voice, for a mel."""
    return dataclasses.replace(
        source_config(),
        mel=mel,
        space=SpectralConfig(source_bands=bands),
        normalise=NormaliseConfig().of(mel),
        enhancer=MelEnhancerConfig(channels=8, layers=1),
    )


def base_model() -> DiffusionModel:
    bands = (0.0, 1000.0, 2000.0, 4000.0, 11025.0)
    return random_model(whole_config(preset("hifigan"), bands), seed=1)


def started(mel: str, bands: tuple[float, ...]) -> tuple[DiffusionModel, DiffusionModel, list[str]]:
    """A model of a mel, the one that it started from, and what is random in it."""
    base = base_model()
    model = DiffusionModel(whole_config(preset(mel), bands))
    return model.eval(), base, warm_start(model, base, "it").random


def test_the_same_mel_gives_the_same_voice() -> None:
    model, base, random = started("hifigan", (0.0, 1000.0, 2000.0, 4000.0, 11025.0))
    assert random == []
    for name, tensor in base.state_dict().items():
        if not name.startswith("space."):
            torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)


def test_speed() -> None:
    assert speed(preset("hifigan"), preset("speecht5")) == pytest.approx(22050 / 16000)
    assert speed(preset("hifigan"), preset("bigvgan-44k")) == pytest.approx(1)
    assert speed(preset("speecht5"), preset("vocos")) == pytest.approx(16000 / 24000)


BANDS = {
    "speecht5": (0.0, 1000.0, 2000.0, 4000.0, 8000.0),
    "vocos": (0.0, 1000.0, 2000.0, 4000.0, 12000.0),
    "bigvgan-44k": (0.0, 1000.0, 2000.0, 4000.0, 22050.0),
}


@pytest.mark.parametrize("mel", BANDS)
@torch.no_grad()
def test_a_mel_means_to_the_network_what_the_same_samples_meant(mel: str) -> None:
    """The samples of a wave, at either rate: mels differ, what the layers make of them hardly."""
    model, base, _ = started(mel, BANDS[mel])
    rate = model.config.mel.sample_rate
    wave = torch.from_numpy(speech_like(1.5, rate))
    there = wave
    if model.config.mel.n_fft != base.config.mel.n_fft:  # 44.1 kHz: bins are of the same width
        there = resample(wave, rate, base.config.mel.sample_rate)
    frames = 40  # both begin at the same sample, or half a hop apart
    seen = []
    for each, samples in ((base, there), (model, wave)):
        mel_of = MelSpectrogram(dataclasses.replace(each.config.mel, centered=False))
        seen.append(each.config.normalise(mel_of(samples)[None, :, :frames]))
    for name in ("denoiser.network.mel", "enhancer.input", "source.input"):
        outputs: list[Tensor] = []
        for each, x in zip((base, model), seen, strict=True):
            layer = each.get_submodule(name)
            outputs.append(layer(frame_triples(x)).flatten())
        plain = DiffusionModel(model.config).get_submodule(name)(frame_triples(seen[1])).flatten()
        error, chance = (float((x - outputs[0]).square().mean()) for x in (outputs[1], plain))
        assert error < 0.1 * float(outputs[0].var()) < chance, name


def test_bins_stay_and_new_ones_are_not_read() -> None:
    model, base, random = started("bigvgan-44k", BANDS["bigvgan-44k"])
    assert random == []
    old, new = base.network, model.network
    assert (old.config.bins, new.config.bins) == (512, 1024)
    reads = new.input.weight.unflatten(1, (8, 1024))
    assert torch.equal(reads[..., :512], old.input.weight.unflatten(1, (8, 512)))
    assert not reads[..., 512:].any()
    taps = new.filter.weight.unflatten(0, (-1, 1024))
    assert torch.equal(taps[:, :512], old.filter.weight.unflatten(0, (-1, 512)))
    assert torch.equal(taps[:, 512:], taps[:, 511:512].expand(-1, 512, -1))
    small = DiffusionModel(
        whole_config(dataclasses.replace(preset("speecht5"), n_fft=512, win_length=512), (0, 8000))
    )
    warm_start(small, base, "it")
    assert torch.equal(
        small.network.input.weight.unflatten(1, (8, 256)),
        old.input.weight.unflatten(1, (8, 512))[..., :256],
    )


@torch.no_grad()
def test_the_pitch_is_that_of_the_new_rate() -> None:
    """A base that says 200 Hz of anything says 200 / speed of the samples at the other rate."""
    base = base_model()
    assert base.source is not None
    at = round(1200 / 20 * float(torch.tensor(200 / 50).log2()))
    base.source.output.weight.zero_()
    base.source.output.bias[:216] = -0.5 * (torch.arange(216) - at) ** 2 / 4
    base.source.output.bias[217:] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    model = DiffusionModel(whole_config(preset("speecht5"), (0, 500, 1000, 2000, 8000)))
    warm_start(model, base, "it")
    f0, _, share = model.source_predictor()(torch.zeros(1, 80, 3))
    assert float(f0_of_classes(f0)[0, 0]) == pytest.approx(200 * 16000 / 22050, rel=0.01)
    # 250, 750, 1500 and 5000 Hz are 345, 1034, 2067 and 6891 there.
    assert share[0, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_an_enhancers_change_is_in_the_units_of_the_new_mel() -> None:
    base = base_model()
    assert base.enhancer is not None
    with torch.no_grad():
        base.enhancer.output.weight.zero_()
        base.enhancer.output.bias[:-1] = 0.4  # of a deviation: 1 neper, in every band
    model = DiffusionModel(whole_config(preset("speecht5"), (0, 8000)))
    warm_start(model, base, "it")
    assert model.enhancer is not None
    mel = torch.full((1, 80, 4), -2.0)
    change = (model.enhance(mel) - mel) / torch.sigmoid(torch.tensor(4.0))
    torch.testing.assert_close(change, torch.full_like(mel, 1 / torch.tensor(10.0).log().item()))


def test_parts_of_another_size_start_at_random() -> None:
    base = base_model()
    config = whole_config(preset("speecht5"), BANDS["speecht5"])
    model = DiffusionModel(dataclasses.replace(config, enhancer=MelEnhancerConfig(12, layers=1)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = warm_start(model, base, "it")
    assert found.random == ["enhancer"] and "at random start: enhancer" in str(found)
    after = model.state_dict()
    assert all(torch.equal(after[n], before[n]) for n in after if n.startswith("enhancer."))
    assert all(torch.equal(after[n], before[n]) for n in after if n.startswith("space."))
    assert {*found.taken, *found.moved} == {
        n for n in after if n.startswith(("denoiser.network.", "source."))
    }
    assert found.moved and "speed 1.38" in str(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": SpectralNetConfig(channels=24, layers=2, level_width=16)},
         r"it has network.channels = 16, but these settings mean 24"),
        ({"space": SpectralConfig(), "source": None}, "it has a source, but these .* no source"),
    ],
)  # fmt: skip
def test_other_networks_are_refused(change: dict[str, object], words: str) -> None:
    base = base_model()
    config = whole_config(preset("speecht5"), BANDS["speecht5"])
    model = DiffusionModel(dataclasses.replace(config, **change))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=words):
        warm_start(model, base, "it")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_networks_on_samples_are_refused() -> None:
    model = DiffusionModel(whole_config(preset("speecht5"), BANDS["speecht5"]))
    with pytest.raises(InputError, match="it has a waveform one"):
        warm_start(model, random_model(waveform_config()), "it")


# --- as a run starts -------------------------------------------------------------------------


def test_a_run_starts_from_a_voice_of_another_mel(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    save_checkpoint(random_model(enhancing_config()), tmp_path / "given", half=False)
    learner = learner_of(configure(run__warm_start=tmp_path / "given", mel="speecht5"))
    model = learner.trained.average
    assert f"from {tmp_path / 'given'}: " in caplog.text and "at random start: none" in caplog.text
    given = random_model(enhancing_config()).state_dict()
    inside = [name for name in given if ".blocks." in name]
    assert inside and all(torch.equal(model.state_dict()[name], given[name]) for name in inside)
    assert model.space.state_dict()["envelope_weight"].any()  # of the data
    assert not torch.equal(
        model.space.state_dict()["envelope_weight"], given["space.envelope_weight"]
    )
    save_checkpoint(model, tmp_path / "voice")
    voice = Vocoder.from_pretrained(tmp_path / "voice", "cpu")
    assert voice.sample_rate == 16000


def test_a_source_is_kept_with_the_bands_of_the_settings(
    configure: Configure, tmp_path: Path
) -> None:
    save_checkpoint(base_model(), tmp_path / "given")
    changes = {"mel": "speecht5", "source_bands": "[0, 1000, 3000, 11025]"}
    learner = learner_of(configure(run__warm_start=tmp_path / "given", **changes))
    config = learner.trained.model.config
    assert config.space.source_bands == (0, 1000, 3000, 8000)
    assert config.source is not None and config.source.channels == 8


def test_run_init_comes_first_and_a_wrong_name_is_told(
    configure: Configure, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    learner = learner_of(configure(run__init=tiny_checkpoint, run__warm_start="nowhere"))
    assert learner.trained.model.config.mel.name == "hifigan"
    with pytest.raises(InputError, match="no checkpoint 'nowhere'"):
        learner_of(configure(run__warm_start="nowhere"))
    with pytest.raises(InputError, match=r"has network.channels = 16, but .* mean 24"):
        learner_of(configure(run__warm_start=tiny_checkpoint, spectral__channels=24))
