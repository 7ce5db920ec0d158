"""Settings of a training run; every field is a key of the YAML file and a command-line flag."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from diffwave.errors import InputError
from diffwave.mel import mel_config
from diffwave.model import DiffusionConfig, ModelConfig, SamplingConfig
from diffwave.networks.spectral import SpectralNetConfig
from diffwave.networks.waveform import WaveformNetConfig
from diffwave.representation import EnergyPrior, SpectralConfig


@dataclass
class PrepareConfig:
    """How `diffwave prepare` makes clips of recordings. Those with a mel are only resampled."""

    level: str = "rms"
    """"keep" what the recording has; "rms": bring its speech to rms_db; "peak": bring its largest
    sample to peak_db. One gain for a whole recording, so that soft sentences stay soft."""
    rms_db: float = -22.0
    """Level of the speech without its pauses, in dB of full scale; LJSpeech has about this."""
    peak_db: float = -1.0
    """Largest sample in dB of full scale; "rms" does not go beyond it either."""
    piece_seconds: tuple[float, float] = (2.0, 15.0)
    """A recording longer than the second is cut at pauses, into pieces between the two."""
    margin_seconds: float = 0.2
    """Silence left at either end of a piece, if there is more."""
    shortest_seconds: float = 0.5
    """Shorter recordings and pieces are left out."""
    max_clipped: float = 0.005
    """A recording with a larger share of its samples in flat, clipped peaks is left out."""
    validation_share: float = 0.02
    """Share of the clips, at least 4 of them but at most a quarter, that is never trained on when
    data.validation names none."""

    def __post_init__(self) -> None:
        _require(
            self.level in ("keep", "rms", "peak"),
            "data.prepare.level must be one of keep, rms, peak",
            self.level,
        )
        for name in ("rms_db", "peak_db"):
            value = getattr(self, name)
            _require(-60 <= value <= 0, f"data.prepare.{name} must lie in -60 .. 0", value)
        shortest, longest = self.piece_seconds
        _require(
            0.1 <= shortest <= longest / 2 < math.inf,
            "data.prepare.piece_seconds must be 0.1 or more, and at least twice that",
            self.piece_seconds,
        )
        for name in ("margin_seconds", "shortest_seconds"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"data.prepare.{name} must be 0 or more", value)
        for name in ("max_clipped", "validation_share"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"data.prepare.{name} must lie in 0 .. 1", value)


@dataclass
class DataConfig:
    """Which audio, and how it is cut."""

    folder: str = ""
    """Folder searched for audio files, subfolders included; or one that `diffwave prepare` made."""
    mel_folder: str = ""
    """Folder of mels (.npy, .npz, .pt, .safetensors) with the names of the audio files, to train
    on instead of the recordings' own: what an acoustic model predicted under the recordings'
    own durations. May be the folder of the audio."""
    mel_tolerance: int = 4
    """Frames by which such a mel may be longer or shorter than its recording."""
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    """Of `diffwave prepare` alone."""
    validation: list[str] = field(default_factory=list)
    """File-name patterns, such as LJ001-000?.*, never trained on."""
    crop_frames: int = 128
    """Mel frames per training example."""
    gain_db: tuple[float, float] = (-8.0, 4.0)
    """Range of the random gain, in dB."""
    dither: float = 1e-5
    """Standard deviation of white noise added to every crop, so that silence is never exact."""

    def __post_init__(self) -> None:
        _require(
            self.mel_tolerance >= 0, "data.mel_tolerance must be 0 or more", self.mel_tolerance
        )
        _require(self.crop_frames >= 1, "data.crop_frames must be at least 1", self.crop_frames)
        _require(
            -math.inf < self.gain_db[0] <= self.gain_db[1] < math.inf,
            "data.gain_db must be a lower and an upper limit",
            self.gain_db,
        )
        _require(0 <= self.dither < math.inf, "data.dither must not be negative", self.dither)


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
        _require(self.batch_size >= 1, "optim.batch_size must be at least 1", self.batch_size)
        _require(self.accumulate >= 1, "optim.accumulate must be at least 1", self.accumulate)
        _require(0 < self.lr < math.inf, "optim.lr must be above 0", self.lr)
        _require(0 <= self.last_lr <= 1, "optim.last_lr must lie in 0 .. 1", self.last_lr)
        _require(self.warmup_steps >= 0, "optim.warmup_steps must be 0 or more", self.warmup_steps)
        _require(
            0 <= self.weight_decay < math.inf,
            "optim.weight_decay must be 0 or more",
            self.weight_decay,
        )
        _require(
            all(0 <= beta < 1 for beta in self.betas),
            "optim.betas must be 0 or more and below 1",
            self.betas,
        )
        _require(self.clip_norm > 0, "optim.clip_norm must be above 0", self.clip_norm)
        _require(0 <= self.ema < 1, "optim.ema must be 0 or more and below 1", self.ema)


@dataclass
class LossConfig:
    """What is minimised."""

    bin_weights: list[tuple[float, float]] = field(
        default_factory=lambda: [(2000.0, 1.0), (4000.0, 0.6), (8000.0, 0.25), (11000.0, 0.1)]
    )
    """Weight of the squared error over frequency in Hz, interpolated; spectral space only."""
    edge_frames: int = 4
    """Frames at each end of a crop left out of the loss: their context is cut off."""
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
    """Rounds of mel agreement before the comparison, at most sampling.mel_rounds; every round costs
    time, and what a few of them do not mend is what the network should learn."""
    unrolled_each: float = 1.0
    """Weight of every estimate before the last, relative to it: 0 trains this number of steps alone,
    1 all numbers down to a single step."""
    repulsion: float = 1.0
    """How far apart two samples of one mel are pushed: 1 is the energy distance, 0 a median."""

    def __post_init__(self) -> None:
        hz = [frequency for frequency, _ in self.bin_weights]
        weights = [weight for _, weight in self.bin_weights]
        _require(
            bool(hz) and all(a < b for a, b in pairwise(hz)) and min(weights) >= 0 < max(weights),
            "loss.bin_weights must be pairs of rising Hz and a weight of 0 or more",
            self.bin_weights,
        )
        _require(self.edge_frames >= 0, "loss.edge_frames must be 0 or more", self.edge_frames)
        _require(
            min(self.denoising, self.unrolled) >= 0 < max(self.denoising, self.unrolled),
            "loss.denoising and loss.unrolled must be 0 or more, and one of them above 0",
            (self.denoising, self.unrolled),
        )
        _require(
            self.unrolled_jitter >= 0,
            "loss.unrolled_jitter must be 0 or more",
            self.unrolled_jitter,
        )
        for name in ("repulsion", "unrolled_each", "unrolled_rounds"):
            _require(
                0 <= getattr(self, name) < math.inf,
                f"loss.{name} must be 0 or more",
                getattr(self, name),
            )
        first, others = self.unrolled_angles[:1], self.unrolled_angles[1:]
        moved = [
            u + sign * self.unrolled_jitter for u in others[:1] + others[-1:] for sign in (1, -1)
        ]
        _require(
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
            _require(
                getattr(self, name) >= 1, f"run.{name} must be at least 1", getattr(self, name)
            )
        for name in ("seed", "threads", "checkpoint_minutes", "validate_minutes"):
            _require(getattr(self, name) >= 0, f"run.{name} must be 0 or more", getattr(self, name))
        _require(self.minutes > 0, "run.minutes must be above 0", self.minutes)
        for name, choices in _CHOICES.items():
            _require(
                getattr(self, name) in choices,
                f"run.{name} must be one of {', '.join(choices)}",
                getattr(self, name),
            )


_CHOICES = {
    "resume": ("auto", "never"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
}


def _require(holds: bool, sentence: str, value: object) -> None:
    if not holds:
        raise InputError(f"The setting {sentence}, not {value!r}.")


@dataclass
class TrainConfig:
    """A training run."""

    mel: str | dict[str, Any] = "hifigan"
    """Mel preset; or a preset and what is changed in it: {preset: hifigan, hop_length: 300}."""
    network: str = "spectral"
    """"spectral" or "waveform"."""
    spectral: SpectralNetConfig = field(default_factory=SpectralNetConfig)
    """Sizes of the spectral network; n_mels and bins follow from the mel preset. mel_mean and
    mel_scale are those of natural logarithms, and are translated into the preset's units."""
    waveform: WaveformNetConfig = field(default_factory=WaveformNetConfig)
    """Sizes of the waveform network; n_mels and hop_length follow from the mel preset."""
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
        _require(
            self.network in ("spectral", "waveform"),
            "network must be 'spectral' or 'waveform'",
            self.network,
        )
        edge = self.loss.edge_frames if self.network == "spectral" else 0
        _require(
            self.data.crop_frames > 2 * edge,
            f"data.crop_frames must be more than twice loss.edge_frames = {edge}",
            self.data.crop_frames,
        )

    def model_config(self) -> ModelConfig:
        """The model these settings describe."""
        mel = mel_config(self.mel)
        prior = self.prior if self.prior.floor < 1 else None
        if self.network == "waveform":
            sizes = dataclasses.replace(
                self.waveform,
                n_mels=mel.n_mels if self.waveform.n_mels else 0,
                hop_length=mel.hop_length,
            )
            return ModelConfig(mel, sizes, None, self.diffusion, self.sampling, prior)
        space = SpectralConfig(mel.n_fft, mel.hop_length, mel.pad_left, mel.n_mels)
        trunk = dataclasses.replace(
            self.spectral,
            n_mels=mel.n_mels,
            bins=space.bins,
            mel_mean=mel.log_factor * self.spectral.mel_mean + mel.offset,
            mel_scale=mel.log_factor * self.spectral.mel_scale,
        )
        return ModelConfig(mel, trunk, space, self.diffusion, self.sampling, prior)
