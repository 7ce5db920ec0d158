from __future__ import annotations

import copy
import dataclasses
import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    FAST,
    HOP,
    random_model,
    restoring_config,
    spectral_config,
    speech_mel,
    waveform_config,
)

from diffwave.chain import schedule
from diffwave.chain.gaussian import q_sample, v_of, x0_from_eps, x0_from_v
from diffwave.chain.samplers import ancestral, ddim
from diffwave.errors import InputError
from diffwave.mel import preset
from diffwave.model import DiffusionConfig, DiffusionModel, ModelConfig, SamplingConfig
from diffwave.networks.diffwave import WaveformNetConfig
from diffwave.networks.enhancer import MelRestorerConfig
from diffwave.networks.spectral import SpectralNetConfig
from diffwave.spaces.spectral import EnergyPrior, SpectralConfig

CONFIGS = {
    "spectral": spectral_config(),
    "waveform": waveform_config(),
    "restoring": restoring_config(),
    "unconditional": dataclasses.replace(
        waveform_config(), network=WaveformNetConfig(8, 3, 3, n_mels=0)
    ),
    "with a prior": dataclasses.replace(waveform_config(), prior=EnergyPrior(0.1, 0.5)),
    "every setting": ModelConfig(
        mel=dataclasses.replace(
            preset("lmnt"), name="mine", mean=tuple(range(80)), scale=(2.0,) * 80
        ),
        network=SpectralNetConfig(80, 320, 8, 3, (1, 3, 9), 1, 0, 12, -4.5, 2.0),
        space=SpectralConfig(640, 256, 512, 80, 1e-3, 6.0),
        diffusion=DiffusionConfig("v", "ddpm", True),
        sampling=SamplingConfig(8, "dpm-solver++", {"2": [1.0, 0.5], "1": [0.9]}),
        restorer=MelRestorerConfig(80, 24, 2, (1, 3), -4.5, 2.0),
    ),
}


def as_json(config: ModelConfig) -> Any:
    return json.loads(json.dumps(config.to_dict(), allow_nan=False))


def paths(data: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a nested mapping, with those that lead to it."""
    found = [(*before, key) for key in data]
    for key, value in data.items():
        if isinstance(value, dict):
            found += paths(value, (*before, key))
    return found


def changed(data: Any, path: tuple[str, ...], value: Any) -> Any:
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return data


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_survives_json(name: str) -> None:
    config = CONFIGS[name]
    assert ModelConfig.from_dict(as_json(config)) == config
    assert as_json(ModelConfig.from_dict(as_json(config))) == as_json(config)


def test_only_what_has_no_default_must_be_given() -> None:
    given_ = {"mel": preset("hifigan").to_dict(), "network": {"kind": "waveform"}}
    config = ModelConfig.from_dict(given_)
    assert config == ModelConfig(preset("hifigan"), WaveformNetConfig())
    assert config.sampling == SamplingConfig()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("nonsense",), 1, "nonsense"),
        (("network", "nonsense"), 1, "nonsense"),
        (("space", "nonsense"), 1, "nonsense"),
        (("mel", "nonsense"), 1, "nonsense"),
        (("diffusion", "nonsense"), 1, "nonsense"),
        (("sampling", "nonsense"), 1, "nonsense"),
        (("network",), {}, "kind"),
        (("network",), None, "network"),
        (("network",), ["spectral"], "network"),
        (("network", "kind"), "transformer", "transformer"),
        (("network", "kind"), ["spectral"], "kind"),
        (("network", "channels"), "16", "channels"),
        (("network", "channels"), 16.5, "channels"),
        (("network", "layers"), None, "layers"),
        (("network", "layers"), 0, "at least 1"),
        (("network", "dilations"), ["a"], "dilations"),
        (("network", "dilations"), 3, "not iterable"),
        (("network", "dilations"), [], "Dilations"),
        (("space", "n_fft"), "1024", "n_fft"),
        (("space",), [1], "space"),
        (("mel",), None, "name"),
        (("mel",), 5, "mapping"),
        (("mel", "hop_length"), "256", "hop_length"),
        (("diffusion", "prediction"), "x0", "x0"),
        (("diffusion", "schedule"), "quadratic", "quadratic"),
        (("diffusion", "zero_terminal_snr"), 1, "zero_terminal_snr"),
        (("diffusion", "zero_terminal_snr"), True, "pure noise"),
        (("sampling", "steps"), 0, "steps"),
        (("sampling", "sampler"), "euler", "euler"),
        (("sampling", "angles"), {"2": [1.0]}, "angles for 2 steps"),
        (("sampling", "angles"), {"2": [0.5, 1.0]}, "angles for 2 steps"),
        (("sampling", "angles"), {"2": [1.5, 1.0]}, "angles for 2 steps"),
        (("sampling", "angles"), {"2": [1.0, 0.0]}, "angles for 2 steps"),
        (("sampling", "angles"), {"0": []}, "angles for 0 steps"),
        (("sampling", "angles"), {"two": [1.0, 0.5]}, "angles for two steps"),
        (("sampling", "angles"), {"1": ["x"]}, "angles"),
        (("restorer", "nonsense"), 1, "nonsense"),
        (("restorer",), [1], "restorer"),
        (("restorer", "channels"), "8", "channels"),
        (("restorer", "channels"), 0, "at least 1"),
        (("restorer", "dilations"), [], "dilations"),
        (("restorer", "mel_scale"), 0.0, "mel_scale"),
        (("restorer", "n_mels"), 100, "100 mel bands, the mel frontend makes 80."),
    ],
)
def test_what_is_wrong_is_named(path: tuple[str, ...], value: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        ModelConfig.from_dict(changed(as_json(CONFIGS["restoring"]), path, value))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", sorted(preset("hifigan").to_dict())[:6])
def test_a_missing_key_is_named(key: str) -> None:
    data = as_json(CONFIGS["spectral"])
    del data["mel"][key]
    if key == "magnitude_eps" or key == "gain":
        assert ModelConfig.from_dict(data)
    else:
        with pytest.raises(InputError, match=key):
            ModelConfig.from_dict(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.sampled_from(["", "v", "ddim"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["1", "2", "kind", "mel"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(["restoring", "waveform"]), value=JSON)
def test_a_damaged_configuration_is_never_another_error(
    data: st.DataObject, name: str, value: Any
) -> None:
    whole = as_json(CONFIGS[name])
    path = data.draw(st.sampled_from(paths(whole)))
    try:
        config = ModelConfig.from_dict(changed(whole, path, value))
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert isinstance(config, ModelConfig)


@pytest.mark.parametrize("data", [None, 5, "x", []])
def test_a_configuration_is_a_mapping(data: Any) -> None:
    with pytest.raises(InputError, match="mapping"):
        ModelConfig.from_dict(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": None}, "spectral space"),
        ({"network": WaveformNetConfig()}, "spectral space"),
        ({"network": WaveformNetConfig(hop_length=300), "space": None}, "hop_length"),
        ({"network": WaveformNetConfig(n_mels=100), "space": None}, "100 mel bands"),
        ({"network": SpectralNetConfig(n_mels=100)}, "100 mel bands"),
        ({"network": SpectralNetConfig(bins=256)}, "256 bins"),
        ({"space": SpectralConfig(hop_length=128)}, "frames"),
        ({"space": SpectralConfig(pad_left=512)}, "frames"),
        ({"space": SpectralConfig(n_mels=100)}, "frames"),
        ({"mel": preset("bigvgan-44k")}, "128"),
        ({"restorer": MelRestorerConfig(n_mels=100)}, "restorer takes 100 mel bands"),
        ({"prior": EnergyPrior()}, "for a chain on samples"),
        ({"mel": preset("coqui")}, "frames"),  # of the same sizes, but centred
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(CONFIGS["spectral"], **changes)


@pytest.mark.parametrize("schedule_name", ["angle", "diffwave-base"])
def test_noise_cannot_be_predicted_from_nothing_but_noise(schedule_name: str) -> None:
    """At alpha_bar = 0 eps is all there is, and x_0 = (x - eps) / 0."""
    with pytest.raises(InputError, match="pure noise"):
        DiffusionConfig("eps", schedule_name, schedule_name != "angle")


def test_named_levels_are_used_for_their_count_only() -> None:
    config = dataclasses.replace(
        CONFIGS["spectral"], sampling=SamplingConfig(angles={"2": [1, 0.4]})
    )
    model = DiffusionModel(config)
    expected = torch.tensor([0.0, math.cos(0.2 * math.pi) ** 2], dtype=torch.float64)
    torch.testing.assert_close(model.levels(2), expected, rtol=1e-12, atol=0)
    assert torch.equal(model.levels(3), schedule.uniform_angles(3))


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_levels_in_angles_are_uniform_and_start_at_pure_noise(steps: int) -> None:
    levels = DiffusionModel(CONFIGS["spectral"]).levels(steps)
    assert len(levels) == steps
    assert levels[0] == 0
    expected = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
    torch.testing.assert_close(schedule.angle(levels), expected)


def test_levels_of_a_discrete_chain() -> None:
    model = DiffusionModel(CONFIGS["waveform"])
    trained = schedule.alpha_bars(schedule.named_betas("diffwave-base"))
    assert torch.equal(model.levels(50), trained.flip(0))  # the whole chain, as in the paper
    fast = schedule.alpha_bars(schedule.named_betas("diffwave-base-fast"))
    torch.testing.assert_close(model.levels(6), fast.flip(0), rtol=1e-12, atol=0)
    for steps in (1, 2, 10, 49, 51):
        levels = model.levels(steps)
        assert len(levels) == steps
        torch.testing.assert_close(levels[0], trained[-1])
        schedule.align(levels, trained)  # all within what was trained
        if steps > 1:
            torch.testing.assert_close(levels[-1], trained[0])
            differences = schedule.angle(levels).diff()
            torch.testing.assert_close(differences, differences[:1].expand(steps - 1))


@pytest.mark.parametrize("steps", [0, -1])
@pytest.mark.parametrize("name", ["spectral", "waveform"])
def test_no_levels_for_no_steps(name: str, steps: int) -> None:
    with pytest.raises(InputError, match=f"not {steps}"):
        DiffusionModel(CONFIGS[name]).levels(steps)


def test_what_the_network_hears_of_the_level() -> None:
    angles = torch.tensor([1.0, 0.6, 0.01], dtype=torch.float64)
    heard = DiffusionModel(CONFIGS["spectral"]).network_time(schedule.alpha_bar_of_angle(angles))
    assert heard.dtype == torch.float32
    torch.testing.assert_close(heard, angles.float())
    model = DiffusionModel(CONFIGS["waveform"])
    steps = model.network_time(model.levels(50))
    torch.testing.assert_close(steps, torch.arange(49, -1, -1.0), rtol=0, atol=1e-4)
    fast = model.network_time(model.levels(6))  # falls, between whole steps
    assert fast.diff().max() < 0
    assert 0 <= fast[-1] < 1 < fast[1] < fast[0] < 49
    with pytest.raises(InputError, match="aligned"):
        model.network_time(torch.tensor(0.1))


def test_zero_terminal_snr_reaches_pure_noise() -> None:
    config = dataclasses.replace(
        CONFIGS["waveform"],
        diffusion=DiffusionConfig("v", "diffwave-base", True),
        sampling=SamplingConfig(),
    )
    model = random_model(config)
    assert model.levels(50)[0] == 0
    mel = speech_mel(0.3)[None]
    x = torch.randn(1, mel.shape[-1] * HOP, generator=torch.Generator().manual_seed(0))
    assert ddim(model.denoiser(mel), x, model.levels(3)).isfinite().all()


@pytest.mark.parametrize("name", ["spectral", "waveform"])
@pytest.mark.parametrize("batch", [1, 3])
def test_denoiser_is_the_network_turned_into_x_0(name: str, batch: int) -> None:
    model = random_model(CONFIGS[name])
    mel = torch.stack([speech_mel(0.4, seed=seed) for seed in range(batch)])
    generator = torch.Generator().manual_seed(1)
    frames = mel.shape[-1]
    shape = (batch, frames, 2, 512) if name == "spectral" else (batch, frames * HOP)
    x = torch.randn(shape, generator=generator)
    alpha_bar = torch.tensor(0.5, dtype=torch.float64)
    time = model.network_time(alpha_bar).expand(batch)
    prediction = model.network(x, time, mel)
    turned = x0_from_v if name == "spectral" else x0_from_eps
    torch.testing.assert_close(model.denoiser(mel)(x, alpha_bar), turned(x, prediction, alpha_bar))


@pytest.mark.parametrize("name", ["spectral", "waveform"])
def test_a_perfect_prediction_gives_the_clean_state(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`target` and `denoiser` belong together: what training asks for is what sampling assumes."""
    model = DiffusionModel(CONFIGS[name])
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 1, 5, generator=generator)
    for alpha_bar in model.levels(6)[1:]:
        target = model.target(x_0, eps, alpha_bar)
        monkeypatch.setattr(model.network, "forward", lambda *_, target=target, **__: target)
        estimate = model.denoiser(speech_mel(0.1)[None])(q_sample(x_0, alpha_bar, eps), alpha_bar)
        torch.testing.assert_close(estimate, x_0, rtol=1e-3, atol=1e-4)


def test_target_is_v_or_eps() -> None:
    x_0, eps = torch.tensor([2.0]), torch.tensor([3.0])
    alpha_bar = torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(DiffusionModel(CONFIGS["waveform"]).target(x_0, eps, alpha_bar), eps)
    v = DiffusionModel(CONFIGS["spectral"]).target(x_0, eps, alpha_bar)
    assert torch.equal(v, v_of(x_0, eps, alpha_bar))


def test_diffwave_with_its_fast_schedule_is_the_papers_algorithm() -> None:
    """The chain written out with betas, as algorithm 2 and appendix B have it."""
    model = random_model(waveform_config())
    mel = speech_mel(0.4)[None]
    noise = torch.randn(6, 1, mel.shape[-1] * HOP, generator=torch.Generator().manual_seed(0))
    ours = ancestral(model.denoiser(mel), noise[0], model.levels(6), noise=lambda i: noise[i + 1])

    betas = [1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5]
    trained = schedule.alpha_bars(schedule.named_betas("diffwave-base"))
    bars = [math.prod(1 - beta for beta in betas[: t + 1]) for t in range(6)]
    x = noise[0]
    for t in range(5, -1, -1):
        beta, bar = betas[t], bars[t]
        step = schedule.align(torch.tensor([bar], dtype=torch.float64), trained).float()
        eps = model.network(x, step, mel)
        x = (x - beta / math.sqrt(1 - bar) * eps) / math.sqrt(1 - beta)
        if t > 0:
            sigma = math.sqrt((1 - bars[t - 1]) / (1 - bar) * beta)
            x = x + sigma * noise[6 - t]
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)
    assert FAST[0] == pytest.approx(2 / math.pi * math.acos(math.sqrt(bars[-1])))


def test_an_unconditional_network_takes_no_mel() -> None:
    model = random_model(CONFIGS["unconditional"])
    x = torch.randn(2, 3 * HOP, generator=torch.Generator().manual_seed(0))
    wave = ancestral(model.denoiser(None), x, model.levels(6))
    assert wave.shape == x.shape
    assert torch.equal(
        model.denoiser(speech_mel(0.1)[None])(x, model.levels(6)[0]),
        model.denoiser(None)(x, model.levels(6)[0]),
    )


def test_a_configuration_from_before_there_were_priors_has_none() -> None:
    data = as_json(CONFIGS["waveform"])
    del data["prior"]
    assert ModelConfig.from_dict(data) == CONFIGS["waveform"]


def test_a_configuration_from_before_there_were_restorers_has_none() -> None:
    data = as_json(CONFIGS["spectral"])
    del data["restorer"]
    assert ModelConfig.from_dict(data) == CONFIGS["spectral"]
    model = random_model(ModelConfig.from_dict(data))
    mel = speech_mel(0.3)[None]
    assert model.restored(mel) is mel
    assert model.learners() == [model.network]


def test_a_restorer_is_learned_after_the_network() -> None:
    model = random_model(CONFIGS["restoring"])
    assert model.restorer is not None
    assert model.learners() == [model.network, model.restorer]
    expected = [*model.network.parameters(), *model.restorer.parameters()]
    assert [id(p) for p in model.learned()] == [id(p) for p in expected]
    mel = speech_mel(0.3)[None]
    assert torch.equal(model.restored(mel), model.restorer(mel))
    assert not torch.equal(model.restored(mel), mel)


def test_a_prior_reads_the_mels_of_the_model() -> None:
    model = random_model(CONFIGS["with a prior"])
    mel = speech_mel(0.5)[None]
    state = torch.ones(1, mel.shape[-1] * HOP)
    sigma = model.decode(state, mel)
    assert 0.1 <= float(sigma.min()) < float(sigma.max()) <= 1
    assert "prior" not in "".join(model.state_dict())  # no weights, and none of the frontend
    assert model.state_dict().keys() == random_model(CONFIGS["waveform"]).state_dict().keys()
