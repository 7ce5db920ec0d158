"""Settings of a training run; every field is a key of the YAML file and a command-line flag."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from diffwave.data.config import DataConfig, require
from diffwave.errors import InputError
from diffwave.mel import mel_config
from diffwave.mel.normalise import NormaliseConfig
from diffwave.model import DiffusionConfig, ModelConfig, SamplingConfig
from diffwave.networks import MelEnhancerConfig, SpectralNetConfig, WaveformNetConfig
from diffwave.spaces import EnergyPrior, SpectralConfig, WaveformConfig


@dataclass
class OptimConfig:
    """AdamW with warm-up and cosine decay."""

    batch_size: int = 6
    """Crops per step, of all processes together."""
    accumulate: int = 1
    """Parts of a process's share of a batch that are computed one after another, to fit memory;
    the gradient is that of the whole batch."""
    lr: float = 2e-3
    """Peak learning rate."""
    last_lr: float = 0.02
    """Fraction of the peak at the end."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """Decoupled; matrices only."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones evaluated and exported."""

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "optim.batch_size must be at least 1", self.batch_size)
        require(self.accumulate >= 1, "optim.accumulate must be at least 1", self.accumulate)
        require(0 < self.lr < math.inf, "optim.lr must be above 0", self.lr)
        require(0 <= self.last_lr <= 1, "optim.last_lr must lie in 0 .. 1", self.last_lr)
        require(self.warmup_steps >= 0, "optim.warmup_steps must be 0 or more", self.warmup_steps)
        require(
            0 <= self.weight_decay < math.inf,
            "optim.weight_decay must be 0 or more",
            self.weight_decay,
        )
        require(
            all(0 <= beta < 1 for beta in self.betas),
            "optim.betas must be 0 or more and below 1",
            self.betas,
        )
        require(self.clip_norm > 0, "optim.clip_norm must be above 0", self.clip_norm)
        require(0 <= self.ema < 1, "optim.ema must be 0 or more and below 1", self.ema)


@dataclass
class LossConfig:
    """What is minimised."""

    bin_weights: list[tuple[float, float]] = field(
        default_factory=lambda: [(2000.0, 1.0), (4000.0, 0.6), (8000.0, 0.25), (11000.0, 0.1)]
    )
    """Weight of the squared error over frequency in Hz, interpolated; spectral space only."""
    edge_frames: int = 4
    """Frames at each end of a crop left out of the loss: their context is cut off."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weights of further losses by their names in `diffwave.train.objective.LOSSES`."""
    denoising: float = 1.0
    """Weight of the denoising loss, the chain's own."""
    unrolled: float = 0.0
    """Weight of the unrolled loss, for a last stretch of training: what few steps generate is
    compared with the recording. Costs a pass per step and sample."""
    unrolled_angles: list[float] = field(default_factory=lambda: [1.0, 0.6])
    """Noise levels (angles) of the unrolled sampler, which are then the ones to sample with."""
    unrolled_jitter: float = 0.15
    """All angles but the first are shifted by up to this, at random, so that the network stays
    good at every level and other numbers of steps keep working."""
    unrolled_rounds: int = 6
    """Rounds of mel agreement before the comparison, at most what sampling has; every round costs
    time, and what a few of them do not mend is what the network should learn."""
    unrolled_each: float = 1.0
    """Weight of every estimate before the last, relative to it: 0 trains this number of steps
    alone, 1 all numbers down to a single step."""
    repulsion: float = 1.0
    """How far apart two samples of one mel are pushed: 1 is the energy distance, 0 a median."""
    restoration: float = 1.0
    """Weight of the mel restorer's loss, where there is a restorer; no other loss trains it."""
    restoration_share: float = 0.65
    """Share of the mels that are smoothed; the rest teach it to leave a recording's mel alone."""
    restoration_blur: float = 1.6
    """Largest standard deviation of the blur, in frames and in bands."""
    restoration_noise: float = 0.05
    """Largest standard deviation of the noise on a smoothed mel, in nepers."""

    def __post_init__(self) -> None:
        hz = [frequency for frequency, _ in self.bin_weights]
        weights = [weight for _, weight in self.bin_weights]
        require(
            bool(hz) and all(a < b for a, b in pairwise(hz)) and min(weights) >= 0 < max(weights),
            "loss.bin_weights must be pairs of rising Hz and a weight of 0 or more",
            self.bin_weights,
        )
        require(self.edge_frames >= 0, "loss.edge_frames must be 0 or more", self.edge_frames)
        require(
            min(self.denoising, self.unrolled, self.restoration, *self.weights.values()) >= 0
            and max(self.denoising, self.unrolled, self.restoration, *self.weights.values()) > 0,
            "loss.denoising, loss.unrolled and loss.restoration must be 0 or more, and one of them "
            "above 0",
            (self.denoising, self.unrolled, self.restoration),
        )
        require(
            0 <= self.restoration_share <= 1,
            "loss.restoration_share must lie in 0 .. 1",
            self.restoration_share,
        )
        require(
            self.unrolled_jitter >= 0,
            "loss.unrolled_jitter must be 0 or more",
            self.unrolled_jitter,
        )
        for name in (
            "repulsion", "unrolled_each", "unrolled_rounds", "restoration_blur", "restoration_noise"
        ):  # fmt: skip
            require(
                0 <= getattr(self, name) < math.inf,
                f"loss.{name} must be 0 or more",
                getattr(self, name),
            )
        first, others = self.unrolled_angles[:1], self.unrolled_angles[1:]
        moved = [
            u + sign * self.unrolled_jitter for u in others[:1] + others[-1:] for sign in (1, -1)
        ]
        require(
            bool(first)
            and all(a > b for a, b in pairwise(self.unrolled_angles))
            and all(0 < u < first[0] for u in moved)
            and 0 < first[0] <= 1,
            "loss.unrolled_angles must fall from at most 1, and stay below the first and above 0 "
            f"when moved by loss.unrolled_jitter = {self.unrolled_jitter}",
            self.unrolled_angles,
        )


@dataclass
class RunConfig:
    """How long, how often, where."""

    folder: str = ""
    """Run folder: checkpoints, TensorBoard logs, metrics.csv."""
    steps: int = 1_000_000
    """The run ends after this many steps, or"""
    minutes: float = 120.0
    """after this many minutes of training; whichever comes first, and the learning rate follows."""
    resume: str = "auto"
    """"auto": continue the run in the folder if there is one; "never": refuse if there is one."""
    init: str = ""
    """Checkpoint folder whose weights a new run starts from."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints: what a crash may cost."""
    keep: int = 3
    """Newest checkpoints that are kept."""
    validate_minutes: float = 10.0
    """Minutes between validations: loss by noise level, generated audio, pictures."""
    log_steps: int = 50
    """Steps between rows of metrics.csv."""
    seed: int = 0
    """Everything random derives from this and the step."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "mps"."""
    precision: str = "auto"
    """"float32", "bfloat16", "float16" (with a loss scale that adapts) or "auto": the faster of the
    first two on this machine."""
    compile: bool = True
    """Compile the network; falls back to eager with a warning."""
    threads: int = 0
    """CPU threads; 0: as many as PyTorch chooses."""

    def __post_init__(self) -> None:
        for name in ("steps", "log_steps", "keep"):
            require(getattr(self, name) >= 1, f"run.{name} must be at least 1", getattr(self, name))
        for name in ("seed", "threads", "checkpoint_minutes", "validate_minutes"):
            require(getattr(self, name) >= 0, f"run.{name} must be 0 or more", getattr(self, name))
        require(self.minutes > 0, "run.minutes must be above 0", self.minutes)
        for name, choices in _CHOICES.items():
            require(
                getattr(self, name) in choices,
                f"run.{name} must be one of {', '.join(choices)}",
                getattr(self, name),
            )


_CHOICES = {
    "resume": ("auto", "never"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
}


@dataclass
class TrainConfig:
    """A training run."""

    mel: str | dict[str, Any] = "hifigan"
    """Mel preset; or a preset and what is changed in it: {preset: hifigan, hop_length: 300}."""
    network: str = "spectral"
    """"spectral" or "waveform"."""
    spectral: SpectralNetConfig = field(default_factory=SpectralNetConfig)
    """Sizes of the spectral network; n_mels and bins follow from the mel preset."""
    waveform: WaveformNetConfig = field(default_factory=WaveformNetConfig)
    """Sizes of the waveform network; n_mels and hop_length follow from the mel preset."""
    restorer: MelEnhancerConfig = field(default_factory=MelEnhancerConfig)
    """Sizes of the mel enhancer of the spectral network; 0 layers: none."""
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    """How the mel is brought to the unit of the spectral network and of the mel enhancer: mean and
    scale are those of natural logarithms, and are translated into the preset's units."""
    prior: EnergyPrior = field(default_factory=EnergyPrior)
    """Of the waveform network's chain; PriorGrad's has the floor 0.1."""
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    """Chain and prediction."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Written into the checkpoint."""
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        require(
            self.network in ("spectral", "waveform"),
            "network must be 'spectral' or 'waveform'",
            self.network,
        )
        edge = self.loss.edge_frames if self.network == "spectral" else 0
        require(
            self.data.crop_frames > 2 * edge,
            f"data.crop_frames must be more than twice loss.edge_frames = {edge}",
            self.data.crop_frames,
        )

    def model_config(self) -> ModelConfig:
        """The model these settings describe."""
        mel = mel_config(self.mel)
        if self.network == "waveform":
            sizes = dataclasses.replace(
                self.waveform,
                n_mels=mel.n_mels if self.waveform.n_mels else 0,
                hop_length=mel.hop_length,
            )
            samples = WaveformConfig.of(mel, self.prior)
            # As published: the mel as it is.
            plain = NormaliseConfig(0, 1)
            return ModelConfig(mel, sizes, samples, self.diffusion, self.sampling, plain)
        if self.prior.floor < 1:
            raise InputError(
                "An energy prior is for a chain on samples; an envelope does its work."
            )
        space = SpectralConfig.of(mel)
        trunk = dataclasses.replace(self.spectral, n_mels=mel.n_mels, bins=space.bins)
        enhancer = dataclasses.replace(self.restorer, n_mels=mel.n_mels)
        return ModelConfig(
            mel,
            trunk,
            space,
            self.diffusion,
            self.sampling,
            self.normalise.of(mel),
            enhancer if enhancer.layers else None,
        )
