"""The adversarial loss: what discriminators see and learn, what reaches whom, and going on."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import speech_like
from small_run import Configure, assert_same_state, learner_of
from tiny import batch_of, randn, random_model, source_config, spectral_config, waveform_config
from told import Watch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.networks.spectral import SpectralNet
from diffwave.spaces import SpectralSpace
from diffwave.spaces.source import Excitation
from diffwave.train import learner as learner_module
from diffwave.train.adversarial import AdversarialLoss, relative_distance
from diffwave.train.config import AdversarialConfig, LossConfig
from diffwave.train.discriminators import (
    PeriodDiscriminator,
    SpectrogramDiscriminator,
    of_equal_level,
)
from diffwave.train.loop import train
from diffwave.train.losses import UnrolledLoss
from diffwave.train.objective import Objective
from diffwave.train.optimizers import learning_rate
from diffwave.train.settings import read_config
from diffwave.train.state import read_state, saved_states

FRAMES = 24
SMALL = AdversarialConfig(
    periods=[2, 3], period_channels=[4, 8], fft_sizes=[256], spectral_channels=4, warmup_steps=0
)
CONFIG = LossConfig(denoising=0.0, weights={"adversarial": 1.0}, adversarial=SMALL)
IN_A_RUN = {
    "loss__weights": "{adversarial: 1}",
    "loss__adversarial__periods": "[2, 5]",
    "loss__adversarial__period_channels": "[4, 8]",
    "loss__adversarial__fft_sizes": "[256]",
    "loss__adversarial__spectral_channels": 4,
    "loss__adversarial__pick": 2,
    "loss__unrolled_n_iter": 1,
    "loss__denoising": 0.5,
}
model = random_model(spectral_config())


def made(config: LossConfig = CONFIG, of: DiffusionModel = model) -> AdversarialLoss:
    torch.manual_seed(1)
    loss = AdversarialLoss(of, config)
    loss.begin_step(0.0)
    return loss


def changed(**changes: object) -> LossConfig:
    adversarial = dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(CONFIG, adversarial=adversarial)


# --- what discriminators see -----------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(1, 11), st.integers(300, 500))
def test_a_column_is_one_phase_of_the_period(period: int, length: int) -> None:
    wave = randn(2, length)
    picture = PeriodDiscriminator(period, [4, 8]).picture(wave)
    for phase in range(period):
        column = wave[:, phase::period][:, : length // period]
        assert torch.equal(picture[:, 0, :, phase], column)


@pytest.mark.parametrize("n_fft", [64, 256])
def test_spectra_keep_their_phase_and_the_range_is_compressed(n_fft: int) -> None:
    discriminator, wave = SpectrogramDiscriminator(n_fft, 4), randn(2, 2000)
    window = torch.hann_window(n_fft)
    expected = torch.stft(wave, n_fft, n_fft // 4, window=window, center=False, return_complex=True)
    expected = expected.transpose(1, 2) / window.square().sum().sqrt()
    picture = discriminator.picture(wave)
    got = torch.complex(picture[:, 0], picture[:, 1])
    assert got.shape == expected.shape
    torch.testing.assert_close(got.abs(), expected.abs() ** 0.3, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(got / got.abs(), expected / expected.abs(), rtol=0, atol=1e-2)
    assert not any("window" in name for name in discriminator.state_dict())


def test_gradients_are_finite_in_silence() -> None:
    for discriminator in (PeriodDiscriminator(2, [4]), SpectrogramDiscriminator(64, 4)):
        wave = torch.zeros(1, 1000, requires_grad=True)
        (scaled,) = of_equal_level(wave)
        discriminator(scaled).scores.square().sum().backward()
        assert wave.grad is not None and bool(torch.isfinite(wave.grad).all())


def test_loudness_does_not_matter() -> None:
    real, generated = randn(2, 3000), 0.5 * randn(2, 3000, seed=1)
    levels = torch.tensor([[0.03], [2.0]])
    one, other = of_equal_level(real, generated), of_equal_level(levels * real, levels * generated)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(one[0].square().mean(1), torch.ones(2))
    torch.testing.assert_close(one[1].square().mean(1), torch.full((2,), 0.25), rtol=0.1, atol=0)


# --- what they learn -------------------------------------------------------------------------


def pulses_and_smeared(seed: int, size: int = 8, length: int = 2048) -> tuple[Tensor, Tensor]:
    """Pulses every 100 samples or so, and the same magnitudes with random phases."""
    generator = torch.Generator().manual_seed(seed)
    real = 0.02 * torch.randn(size, length, generator=generator)
    for row in real:
        row[int(torch.randint(100, (), generator=generator)) :: 100] += 1
    spectrum = torch.fft.rfft(real)
    turns = torch.rand(spectrum.shape, generator=generator) * 2 * math.pi
    return real, torch.fft.irfft(spectrum.abs() * torch.exp(1j * turns), n=length)


@pytest.mark.parametrize("kind", ["periods", "fft_sizes"])
def test_discriminators_learn_to_tell_pulses_from_the_same_spectrum_smeared(kind: str) -> None:
    """From a loss of 0.5, which whoever cannot tell has, to much less, on waves not seen before."""
    others: dict[str, object] = {"periods": [], "fft_sizes": []}
    others[kind] = [3] if kind == "periods" else [256]
    loss = made(changed(period_channels=[8, 16], spectral_channels=8, **others))
    optimizer = torch.optim.AdamW(loss.parameters(), lr=2e-3, betas=(0.8, 0.99))
    batch = dataclasses.replace(batch_of(model), wave=torch.zeros(8, 1))
    values = []
    for step in range(60):
        loss.judged = of_equal_level(*pulses_and_smeared(step))
        value = loss.discriminator_loss(batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[0] == pytest.approx(0.5, abs=0.1)
    assert sum(values[-5:]) / 5 < 0.2


def test_the_loss_of_who_cannot_tell_is_a_half() -> None:
    loss = made()
    for discriminator in loss.chosen(0.5):
        torch.nn.init.zeros_(discriminator.last.weight)
    loss.judged = of_equal_level(randn(2, 3000), randn(2, 3000, seed=1))
    assert float(loss.discriminator_loss(batch_of(model)).detach()) == pytest.approx(0.5)


def test_features_are_compared_relative_to_their_size_and_by_example() -> None:
    one = [torch.ones(2, 3, 4), 100 * torch.ones(2, 5)]
    other = [1.5 * one[0], torch.stack((one[1][0], 2 * one[1][1]))]
    expected = torch.tensor([(0.5 + 0) / 2, (0.5 + 1) / 2])
    torch.testing.assert_close(relative_distance(one, other), expected, rtol=1e-3, atol=0)


# --- which of them a step looks at, and at what -----------------------------------------------


def test_a_step_picks_some_of_them() -> None:
    loss = made(changed(pick=1))
    picked = [tuple(map(id, loss.chosen(i / 50))) for i in range(50)]
    assert picked == [tuple(map(id, loss.chosen(i / 50))) for i in range(50)]
    assert {len(each) for each in picked} == {1}
    assert {one for (one,) in picked} == {id(d) for d in loss.discriminators}
    assert loss.chosen(0.1) != made(changed(pick=1)).chosen(0.1)
    every = made(changed(pick=0))
    assert every.chosen(0.7) == list(every.discriminators)


@pytest.mark.parametrize("share", [0.0, 0.33, 1.0])
def test_some_steps_unroll_all_levels(share: float, watch: Watch) -> None:
    calls: list[float] = []
    watch(SpectralNet, "forward", lambda net, x, t, *_: calls.append(float(t[0])))
    config = dataclasses.replace(CONFIG, unrolled=1.0, unrolled_whole=share, unrolled_n_iter=0)
    loss, first = UnrolledLoss(model, config), []
    for i in range(30):
        calls.clear()
        with torch.no_grad():
            assert loss(model, model.denoiser, batch_of(model, 1, i / 30)).shape == (1,)
        assert calls[0] == 1.0
        first.append(len(calls) == 1)
    whole = 30 - sum(first)
    assert whole == {0.0: 0, 1.0: 30}.get(share, whole) and (share != 0.33 or 4 < whole < 17)


@pytest.mark.parametrize("each", [0.0, 1.0])
def test_both_losses_look_at_the_same_samples(each: float, watch: Watch) -> None:
    """The network and the mel-consistency iterations run as often as for one; values stay."""
    weights = {"adversarial": 0.3}
    config = dataclasses.replace(CONFIG, unrolled=0.7, weights=weights, unrolled_each=each)
    objective, batch, calls = Objective(model, config), batch_of(model), []
    for adversary in objective.modules():
        if isinstance(adversary, AdversarialLoss):
            adversary.begin_step(0.0)
    with torch.no_grad():
        parts = {
            name: float(loss(model, model.denoiser, batch).mean())  # type: ignore[operator]
            for name, loss in objective.losses.items()
        }
    watch(SpectralSpace, "decode", lambda *_: calls.append(1))
    value = float(objective(batch).detach())
    assert len(calls) == 1 + int(each)
    assert value == pytest.approx(0.7 * parts["unrolled"] + 0.3 * parts["adversarial"], rel=1e-4)
    assert batch.shared is None  # another call computes anew
    objective(batch).backward()


@pytest.mark.parametrize("config", [waveform_config(), source_config()])
def test_any_space_will_do(config: object) -> None:
    other = random_model(config)  # type: ignore[arg-type]
    length = other.space.context(FRAMES)
    wave = torch.from_numpy(speech_like(3.0))[None, :length]
    batch = dataclasses.replace(batch_of(model, 1), wave=wave, white=randn(1, 2, length))
    if other.source is not None:
        bands = len(other.space.config.source_bands) - 1  # type: ignore[attr-defined]
        batch.excitation = Excitation(randn(1, length), torch.full((1, FRAMES, bands), 0.5))
    levels = {"unrolled_levels": [0.6, 0.4], "unrolled_jitter": 0.05}
    loss = made(dataclasses.replace(CONFIG, **levels), other)  # type: ignore[arg-type]
    assert bool(torch.isfinite(loss(other, other.denoiser, batch)).all())


# --- what reaches whom -----------------------------------------------------------------------


def test_no_gradient_reaches_the_other_side() -> None:
    given = random_model(spectral_config()).requires_grad_(True)
    objective = Objective(given, CONFIG)
    (adversary,) = (m for m in objective.modules() if isinstance(m, AdversarialLoss))
    adversary.requires_grad_(False)
    adversary.begin_step(0.0)
    batch = batch_of(model)
    objective(batch).backward()
    grads = {name: p.grad for name, p in given.network.named_parameters()}
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in grads.values())
    assert sum(float(g.abs().sum()) for g in grads.values() if g is not None) > 0
    assert all(p.grad is None for p in adversary.parameters())
    before = {name: g.clone() for name, g in grads.items() if g is not None}
    adversary.requires_grad_(True)
    adversary.discriminator_loss(batch).backward()
    assert all(p.grad is not None for p in adversary.parameters())
    for name, parameter in given.network.named_parameters():
        assert parameter.grad is not None and torch.equal(parameter.grad, before[name])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_only_bfloat16_makes_them_less_precise(precision: torch.dtype) -> None:
    seen, batch, exact = [], batch_of(model), made()

    def note(module: object, inputs: object, judgement: object) -> None:
        seen.append(torch.is_autocast_enabled("cpu"))

    rough = made()
    rough.precision = precision
    for discriminator in rough.discriminators:
        discriminator.register_forward_hook(note)
    for found, expected in zip(
        (rough(model, model.denoiser, batch), rough.discriminator_loss(batch)),
        (exact(model, model.denoiser, batch), exact.discriminator_loss(batch)),
        strict=True,
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0)
    assert set(seen) == {precision == torch.bfloat16}


# --- a run -----------------------------------------------------------------------------------


def test_they_learn_alone_at_first(configure: Configure) -> None:
    warmup = {"loss__adversarial__warmup_steps": 2, "optim__warmup_steps": 10}
    learner = learner_of(configure(**IN_A_RUN | warmup))
    network, critics = learner.trained.model.network, learner.trained.discriminators

    def norms() -> tuple[float, float]:
        return tuple(  # type: ignore[return-value]
            float(torch.stack([p.detach().double().norm() for p in part.parameters()]).sum())
            for part in (network, critics)
        )

    seen = [norms()]
    rates = []
    for step in range(4):
        measured = learner.step(step, 0.0)
        assert measured.finite and measured.discriminator_loss > 0
        seen.append(norms())
        rates.append(learner.trained.optimizer.param_groups[0]["lr"])
    models, theirs = zip(*seen, strict=True)
    assert models[0] == models[1] == models[2] != models[3] != models[4]
    assert len(set(theirs)) == 5
    # The model's warm-up begins when it does.
    assert rates[2:] == [learning_rate(learner.config.optim, step, 0.0) for step in (0, 1)]
    optimizer = learner.trained.discriminator_optimizer
    assert optimizer is not None
    theirs_now = optimizer.param_groups[0]["lr"]
    assert theirs_now == learning_rate(learner.critic_optim, 3, 0.0) < 3e-4


def test_they_come_in_late(configure: Configure) -> None:
    late = {"loss__adversarial__start": 0.5, "loss__adversarial__warmup_steps": 0}
    learner = learner_of(configure(**IN_A_RUN | late))
    critics = learner.trained.discriminators
    before = [p.detach().clone() for p in critics.parameters()]
    assert learner.step(0, 0.4).discriminator_loss == 0
    assert all(map(torch.equal, before, critics.parameters()))
    assert learner.step(1, 0.5).discriminator_loss > 0
    assert learner.step(2, 0.4).discriminator_loss > 0  # once there, they stay
    assert not all(map(torch.equal, before, critics.parameters()))


def test_their_products_count_as_cost(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps in which the model learns from them as well, whichever step it is."""
    monkeypatch.setattr(learner_module, "matrix_throughput", lambda device, dtype: 1e9)
    changes = IN_A_RUN | {"loss__adversarial__warmup_steps": 9}
    picks = ({"loss__adversarial__pick": pick} for pick in (1, 3))
    one, more = (learner_of(configure(**changes | pick)) for pick in picks)
    assert 0 < 1.05 * one.seconds_at_best < more.seconds_at_best
    assert all(p.grad is None for p in more.trained.discriminators.parameters())


def test_a_resumed_run_is_the_same_run(configure: Configure, tmp_path: Path) -> None:
    """Stopped in the discriminators' warm-up it goes on to the same last bit."""
    changes = IN_A_RUN | {
        "run__steps": 6, "run__keep": 9, "run__checkpoint_minutes": 0, "run__log_steps": 1,
        "loss__adversarial__warmup_steps": 2, "optim__accumulate": 2, "loss__unrolled": 1.0,
    }  # fmt: skip
    train(configure("whole", **changes), progress_bar=False)
    states = saved_states(tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    shutil.copy(states[1], tmp_path / "parts")
    assert read_state(states[1])["step"] == 1
    train(configure("parts", **changes), progress_bar=False)
    assert_same_state(tmp_path / "whole", tmp_path / "parts", 6)
    last = read_state(saved_states(tmp_path / "parts")[-1])["discriminators"]
    assert last.pop("0._extra_state") == {"steps": 6}
    first = read_state(states[0])["discriminators"]
    assert not all(torch.equal(tensor, first[name]) for name, tensor in last.items())


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("loss.adversarial.periods=[0]", r"loss\.adversarial\.periods\[0\] must be .* at least 1"),
        ("loss.adversarial={periods: [], fft_sizes: []}", "must name a discriminator"),
        ("loss.adversarial.period_channels=[]", "a number for each layer"),
    ],
)
def test_what_makes_no_sense_is_told(change: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_config(None, [change])


def test_crops_too_short_or_nothing_to_do_before_are_told() -> None:
    loss = made(changed(fft_sizes=[4096]))
    with pytest.raises(InputError, match=r"needs 8192 samples of a crop.*data\.crop_frames"):
        loss(model, model.denoiser, batch_of(model))
    with pytest.raises(InputError, match=r"loss\.adversarial\.start must be 0"):
        AdversarialLoss(model, changed(start=0.5))
    AdversarialLoss(model, dataclasses.replace(changed(start=0.5), unrolled=1.0))
