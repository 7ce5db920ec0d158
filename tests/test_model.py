"""A vocoder put together: its configuration, its denoiser, its mel enhancer."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import (
    FAST,
    HOP,
    enhancing_config,
    randn,
    random_model,
    spectral_config,
    speech_mel,
    waveform_config,
)

from diffwave.base.errors import InputError
from diffwave.base.migrate import current_state
from diffwave.base.schema import stored
from diffwave.chain import schedule
from diffwave.chain.bound import bound_terms
from diffwave.chain.gaussian import Estimate, q_sample, v_of, x0_from_eps, x0_from_v
from diffwave.chain.samplers import ancestral, ddim, sample
from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.denoiser import Condition, Denoiser, DiffusionConfig
from diffwave.mel import preset
from diffwave.mel.normalise import NormaliseConfig
from diffwave.model import DiffusionModel, ModelConfig
from diffwave.networks import (
    MelEnhancerConfig,
    SourcePredictorConfig,
    SpectralNetConfig,
    WaveformNetConfig,
)
from diffwave.spaces import EnergyPrior, SpectralConfig, WaveformConfig
from diffwave.vocoder import Vocoder

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
        network=SpectralNetConfig(80, 512, 8, 3, (1, 3, 9), 1, 0, 12),
        space=SpectralConfig(floor=1e-3, clamp=6.0),
        diffusion=DiffusionConfig("v", "ddpm", True),
        sampling=SamplingConfig(8, "dpm-solver++", presets=(Sampling(2, "ddim", (1.0, 0.5)),)),
        normalise=NormaliseConfig(-4.5, 2.0),
        enhancer=MelEnhancerConfig(80, 24, 2, (1, 3)),
    ),
}


def as_json(config: ModelConfig) -> Any:
    return json.loads(json.dumps(stored(config), allow_nan=False))


def changed(data: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy with another value at the end of a path."""
    if not path:
        return value
    return data | {path[0]: changed(data.get(path[0]), path[1:], value)}


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_survives_json(name: str) -> None:
    config = CONFIGS[name]
    assert ModelConfig.from_dict(as_json(config)) == config
    assert as_json(ModelConfig.from_dict(as_json(config))) == as_json(config)


FIRST_FORMAT = {
    "mel": stored(preset("hifigan")),
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
    mel, waveform = stored(preset("hifigan")), {"kind": "waveform", "channels": 8}
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
        ((), None, "mapping"),
        (("nonsense",), 1, "nonsense"),
        (("network", "nonsense"), 1, "nonsense"),
        (("space", "nonsense"), 1, "nonsense"),
        (("network",), {}, "kind"),
        (("network", "kind"), "transformer", "transformer"),
        (("network", "channels"), "16", "channels"),
        (("network", "layers"), 10**12, "at most"),
        (("network", "dilations"), 3, "must be a list"),
        (("network", "channels"), 1 << 16, "weights"),
        (("network", "dilations"), [10**18, 2, 4], "dilations[0] must be an integer of at most"),
        (("space", "source_bands"), [0.0] * 300, "length at most 256"),
        (("space", "source_bands"), [0.0] * 200, "rising frequencies"),
        (("sampling", "presets"), [{"steps": 1}] * 2000, "length at most 1000"),
        (("mel", "fmax"), 0.5, "no frequency of the transform"),
        (("space", "floor"), 0, "floor"),
        (("mel",), None, "name"),
        (("normalise", "scale"), 0, "scale"),
        (("diffusion", "prediction"), "x0", "one of v, eps"),
        (("diffusion", "variance"), "free", "one of fixed, learned"),
        (("diffusion", "variance"), "learned", "no variances to learn"),
        (("diffusion", "schedule"), "quadratic", "quadratic"),
        (("diffusion", "zero_terminal_snr"), True, "pure noise"),
        (("sampling", "solver"), "euler", "euler"),
        (("sampling", "presets"), [{"steps": 2, "levels": [1.0]}], "levels of 2 steps"),
        (("sampling", "presets"), [{"steps": 2, "levels": [0.5, 1.0]}], "falling"),
        (("sampling", "presets"), [{"steps": 1, "levels": [0.0]}], "above 0"),
        (("sampling", "presets"), [{"steps": 1, "levels": [1.5]}], "above 1"),
        (("sampling", "presets"), [{"steps": 1}, {"steps": 1}], "one for each"),
        (("enhancer",), [1], "enhancer"),
        (("enhancer", "dilations"), [1, 0], "dilation"),
        (("network", "n_mels"), 0, "n_mels"),
    ],
)
def test_what_is_wrong_is_named(path: tuple[str, ...], value: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        DiffusionModel(ModelConfig.from_dict(changed(as_json(CONFIGS["enhancing"]), path, value)))
    assert words in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


LEARNED = DiffusionConfig("eps", "diffwave-base", variance="learned")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"diffusion": dataclasses.replace(LEARNED, prediction="v")}, "by the waveform network"),
        ({"space": WaveformConfig()}, "needs a spectral space"),
        ({"network": WaveformNetConfig()}, "needs a waveform space"),
        ({"source": SourcePredictorConfig()}, "need each other"),
        ({"space": SpectralConfig(source_bands=(0, 4000))}, "need each other"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(CONFIGS["spectral"], **changes)


@pytest.mark.parametrize("mel", ["bigvgan-44k", "coqui", "vocos"])
def test_sizes_are_the_mels(mel: str) -> None:
    """Whatever they were, and whatever an earlier format says."""
    config = dataclasses.replace(CONFIGS["enhancing"], mel=(own := preset(mel)))
    assert isinstance(config.network, SpectralNetConfig) and config.enhancer is not None
    assert config.space == SpectralConfig(own.n_fft, own.hop_length, own.pad_left, own.n_mels)
    assert (config.network.n_mels, config.network.bins) == (own.n_mels, own.n_fft // 2)
    assert config.enhancer.n_mels == own.n_mels
    waveform = dataclasses.replace(CONFIGS["waveform"], mel=own)
    assert waveform.network.hop_length == waveform.space.hop_length == own.hop_length
    assert "n_mels" not in as_json(config)["network"]
    older = changed(changed(as_json(config), ("network", "n_mels"), 7), ("space", "n_fft"), 512)
    assert ModelConfig.from_dict(older) == config


def levels_of(model: DiffusionModel, steps: int) -> torch.Tensor:
    return model.denoiser.levels(model.sampling(steps))


@pytest.mark.parametrize("schedule_name", ["angle", "diffwave-base"])
def test_noise_cannot_be_predicted_from_nothing_but_noise(schedule_name: str) -> None:
    """At alpha_bar = 0 eps is all there is, and x_0 = (x - eps) / 0."""
    with pytest.raises(InputError, match="pure noise"):
        DiffusionConfig("eps", schedule_name, schedule_name != "angle")


def test_levels_in_angles_are_those_named_for_their_count_or_uniform() -> None:
    sampling = SamplingConfig(presets=(Sampling(2, "ddim", (1, 0.4)),))
    model = DiffusionModel(dataclasses.replace(CONFIGS["spectral"], sampling=sampling))
    for steps in (1, 2, 7, 100):
        angles = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
        if steps == 2:
            angles = torch.tensor([1, 0.4], dtype=torch.float64)
        levels = levels_of(model, steps)
        torch.testing.assert_close(schedule.angle(levels), angles)
        assert levels[0] == 0
        time = model.denoiser.time(levels)
        torch.testing.assert_close(time, angles.float())


def test_levels_of_a_discrete_chain() -> None:
    model = DiffusionModel(CONFIGS["waveform"])
    trained = schedule.alpha_bars(schedule.named_betas("diffwave-base"))
    assert torch.equal(levels_of(model, 50), trained.flip(0))  # the whole chain, as in the paper
    steps = model.denoiser.time(levels_of(model, 50))
    torch.testing.assert_close(steps, torch.arange(49, -1, -1.0), rtol=0, atol=1e-4)
    fast = schedule.alpha_bars(schedule.named_betas("diffwave-base-fast"))
    torch.testing.assert_close(levels_of(model, 6), fast.flip(0), rtol=1e-12, atol=0)
    for count in (2, 10, 49, 51):
        levels = levels_of(model, count)
        torch.testing.assert_close(levels[[0, -1]], trained[[-1, 0]])
        schedule.align(levels, trained)  # all within what was trained
        differences = schedule.angle(levels).diff()
        torch.testing.assert_close(differences, differences[:1].expand(count - 1))
    with pytest.raises(InputError, match="aligned"):
        model.denoiser.time(torch.tensor(0.1))


def denoise_of(model: DiffusionModel, mel: torch.Tensor) -> Callable[..., torch.Tensor]:
    return functools.partial(model.denoiser, cond=model.denoiser.condition(mel))


def test_zero_terminal_snr_reaches_pure_noise() -> None:
    chain = DiffusionConfig("v", "diffwave-base", True)
    config = dataclasses.replace(CONFIGS["waveform"], diffusion=chain, sampling=SamplingConfig())
    model, mel = random_model(config), speech_mel(0.3)[None]
    assert levels_of(model, 50)[0] == 0
    x = randn(1, mel.shape[-1] * HOP)
    assert sample(ddim, denoise_of(model, mel), x, levels_of(model, 3)).isfinite().all()


@pytest.mark.parametrize("name", ["spectral", "waveform"])
def test_denoiser_is_the_network_turned_into_x_0(name: str) -> None:
    model = random_model(CONFIGS[name])
    mel = torch.stack([speech_mel(0.4, seed=seed) for seed in range(3)])
    x = randn(3, mel.shape[-1], 2, 512) if name == "spectral" else randn(3, mel.shape[-1] * HOP)
    alpha_bar = torch.tensor(0.5, dtype=torch.float64)
    time = model.denoiser.time(alpha_bar).expand(3)
    prediction = model.network(x, time, model.config.normalise(mel), model.space.prior(mel))
    turned = x0_from_v if name == "spectral" else x0_from_eps
    expected = turned(x, prediction, alpha_bar)
    torch.testing.assert_close(denoise_of(model, mel)(x, alpha_bar), expected)
    # Nor does it matter whether what does not depend on the level was computed before.
    unprojected = model.denoiser.condition(mel, project=False)
    found = model.denoiser(x, alpha_bar.expand(3), unprojected)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["spectral", "waveform"])
@pytest.mark.parametrize("error", [0.0, 2.0])
def test_a_perfect_prediction_gives_the_clean_state_and_no_loss(name: str, error: float) -> None:
    """What training asks for is what sampling assumes."""
    model = DiffusionModel(CONFIGS[name])
    (x_0, eps), bars = randn(2, 3, 5), levels_of(model, 6)[1:4]

    def oracle(x: torch.Tensor, t: torch.Tensor, mel: object, prior: object) -> torch.Tensor:
        torch.testing.assert_close(t, model.denoiser.time(bars))
        return error + (v_of(x_0, eps, bars[:, None]) if name == "spectral" else eps)

    denoiser = Denoiser(model.network, model.config.diffusion, model.config.normalise, oracle)
    cond = Condition(None, None)
    loss = denoiser.loss(x_0, eps, bars, cond)
    torch.testing.assert_close(loss, torch.full((3, 5), error**2), rtol=1e-6, atol=1e-10)
    if not error:
        estimate = denoiser(q_sample(x_0, bars[:, None], eps), bars, cond)
        torch.testing.assert_close(estimate, x_0, rtol=1e-3, atol=1e-3)


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
    noise, denoise = randn(6, 1, mel.shape[-1] * HOP), denoise_of(model, mel)
    ours = sample(ancestral, denoise, noise[0], levels_of(model, 6), noise=noise[1:].__getitem__)

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
    x = randn(2, 3 * HOP)
    mels = [speech_mel(0.1, seed=seed)[None, :, :3] for seed in range(2)]
    one, other = (denoise_of(model, mel)(x, levels_of(model, 6)[0]) for mel in mels)
    assert torch.equal(one, other)


# --- learned variances


@pytest.fixture(scope="module")
def learning() -> DiffusionModel:
    return random_model(dataclasses.replace(CONFIGS["waveform"], diffusion=LEARNED))


def test_a_learned_variance_is_the_networks_second_output(learning: DiffusionModel) -> None:
    assert learning.network.config.outputs == 2
    assert "outputs" not in as_json(learning.config)["network"]  # it follows from the chain
    assert ModelConfig.from_dict(as_json(learning.config)) == learning.config
    mel, x = speech_mel(0.2)[None], randn(1, 17 * HOP)
    level, cond = torch.tensor(0.5).double(), learning.denoiser.condition(mel)
    both = learning.network(x, learning.denoiser.time(level).expand(1), mel)
    x_0, share = learning.denoiser.estimate(x, level, cond)
    torch.testing.assert_close(x_0, x0_from_eps(x, both[:, 0], level))
    torch.testing.assert_close(share, (both[:, 1] + 1) / 2)
    assert torch.equal(learning.denoiser(x, level, cond), x_0)
    assert float((share - 0.5).abs().max()) > 0.01
    # Ancestral sampling has its noise; the deterministic one has none.
    plain = random_model(CONFIGS["waveform"])
    with torch.no_grad():
        for name, parameter in plain.network.named_parameters():
            theirs = learning.network.get_parameter(name)
            parameter.copy_(theirs if parameter.shape == theirs.shape else theirs[:1])
    waves = {
        solver: [Vocoder(model, "cpu")(mel[0], steps=6, sampler=solver) for model in models]
        for solver, models in (("ddim", (learning, plain)), ("ancestral", (learning, plain)))
    }
    torch.testing.assert_close(*waves["ddim"])
    assert float((waves["ancestral"][0] - waves["ancestral"][1]).abs().max()) > 1e-3


def test_the_hybrid_loss_trains_the_variance_by_the_bound_alone(learning: DiffusionModel) -> None:
    """Its gradient of the second output is the bound's, and of the first the squared error's."""
    bars = learning.denoiser.trained_levels
    assert bars is not None
    x_0, eps = 0.5 * randn(2, 3 * HOP), torch.randn(2, 3 * HOP, generator=torch.manual_seed(1))
    outputs = torch.zeros(2, 2, 3 * HOP).uniform_(-0.8, 0.8).requires_grad_()
    fake = Denoiser(learning.network, LEARNED, learning.config.normalise, lambda *_: outputs)
    at, weight = bars[[0, 30]], 0.01
    fake.loss(x_0, eps, at, Condition(None, None), weight).sum().backward()
    (gradient,) = torch.autograd.grad((outputs[:, 0] - eps).square().sum(), outputs)
    torch.testing.assert_close(outputs.grad[:, 0], gradient[:, 0])

    # The same terms from the bound of the whole chain.
    def noise(t: int) -> torch.Tensor:
        return eps[[0]] if t == 1 else eps[[1]]

    found = []
    for row, t in ((0, 1), (1, 31)):

        def estimate(x: torch.Tensor, bar: torch.Tensor, row: int = row) -> Estimate:
            both = outputs[[row]]
            return Estimate(x0_from_eps(x, both[:, 0].detach(), bar), (both[:, 1] + 1) / 2)

        terms = list(bound_terms(estimate, x_0[[row]], bars.flip(0), noise))
        found.append(terms[t - 1].sum())
    (gradient,) = torch.autograd.grad(weight * 50 * (found[0] + found[1]), outputs)
    torch.testing.assert_close(outputs.grad[:, 1], gradient[:, 1], rtol=1e-4, atol=1e-7)
    assert float(gradient[:, 1].abs().min()) > 0
