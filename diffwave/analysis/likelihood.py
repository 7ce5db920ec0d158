"""The variational bound of a checkpoint on recordings, by term and by frame.

A chain on samples bounds the code length of the recording given its mel, in bits per 16-bit sample:
samples are whole multiples of 2^-15, and the decoder is the mass that its Gaussian has within half
a step of them (Ho et al. 2020, eq. 13), so nothing is dequantised. A prior with a deviation changes
the coordinates of the chain; the KL terms do not depend on that, and the decoder's mean and
deviation are taken back to samples.

The whitened STFT has no such bound. Frames overlap, so its coefficients are several times as many
as the samples, a recording is not one-to-one with a state, and the noise of the chain, an STFT of
white noise, is confined to a subspace to which the whitened states do not belong: between such
Gaussians the KL divergence is infinite. What is computed there is the sum of the terms of the
coefficients one by one, each with the variance that it has by itself, in nats per coefficient: the
denoising error, weighted as the bound weighs it. It compares recordings and checkpoints of one
space; it is no code length. The decoder's density is that of the whitened coefficient; that of the
STFT's own is lower by the logarithm of the prior's deviation, which is listed beside it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffwave.analysis.states import States
from diffwave.base.errors import InputError
from diffwave.chain.bound import Decoder, bound_terms
from diffwave.chain.gaussian import discretised_nll, normal_nll
from diffwave.chain.sampling import Sampling
from diffwave.data.crops import Clip
from diffwave.dsp.chunks import chunks
from diffwave.mel import check_mel
from diffwave.model import DiffusionModel
from diffwave.spaces import Prior

PCM_STEP = 2.0**-15  # of 16-bit samples in -1 .. 1.
CONTINUOUS_STEPS = 25
"""Steps of the chain of a model that was trained at every level, unless told otherwise."""
CHUNK_FRAMES = 256  # frames whose states are held at a time


@dataclass(frozen=True)
class UtteranceBound:
    """The bound of one recording."""

    name: str
    steps: NDArray[np.float64]
    """Decoder L_0, then L_1 .. L_{T-1}, then the prior term L_T: nats of every frame, each estimate
    with noise of its own, [draws, T + 1, frames]."""
    log_deviation: NDArray[np.float64]
    """What the density of unscaled coordinates adds, nats of every frame, [frames]; 0 of samples,
    which have a mass instead."""
    scale: float  # from nats of a frame to the unit of :attr:`Bound.unit`

    @property
    def frames(self) -> NDArray[np.float64]:
        """The bound of every frame, in the unit, mean over the draws, [frames]."""
        total: NDArray[np.float64] = self.steps.mean(0).sum(0) * self.scale
        return total


class Bound:
    """Estimates the bound of one model."""

    def __init__(
        self, model: DiffusionModel, steps: int | None = None, draws: int = 2, seed: int = 0
    ) -> None:
        """The chain is the one that was trained, whole, or of `steps` steps as sampling visits it.

        Args:
            model: on the device where it should run.
            steps: of the chain; a model that was trained at every level has
                :data:`CONTINUOUS_STEPS` in equal steps of the angle unless told otherwise.
            draws: independent estimates, from which the error of the noise is known.
            seed: of the noise.

        Raises:
            InputError: for steps that the model cannot be sampled with.
        """
        self.model, self.draws, self.seed = model, draws, seed
        trained = model.denoiser.trained_levels
        if steps is None:
            sampling = Sampling(CONTINUOUS_STEPS if trained is None else len(trained))
        else:
            sampling = model.sampling(steps, "ancestral")
        self.levels = model.denoiser.levels(sampling)
        self.states = States(model)
        self.device = self.states.device

    @property
    def unit(self) -> str:
        """Of everything but the nats of `UtteranceBound.steps`."""
        return "bits per sample" if self.model.space.of_samples else "nats per coefficient"

    @torch.inference_mode()
    def of(
        self, name: str, samples: NDArray[np.int16], mel: Tensor | None = None
    ) -> UtteranceBound:
        """The bound of a recording given its mel.

        Args:
            name: of the recording.
            samples: at the model's rate, [L].
            mel: [n_mels, T] in place of the recording's own, T = L // hop_length, or one more.

        Raises:
            InputError: for a recording that is too short for a mel, a mel of another convention or
                length, and without pyworld for a model with a source.
        """
        space, clip = self.model.space, Clip(name, samples)
        own = self.states.mel(clip).cpu()
        frames = own.shape[-1]
        given = own if mel is None else check_mel(mel, self.model.config.mel)
        if not 0 <= given.shape[-1] - frames <= 1:
            raise InputError(
                f"The mel has {given.shape[-1]} frames, the recording {name} has {frames}."
            )
        clip = self.states.excited(clip)
        context = space.reach(self.model.network.receptive_field, 1, 0)
        found = []
        for place, kept in chunks(frames, CHUNK_FRAMES, context):
            stretch = given[..., place].to(self.device)
            found.append(self._stretch(clip, stretch, place.start)[..., kept])
        together = torch.cat(found, dim=-1).numpy()
        per_frame = math.log(2) * space.hop_length
        if not space.of_samples:  # a coefficient
            per_frame = space.noise(given.new_zeros(1, space.context(1)).to(self.device)).numel()
        return UtteranceBound(name, together[:, :-1], together[0, -1], 1 / per_frame)

    def _stretch(self, clip: Clip, mel: Tensor, first: int) -> Tensor:
        """Terms and log-deviation of the frames of a mel [1, n_mels, T], [draws, T + 2, frames]."""
        model, frames = self.model, mel.shape[-1]
        encoded = self.states.of(clip, mel, first)
        wave, prior, x_0, _ = encoded
        cond = model.denoiser.condition(mel, prior)
        denoise = functools.partial(model.denoiser.estimate, cond=cond)
        decoder: Decoder = normal_nll
        if model.space.of_samples:
            decoder = functools.partial(_pcm_decoder, wave=wave, prior=prior)

        def by_frame(term: Tensor) -> Tensor:
            return term.reshape(frames, -1).cpu().double().sum(-1)

        change = torch.zeros(frames, dtype=torch.float64)
        if not model.space.of_samples:
            change = by_frame(prior.deviation.log().expand_as(x_0))
        draws = []
        for stream in range(0, self.draws * (len(self.levels) + 1), len(self.levels) + 1):
            terms = bound_terms(
                denoise,
                x_0,
                self.levels,
                lambda t, stream=stream: self.states.noise(self.seed, stream + t, encoded),  # type: ignore[misc]
                decoder,
            )
            draws.append(torch.stack([*map(by_frame, terms), change]))
        return torch.stack(draws)


def _pcm_decoder(
    x_0: Tensor, mean: Tensor, variance: Tensor, *, wave: Tensor, prior: Prior
) -> Tensor:
    """Nats of 16-bit samples, whose Gaussian is that of the state in the prior's deviation."""
    deviation = prior.deviation.cpu().double()
    middle = prior.mean.cpu().double() + deviation * mean.cpu().double()
    scaled = deviation.square() * variance.cpu().double()
    return discretised_nll(wave.cpu(), middle, scaled, PCM_STEP)


@dataclass(frozen=True)
class Estimate:
    """A mean over recordings, weighted by their length, and how far it can be trusted."""

    value: float
    error: float  # standard error over recordings, the noise's share included; NaN of a single one
    noise_error: float  # standard error that the noise drawn alone leaves; NaN of a single draw


def estimate(bounds: list[UtteranceBound], pick: slice) -> Estimate:
    """Mean of the sum of some of the terms.

    The mean over recordings of unequal length is a ratio of sums, and its standard error that of
    the residuals (Cochran 1977, Sampling Techniques, section 2.11).

    Args:
        bounds: at least one.
        pick: which of the T + 1 terms of `UtteranceBound.steps`.
    """
    draws = [bound.steps[:, pick].sum((1, 2)) * bound.scale for bound in bounds]
    sizes = np.array([bound.steps.shape[-1] for bound in bounds], float)
    return ratio(np.array([draw.mean() for draw in draws]), sizes, [np.asarray(d) for d in draws])


def log_deviation(bounds: list[UtteranceBound]) -> Estimate:
    """Mean of what the density of unscaled coordinates adds; no noise is drawn for it."""
    sums = np.array([bound.log_deviation.sum() * bound.scale for bound in bounds])
    sizes = np.array([len(bound.log_deviation) for bound in bounds], float)
    return ratio(sums, sizes, [np.repeat(value, 2) for value in sums])


def ratio(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], draws: list[NDArray[np.float64]]
) -> Estimate:
    """Sum over sizes [N], with errors; draws: independent estimates of every sum."""
    count, value = len(sums), float(sums.sum() / sizes.sum())
    error = noise_error = math.nan
    if count > 1:
        residuals = sums - value * sizes
        error = math.sqrt(count / (count - 1) * (residuals**2).sum()) / sizes.sum()
    if len(draws[0]) > 1:
        variance = sum(float(draw.var(ddof=1)) / len(draw) for draw in draws)
        noise_error = math.sqrt(variance) / sizes.sum()
    return Estimate(value, error, noise_error)
