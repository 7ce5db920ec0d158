"""The losses of the network and their sum: what makes them small, what weighs how much."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from tiny import batch_of, enhancing_config, randn, random_model, spectral_config, waveform_config
from told import Watch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.chain import schedule
from diffwave.chain.gaussian import eps_from_v, q_sample, v_of, x0_from_v
from diffwave.data.crops import Batch
from diffwave.denoiser import Denoiser
from diffwave.model import DiffusionModel
from diffwave.networks.spectral import SpectralNet
from diffwave.spaces import SpectralSpace
from diffwave.train import losses
from diffwave.train.config import LossConfig
from diffwave.train.losses import FFT_SIZES, DenoisingLoss, Loss, SpectralDistance, UnrolledLoss
from diffwave.train.objective import LOSSES, Objective

Fake = Callable[[Tensor, Tensor, Tensor], Tensor]
FRAMES = 24
spectral = random_model(spectral_config())
waveform = random_model(waveform_config())


def value_of(
    loss: Loss, model: DiffusionModel, batch: Batch, network: Fake | None = None
) -> Tensor:
    """With the model's denoiser, or one whose network is replaced."""
    denoiser, config = model.denoiser, model.config
    if network is not None:
        call = lambda x, t, mel, prior: network(x, t, mel)  # noqa: E731
        denoiser = Denoiser(model.network, config.diffusion, config.normalise, call)
    value: Tensor = loss(model, denoiser, batch)
    return value


def state_of(model: DiffusionModel, batch: Batch) -> tuple[Tensor, Tensor]:
    mel = model.space.mel_of_crop(batch.wave)
    return model.space.encode(batch.wave, mel), model.space.noise(batch.white[:, 0])


# --- the denoising loss ----------------------------------------------------------------------


@pytest.mark.parametrize("model", [spectral, waveform])
def test_denoising_is_zero_for_the_oracle(model: DiffusionModel) -> None:
    loss, batch = DenoisingLoss(model, LossConfig()), batch_of(model, place=0.3)
    alpha_bar = model.denoiser.levels_at(batch.place)
    x_0, eps = state_of(model, batch)
    level = alpha_bar.view(-1, *[1] * (x_0.ndim - 1))

    def oracle(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        torch.testing.assert_close(x_t, q_sample(x_0, level, eps))
        torch.testing.assert_close(t, model.denoiser.time(alpha_bar))
        torch.testing.assert_close(mel, model.config.normalise(model.space.mel_of_crop(batch.wave)))
        return v_of(x_0, eps, level) if model is spectral else eps

    assert torch.equal(value_of(loss, model, batch, oracle), torch.zeros(2))
    wrong = value_of(loss, model, batch, lambda x, t, mel: oracle(x, t, mel) + 1)
    torch.testing.assert_close(wrong, torch.full((2,), 2.0 if model is spectral else 1.0))


def error_in(bins: slice, frames: slice = slice(None), **changes: object) -> float:
    """Loss when the prediction is off by 1 in the real part of these bins and frames."""
    loss, batch = DenoisingLoss(spectral, LossConfig(**changes)), batch_of(spectral, 1)  # type: ignore[arg-type]
    x_0, eps = state_of(spectral, batch)
    off = torch.zeros_like(x_0)
    off[:, frames, 0, bins] = 1
    v = v_of(x_0, eps, spectral.denoiser.levels_at(batch.place))
    return float(value_of(loss, spectral, batch, lambda x_t, t, mel: v + off))


def test_denoising_weighs_frequencies_and_leaves_the_edges_out() -> None:
    """Bins are 21.5 Hz apart: 1 at 1 kHz, .6 at 4 kHz, .25 at 8 kHz, relative to their mean."""
    low, middle, high = (error_in(slice(k, k + 1)) for k in (46, 186, 372))
    assert middle / low == pytest.approx(0.6, abs=0.01)
    assert high / low == pytest.approx(0.25, abs=0.01)
    every = slice(None)
    assert error_in(every) == pytest.approx(1, rel=1e-4)
    assert error_in(slice(0, 256), bin_weights=[(0.0, 0.0), (1e4, 0.0), (11025, 1.0)]) == 0
    assert error_in(every, slice(0, 4)) == error_in(every, slice(FRAMES - 4, FRAMES)) == 0
    assert error_in(every, slice(4, 5)) == pytest.approx(1 / (FRAMES - 8), rel=1e-4)
    assert error_in(every, slice(0, 4), edge_frames=0) == pytest.approx(4 / FRAMES, rel=1e-4)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=1, max_size=12))
def test_levels_follow_their_places(uniform: list[float]) -> None:
    """Example i of B is at an angle, or a step, in the i-th of B equal stretches."""
    size = len(uniform)
    place = (torch.arange(size) + torch.tensor(uniform, dtype=torch.float64)) / size
    for i, u in enumerate(schedule.angle(spectral.denoiser.levels_at(place)).tolist()):
        assert i / size - 1e-6 <= u <= (i + 1) / size + 1e-6 or u == pytest.approx(1e-3)
        assert u > 9e-4  # clean speech itself is nothing to predict from
    trained = waveform.denoiser.trained_levels
    assert trained is not None
    for i, level in enumerate(waveform.denoiser.levels_at(place)):
        assert int(50 * i / size) <= int((trained == level).nonzero()) <= 50 * (i + 1) / size


# --- the unrolled loss -----------------------------------------------------------------------

ONE_STEP = LossConfig(unrolled_levels=[1.0], unrolled_jitter=0.0, edge_frames=0)


def flat_model() -> DiffusionModel:
    model = random_model(spectral_config())
    model.space.envelope_weight.zero_()
    model.space.envelope_bias.fill_(2 * torch.tensor(0.1).log().item())
    return model


def unrolled_with(generate: str, repulsion: float, seed: int, size: int = 24) -> float:
    """Mean loss on white noise of gain .1 as recordings, of a one-step network that ignores them.

    The spectral state is whitened by a flat envelope, so a state drawn as noise is decoded to a
    sample of the right distribution. The others are too quiet, or all one and the same sample.
    """
    model = flat_model()
    length = model.space.context(12)
    white = randn(size, length, seed=2 * seed + 1)
    batch = dataclasses.replace(
        batch_of(model, size, frames=1),
        wave=0.1 * randn(size, length, seed=2 * seed),
        white=torch.stack((white, white.roll(1, 0)), 1),
    )
    fixed = model.space.noise(randn(1, length, seed=12345))

    def network(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        x_0 = {"right": x_t, "quiet": 0.5 * x_t, "collapsed": fixed.expand_as(x_t)}[generate]
        return -x_0  # v at pure noise

    loss = UnrolledLoss(model, dataclasses.replace(ONE_STEP, repulsion=repulsion))
    return float(value_of(loss, model, batch, network).mean())


def test_energy_distance_prefers_the_right_distribution() -> None:
    """Samples that are all alike gain nothing from the repulsion, others do."""
    right, collapsed = (unrolled_with(kind, 1.0, 0) for kind in ("right", "collapsed"))
    assert right < 0.98 * collapsed
    assert right < 0.9 * unrolled_with("quiet", 1.0, 0)
    assert right < 0.9 * unrolled_with("right", 0.0, 0)
    assert 0.9 * unrolled_with("collapsed", 0.0, 0) <= collapsed


def test_unrolled_walks_the_whole_chain_with_gradients() -> None:
    model = random_model(spectral_config()).requires_grad_(True)
    batch, steps = batch_of(model), []

    def network(x_t: Tensor, t: Tensor, mel: Tensor) -> Tensor:
        v = model.network(x_t, t, mel)
        steps.append((x_t.detach(), t, v.detach()))
        return v  # type: ignore[no-any-return]

    loss = UnrolledLoss(model, LossConfig(unrolled_levels=[1.0, 0.6, 0.3]))
    value = value_of(loss, model, batch, network)
    assert value.shape == (2,)
    assert [float(t[0]) for _, t, _ in steps] == pytest.approx([1.0, 0.6, 0.3])
    noise = model.space.noise(torch.cat((batch.white[:, 0], batch.white[:, 1])))
    assert torch.equal(steps[0][0], noise)
    levels = loss.levels(0.5)
    for (x, _, v), (after, _, _), level, lower in zip(
        steps, steps[1:], levels, levels[1:], strict=False
    ):
        x_0, eps = x0_from_v(x, v, level), eps_from_v(x, v, level)
        torch.testing.assert_close(after, q_sample(x_0, lower, eps), rtol=1e-3, atol=1e-4)
    value.mean().backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name


@settings(max_examples=30)
@given(st.floats(0, 1), st.floats(0, 1))
def test_levels_move_together_but_the_first(one: float, other: float) -> None:
    loss = UnrolledLoss(spectral, LossConfig(unrolled_levels=[1.0, 0.7, 0.4], unrolled_jitter=0.2))
    u, w = (schedule.angle(loss.levels(place)) for place in (one, other))
    assert float(u[0]) == 1
    assert float(u[1]) == pytest.approx(0.7 + 0.2 * (2 * one - 1), abs=1e-6)
    torch.testing.assert_close((u - w)[1:], torch.full((2,), 0.4 * (one - other)).double())


def test_crops_too_short_for_its_spectra_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.crop_frames"):
        value_of(UnrolledLoss(spectral, LossConfig()), spectral, batch_of(spectral, frames=20))


@pytest.mark.parametrize("config", [spectral_config(), waveform_config()])
def test_levels_may_stay_on_the_cpu(config: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's device without data stands in for a graphics card."""
    model = random_model(config)  # type: ignore[arg-type]
    batch = batch_of(model)
    mel = losses.mel_of(model, batch).to("meta")  # the frontend's autocast does not know the device
    monkeypatch.setattr(losses, "mel_of", lambda *_: mel)
    model.to("meta")
    levels = LossConfig(unrolled_levels=[0.6, 0.4], unrolled_jitter=0.05)
    for loss in DenoisingLoss(model, LossConfig()), UnrolledLoss(model, levels):
        value = value_of(loss, model, batch.to(torch.device("meta")))
        assert (value.device.type, value.dtype, value.shape) == ("meta", torch.float32, (2,))


# --- the distance of spectrograms ------------------------------------------------------------

LENGTH = 3000
distance = SpectralDistance(22050, [(0.0, 1.0)])


def noise(seed: int, batch: int = 1, gain: float = 0.1) -> Tensor:
    return gain * randn(batch, LENGTH, seed=seed)


def between(a: Tensor, b: Tensor, scale_by: Tensor | None = None) -> Tensor:
    return distance(noise(99, len(a)) if scale_by is None else scale_by, a, b)[2]


def tone(hz: float, phase: float = 0.0) -> Tensor:
    return 0.1 * torch.sin(2 * torch.pi * hz * torch.arange(LENGTH) / 22050 + phase)[None]


@settings(max_examples=10)
@given(st.tuples(*[st.integers(0, 10**6)] * 3), st.tuples(*[st.floats(0, 1)] * 3))
def test_it_is_a_distance(seeds: tuple[int, ...], gains: tuple[float, ...]) -> None:
    """Zero for equals, symmetric, and no detour is shorter: what an L1 norm of features is."""
    a, b, c = (noise(seed, gain=gain) for seed, gain in zip(seeds, gains, strict=True))
    ab, bc, ac = float(between(a, b)), float(between(b, c)), float(between(a, c))
    assert float(between(a, a.clone())) == 0
    assert float(between(b, a)) == ab >= 0
    assert ac <= (ab + bc) * (1 + 1e-5) + 1e-6


def test_pitch_counts_phase_hardly_and_loudness_as_its_logarithm() -> None:
    """d(x, c x) = log c + (c - 1): the weights' mean is 1, and so is the relative magnitude's."""
    same, shifted, higher = tone(440.0), tone(440.0, 2.0), tone(880.0)
    assert float(between(same, shifted)) < 0.1 * float(between(same, higher))
    assert torch.allclose(between(same, -same), torch.zeros(1), atol=1e-6)
    a, b, c = noise(0, gain=10.0), noise(1, gain=10.0), 1.5
    torch.testing.assert_close(distance(a, b), distance(10 * a, 10 * b), rtol=1e-3, atol=0)
    expected = torch.tensor(c).log() + (c - 1)
    assert float(distance(a, c * a)[0]) == pytest.approx(float(expected), rel=2e-3)


def test_weights_choose_the_frequencies() -> None:
    """A distance that weighs only what lies above 4 kHz sees no difference below."""
    high = SpectralDistance(22050, [(4000.0, 0.0), (4500.0, 1.0)])
    ordinary = SpectralDistance(22050, LossConfig().bin_weights)
    floor = noise(0, gain=0.1)
    hum = floor + 10 * tone(440.0)
    assert float(high(floor, hum)[0]) < 0.05 * float(ordinary(floor, hum)[0])


def test_gradients_are_finite_in_silence_and_lead_to_the_recording() -> None:
    silence = torch.zeros(1, LENGTH)
    for real, start in ((silence, noise(1)), (noise(0), silence), (silence, silence)):
        generated = start.clone().requires_grad_()
        distance(real, generated)[0].sum().backward()
        assert generated.grad is not None and bool(torch.isfinite(generated.grad).all())
    real = torch.from_numpy(speech_like(LENGTH / 22050))[None]
    generated = (0.5 * real + noise(0, gain=0.02)).requires_grad_()
    before = distance(real, generated)[0]
    before.sum().backward()
    assert generated.grad is not None
    step = 1e-3 * generated.grad / generated.grad.abs().max()
    assert float(distance(real, generated.detach() - step)[0]) < float(before.detach())


@pytest.mark.parametrize(("rate", "longest"), [(16000, 2048), (24000, 2048), (44100, 4096)])
def test_windows_last_as_long_at_every_rate_and_share_a_scale(rate: int, longest: int) -> None:
    """White noise of variance 1 has magnitudes of rms 1 at every resolution."""
    made = SpectralDistance(rate, [(0.0, 1.0)])
    assert made.fft_sizes[0] == longest and len(made.fft_sizes) == len(FFT_SIZES)
    assert not list(made.parameters()) and not made.state_dict()  # no part of a model
    for size in made.fft_sizes:
        rms = made.magnitudes(randn(8, 2 * longest), size).square().mean().sqrt()
        assert float(rms) == pytest.approx(1, abs=0.05)


# --- the objective ---------------------------------------------------------------------------


def test_losses_are_weighted_and_added() -> None:
    config, batch = LossConfig(denoising=0.7, unrolled=0.2), batch_of(spectral, place=0.3)
    first, second = (
        value_of(kind(spectral, config), spectral, batch).mean()
        for kind in (DenoisingLoss, UnrolledLoss)
    )
    torch.testing.assert_close(Objective(spectral, config)(batch), 0.7 * first + 0.2 * second)


class Teacher(Loss):
    """A loss with a network of its own, which nobody trains."""

    def __init__(self, model: DiffusionModel, config: LossConfig) -> None:
        super().__init__(model, config)
        self.teacher = torch.nn.Linear(1, 1).requires_grad_(False)

    def forward(self, model: DiffusionModel, denoiser: Denoiser, batch: Batch) -> Tensor:
        assert denoiser.network is model.network
        return self.teacher(batch.wave[:, :1])[:, 0] * 0 + 3  # type: ignore[no-any-return]


def test_a_new_loss_is_a_class_and_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "teacher", Teacher)
    config = LossConfig(weights={"teacher": 0.5}, denoising=0.0)
    assert float(Objective(spectral, config)(batch_of(spectral))) == 1.5
    with pytest.raises(InputError, match="no loss named 'techer'; there are enhancement, den"):
        Objective(spectral, LossConfig(weights={"techer": 1.0}))
    with pytest.raises(InputError, match="train nothing of this model"):
        Objective(spectral, LossConfig(denoising=0.0, enhancement=0.0, source=1.0))


@pytest.mark.parametrize("config", [spectral_config(), enhancing_config()])
def test_every_loss_trains_its_own_part(config: object) -> None:
    """What processes exchange is the model's parameters, each once, compiled or not."""
    model = random_model(config).requires_grad_(True)  # type: ignore[arg-type]
    parameters = list(Objective(model, LossConfig(), compile=True).parameters())
    assert [id(p) for p in parameters] == [id(p) for p in model.learned()]
    parts = [("denoising", model.network)]
    if model.enhancer is not None:
        parts.append(("enhancement", model.enhancer))
    for name, trained in parts:
        model.zero_grad()
        weights = {"denoising": 0.0, "enhancement": 0.0, name: 0.5}
        Objective(model, LossConfig(**weights))(batch_of(model)).backward()  # type: ignore[arg-type]
        for part in model.learners():
            assert all((p.grad is not None) == (part is trained) for p in part.parameters())


def test_a_predicted_mel_reaches_the_network_enhanced(watch: Watch) -> None:
    model = random_model(enhancing_config()).requires_grad_(True)
    batch, seen = batch_of(model), []
    watch(SpectralNet, "forward", lambda net, x, t, mel, *_: seen.append(mel))
    objective = Objective(model, LossConfig())
    own = model.mel(batch.wave, pad=False)
    for mel, expected in ((None, own), (own - 1, model.enhance(own - 1))):
        objective(dataclasses.replace(batch, mel=mel))
        assert torch.equal(seen[-1], model.config.normalise(expected))
        assert not seen[-1].requires_grad


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_only_the_network_computes_in_half_precision(precision: torch.dtype, watch: Watch) -> None:
    outside, inside = [], []

    def precision_now() -> torch.dtype | None:
        return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None

    watch(SpectralSpace, "encode", lambda *_: outside.append(precision_now()))
    watch(SpectralNet, "forward", lambda *_: inside.append(precision_now()))
    exact = Objective(spectral, LossConfig())(batch_of(spectral))
    less = Objective(spectral, LossConfig(), precision)(batch_of(spectral))
    assert (outside, inside) == ([None, None], [None, precision])
    assert less.dtype == torch.float32
    torch.testing.assert_close(less, exact, rtol=0.02, atol=0)


def test_without_a_compiler_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch._dynamo.exc

    calls = []

    def compile_badly(forward: object) -> Callable[..., Tensor]:
        def fail(*inputs: Tensor) -> Tensor:
            calls.append(inputs)
            raise torch._dynamo.exc.TorchDynamoException("no compiler")

        return fail

    monkeypatch.setattr(torch, "compile", compile_badly)
    objective = Objective(spectral, LossConfig(), compile=True)
    with caplog.at_level(logging.WARNING):
        values = [objective(batch_of(spectral)) for _ in range(3)]
    assert caplog.text.count("torch.compile failed") == len(calls) == 1
    assert torch.equal(values[0], Objective(spectral, LossConfig())(batch_of(spectral)))
