from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    FAST,
    HOP,
    enhancing_config,
    random_model,
    spectral_config,
    speech_mel,
    waveform_config,
)

from diffwave.chain import schedule
from diffwave.chain.gaussian import q_sample, x0_from_eps, x0_from_v
from diffwave.chain.samplers import ancestral, ddim
from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.denoiser import Condition, Denoiser, DiffusionConfig
from diffwave.errors import InputError
from diffwave.mel import preset
from diffwave.mel.normalise import NormaliseConfig
from diffwave.migrate import current_state
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.networks import MelEnhancerConfig, SpectralNetConfig, WaveformNetConfig
from diffwave.spaces import EnergyPrior, SpectralConfig, WaveformConfig

CONFIGS = {
    "spectral": spectral_config(),
    "waveform": waveform_config(),
    "enhancing": enhancing_config(),
    "unconditional": dataclasses.replace(
        waveform_config(), network=WaveformNetConfig(8, 3, 3, n_mels=0)
    ),
    "with a prior": dataclasses.replace(
        waveform_config(), space=WaveformConfig(256, EnergyPrior(0.1, 0.5))
    ),
    "every setting": ModelConfig(
        mel=dataclasses.replace(
            preset("lmnt"), name="mine", mean=tuple(range(80)), scale=(2.0,) * 80
        ),
        network=SpectralNetConfig(80, 320, 8, 3, (1, 3, 9), 1, 0, 12),
        space=SpectralConfig(640, 256, 512, 80, 1e-3, 6.0),
        diffusion=DiffusionConfig("v", "ddpm", True),
        sampling=SamplingConfig(8, "dpm-solver++", presets=(Sampling(2, "ddim", (1.0, 0.5)),)),
        normalise=NormaliseConfig(-4.5, 2.0),
        enhancer=MelEnhancerConfig(80, 24, 2, (1, 3)),
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


FIRST_FORMAT = {
    "mel": preset("hifigan").to_dict(),
    "network": {"kind": "spectral", "channels": 8, "mel_mean": -4.0, "mel_scale": 2.0},
    "space": {"floor": 1e-3},
    "sampling": {
        "steps": 2, "sampler": "ancestral", "mel_rounds": 5,
        "rounds": {"4": 9}, "angles": {"2": [1.0, 0.6]},
    },
    "prior": None,
    "restorer": {"channels": 12, "mel_mean": -4.0, "mel_scale": 2.0},
}  # fmt: skip


def test_the_first_format_is_read() -> None:
    config = ModelConfig.from_dict(FIRST_FORMAT)
    assert config.normalise == NormaliseConfig(-4.0, 2.0)
    assert config.enhancer == MelEnhancerConfig(channels=12)
    assert config.space == SpectralConfig(floor=1e-3)
    sampling = config.sampling
    assert sampling.preset() == Sampling(2, "ancestral", (1.0, 0.6), 5)
    assert sampling.preset(4) == Sampling(4, "ancestral", (), 9)
    assert sampling.preset(3, "ddim") == Sampling(3, "ddim", (), 5)
    mel, waveform = preset("hifigan").to_dict(), {"kind": "waveform", "channels": 8}
    prior = {"floor": 0.1, "peak": 0.5}
    config = ModelConfig.from_dict({"mel": mel, "network": waveform, "prior": prior})
    assert config.space == WaveformConfig(256, EnergyPrior(0.1, 0.5))
    assert config.normalise == NormaliseConfig(0, 1)
    other = FIRST_FORMAT["restorer"] | {"mel_mean": 0.0}  # type: ignore[operator]
    config = ModelConfig.from_dict(FIRST_FORMAT | {"restorer": other})
    assert config.enhancer == MelEnhancerConfig(channels=12, normalise=NormaliseConfig(0.0, 2.0))
    assert ModelConfig.from_dict(as_json(config)) == config
    for changes in ({"space": None}, {"prior": prior}, {"network": waveform}):
        with pytest.raises(InputError):
            ModelConfig.from_dict(FIRST_FORMAT | changes)


def test_weights_of_the_first_format_are_taken() -> None:
    model = random_model(enhancing_config())
    old = {}
    for name, tensor in model.state_dict().items():
        first = name.replace("denoiser.", "").replace("enhancer.", "restorer.")
        old[first.replace("space.", "representation.")] = tensor
    assert not old.keys() & model.state_dict().keys()
    assert current_state(old).keys() == model.state_dict().keys()
    other = random_model(enhancing_config(), seed=1)
    other.load_state_dict(old)
    assert all(torch.equal(a, model.state_dict()[n]) for n, a in other.state_dict().items())


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
        (("network", "layers"), 10**12, "at most"),
        (("network", "dilations"), ["a"], "dilations"),
        (("network", "dilations"), 3, "must be a list"),
        (("network", "channels"), 1 << 16, "weights"),
        (("space", "n_fft"), "1024", "n_fft"),
        (("space", "floor"), 0, "floor"),
        (("space",), [1], "space"),
        (("mel",), None, "name"),
        (("mel",), 5, "mapping"),
        (("mel", "hop_length"), "256", "hop_length"),
        (("mel", "fmax"), 0.5, "band"),
        (("mel", "fmin"), -(10**400), "fmin"),
        (("normalise", "mean"), 10**400, "mean"),
        (("normalise", "scale"), 0, "scale"),
        (("diffusion", "prediction"), "x0", "x0"),
        (("diffusion", "schedule"), "quadratic", "quadratic"),
        (("diffusion", "zero_terminal_snr"), 1, "zero_terminal_snr"),
        (("diffusion", "zero_terminal_snr"), True, "pure noise"),
        (("sampling", "default"), 0, "default"),
        (("sampling", "n_iter"), 10**9, "at most"),
        (("sampling", "solver"), "euler", "euler"),
        (("sampling", "presets"), [{"steps": 2, "levels": [1.0]}], "levels of 2 steps"),
        (("sampling", "presets"), [{"steps": 2, "levels": [0.5, 1.0]}], "falling"),
        (("sampling", "presets"), [{"steps": 1, "levels": [0.0]}], "above 0"),
        (("sampling", "presets"), [{"steps": 1, "levels": [1.5]}], "above 1"),
        (("sampling", "presets"), [{"steps": 1}, {"steps": 1}], "one for each"),
        (("enhancer",), [1], "enhancer"),
        (("enhancer", "channels"), "8", "channels"),
        (("enhancer", "layers"), 10**12, "at most"),
        (("enhancer", "n_mels"), 100, "100 mel bands, the mel frontend makes 80."),
    ],
)
def test_what_is_wrong_is_named(path: tuple[str, ...], value: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        DiffusionModel(ModelConfig.from_dict(changed(as_json(CONFIGS["enhancing"]), path, value)))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


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


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(["enhancing", "waveform"]), value=JSON)
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
        ({"space": WaveformConfig()}, "needs a spectral space"),
        ({"network": WaveformNetConfig()}, "needs a waveform space"),
        (
            {"network": WaveformNetConfig(hop_length=300), "space": WaveformConfig()},
            "The network's hop_length",
        ),
        ({"network": WaveformNetConfig(), "space": WaveformConfig(300)}, "The space's hop_length"),
        ({"network": SpectralNetConfig(n_mels=100)}, "100 mel bands"),
        ({"network": SpectralNetConfig(bins=256)}, "256 bins"),
        ({"space": SpectralConfig(hop_length=128)}, "frames"),
        ({"mel": preset("bigvgan-44k")}, "128"),
        ({"enhancer": MelEnhancerConfig(n_mels=100)}, "enhancer takes 100 mel bands"),
        ({"mel": preset("coqui")}, "frames"),  # of the same sizes, but centred
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(CONFIGS["spectral"], **changes)


def levels_of(model: DiffusionModel, steps: int) -> torch.Tensor:
    return model.denoiser.levels(model.sampling(steps))


@pytest.mark.parametrize("schedule_name", ["angle", "diffwave-base"])
def test_noise_cannot_be_predicted_from_nothing_but_noise(schedule_name: str) -> None:
    """At alpha_bar = 0 eps is all there is, and x_0 = (x - eps) / 0."""
    with pytest.raises(InputError, match="pure noise"):
        DiffusionConfig("eps", schedule_name, schedule_name != "angle")


def test_named_levels_are_used_for_their_count_only() -> None:
    config = dataclasses.replace(
        CONFIGS["spectral"], sampling=SamplingConfig(presets=(Sampling(2, "ddim", (1, 0.4)),))
    )
    model = DiffusionModel(config)
    expected = torch.tensor([0.0, math.cos(0.2 * math.pi) ** 2], dtype=torch.float64)
    torch.testing.assert_close(levels_of(model, 2), expected, rtol=1e-12, atol=0)
    assert torch.equal(levels_of(model, 3), schedule.uniform_angles(3))


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_levels_in_angles_are_uniform_and_start_at_pure_noise(steps: int) -> None:
    levels = levels_of(DiffusionModel(CONFIGS["spectral"]), steps)
    assert len(levels) == steps
    assert levels[0] == 0
    expected = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
    torch.testing.assert_close(schedule.angle(levels), expected)


def test_levels_of_a_discrete_chain() -> None:
    model = DiffusionModel(CONFIGS["waveform"])
    trained = schedule.alpha_bars(schedule.named_betas("diffwave-base"))
    assert torch.equal(levels_of(model, 50), trained.flip(0))  # the whole chain, as in the paper
    fast = schedule.alpha_bars(schedule.named_betas("diffwave-base-fast"))
    torch.testing.assert_close(levels_of(model, 6), fast.flip(0), rtol=1e-12, atol=0)
    for steps in (1, 2, 10, 49, 51):
        levels = levels_of(model, steps)
        assert len(levels) == steps
        torch.testing.assert_close(levels[0], trained[-1])
        schedule.align(levels, trained)  # all within what was trained
        if steps > 1:
            torch.testing.assert_close(levels[-1], trained[0])
            differences = schedule.angle(levels).diff()
            torch.testing.assert_close(differences, differences[:1].expand(steps - 1))


def test_a_level_as_the_network_counts_it() -> None:
    angles = torch.tensor([1.0, 0.6, 0.01], dtype=torch.float64)
    time = DiffusionModel(CONFIGS["spectral"]).denoiser.time(schedule.alpha_bar_of_angle(angles))
    assert time.dtype == torch.float32
    torch.testing.assert_close(time, angles.float())
    model = DiffusionModel(CONFIGS["waveform"])
    steps = model.denoiser.time(levels_of(model, 50))
    torch.testing.assert_close(steps, torch.arange(49, -1, -1.0), rtol=0, atol=1e-4)
    fast = model.denoiser.time(levels_of(model, 6))  # falls, between whole steps
    assert fast.diff().max() < 0
    assert 0 <= fast[-1] < 1 < fast[1] < fast[0] < 49
    with pytest.raises(InputError, match="aligned"):
        model.denoiser.time(torch.tensor(0.1))


def denoise_of(model: DiffusionModel, mel: torch.Tensor) -> Callable[..., torch.Tensor]:
    return functools.partial(model.denoiser, cond=model.denoiser.condition(mel))


def test_zero_terminal_snr_reaches_pure_noise() -> None:
    config = dataclasses.replace(
        CONFIGS["waveform"],
        diffusion=DiffusionConfig("v", "diffwave-base", True),
        sampling=SamplingConfig(),
    )
    model = random_model(config)
    assert levels_of(model, 50)[0] == 0
    mel = speech_mel(0.3)[None]
    x = torch.randn(1, mel.shape[-1] * HOP, generator=torch.Generator().manual_seed(0))
    assert ddim(denoise_of(model, mel), x, levels_of(model, 3)).isfinite().all()


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
    time = model.denoiser.time(alpha_bar).expand(batch)
    prediction = model.network(x, time, model.config.normalise(mel))
    turned = x0_from_v if name == "spectral" else x0_from_eps
    expected = turned(x, prediction, alpha_bar)
    torch.testing.assert_close(denoise_of(model, mel)(x, alpha_bar), expected)
    # Nor does it matter whether what does not depend on the level was computed before.
    unprojected = model.denoiser.condition(mel, project=False)
    found = model.denoiser(x, alpha_bar.expand(batch), unprojected)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["spectral", "waveform"])
def test_a_perfect_prediction_gives_the_clean_state_and_no_loss(name: str) -> None:
    """What training asks for is what sampling assumes."""
    model = DiffusionModel(CONFIGS[name])
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 3, 5, generator=generator)
    spectral, bars = name == "spectral", levels_of(model, 6)[1:4]

    def oracle(x: torch.Tensor, t: torch.Tensor, mel: object, prior: object) -> torch.Tensor:
        torch.testing.assert_close(t, model.denoiser.time(bars))
        return (
            (bars.sqrt()[:, None] * eps - (1 - bars).sqrt()[:, None] * x_0).float()
            if spectral
            else eps
        )

    config = model.config
    denoiser = Denoiser(model.network, config.diffusion, config.normalise, oracle)
    cond = Condition(None, None)
    estimate = denoiser(q_sample(x_0, bars[:, None], eps), bars, cond)
    torch.testing.assert_close(estimate, x_0, rtol=1e-3, atol=1e-3)
    loss = denoiser.loss(x_0, eps, bars, cond)
    torch.testing.assert_close(loss, torch.zeros(3, 5), rtol=0, atol=1e-10)
    denoiser = Denoiser(
        model.network, config.diffusion, config.normalise, lambda *a: oracle(*a) + 2
    )
    torch.testing.assert_close(denoiser.loss(x_0, eps, bars, cond), torch.full((3, 5), 4.0))


def test_the_enhancer_changes_what_its_gate_lets_through() -> None:
    model, mel = random_model(enhancing_config()), speech_mel(0.3)[None]
    enhanced, gate = model.enhance_gated(mel)
    assert gate.shape == (1, mel.shape[-1])
    assert torch.equal(model.enhance(mel), enhanced) and not torch.equal(enhanced, mel)
    assert model.enhancer is not None
    model.enhancer.output.weight[-1] = 0
    model.enhancer.output.bias[-1] = 200.0
    whole = model.enhance(mel) - mel
    model.enhancer.output.bias[-1] = 0.0
    torch.testing.assert_close(model.enhance(mel) - mel, whole / 2, rtol=1e-3, atol=1e-5)
    model.enhancer.output.bias[-1] = -200.0
    assert torch.equal(model.enhance(mel), mel)
    plain = DiffusionModel(spectral_config())
    assert plain.enhance(mel) is mel
    with pytest.raises(InputError, match="no mel enhancer"):
        plain.enhance_gated(mel)


def test_diffwave_with_its_fast_schedule_is_the_papers_algorithm() -> None:
    """The chain written out with betas, as algorithm 2 and appendix B have it."""
    model = random_model(waveform_config())
    mel = speech_mel(0.4)[None]
    noise = torch.randn(6, 1, mel.shape[-1] * HOP, generator=torch.Generator().manual_seed(0))
    ours = ancestral(
        denoise_of(model, mel), noise[0], levels_of(model, 6), noise=lambda i: noise[i + 1]
    )

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
    mels = [speech_mel(0.1, seed=seed)[None, :, :3] for seed in range(2)]
    one, other = (denoise_of(model, mel)(x, levels_of(model, 6)[0]) for mel in mels)
    assert torch.equal(one, other)


def test_an_enhancer_is_learned_after_the_network() -> None:
    model = random_model(CONFIGS["enhancing"])
    assert model.enhancer is not None
    assert model.learners() == [model.network, model.enhancer]
    expected = [*model.network.parameters(), *model.enhancer.parameters()]
    assert [id(p) for p in model.learned()] == [id(p) for p in expected]


def test_a_prior_reads_the_mels_of_the_model() -> None:
    model = random_model(CONFIGS["with a prior"])
    mel = speech_mel(0.5)[None]
    sigma = model.space.decode(torch.ones(1, mel.shape[-1] * HOP), mel)
    assert 0.1 <= float(sigma.min()) < float(sigma.max()) <= 1
    assert model.state_dict().keys() == random_model(CONFIGS["waveform"]).state_dict().keys()
