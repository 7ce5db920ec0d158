"""Settings of a training run; every field is a key of the YAML file and a command-line option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Literal

from msgspec import Meta

from diffwave.base.errors import InputError
from diffwave.base.schema import (
    AtLeastOne,
    BelowOne,
    Count,
    NotNegative,
    Positive,
    Share,
    Threads,
    shown,
)
from diffwave.data.config import DataConfig
from diffwave.mel import mel_config
from diffwave.mel.normalise import NormaliseConfig
from diffwave.model import DiffusionConfig, ModelConfig, SamplingConfig
from diffwave.networks import (
    MelEnhancerConfig,
    SourcePredictorConfig,
    SpectralNetConfig,
    WaveformNetConfig,
)
from diffwave.spaces import EnergyPrior, SpectralConfig, WaveformConfig

Minutes = Annotated[float, Meta(ge=0)]  # infinity: never
PULSE_MOMENTUM = 0.87
"""Of the mel-consistency iterations of a voice with a source: at .9 pulses become blunt."""


@dataclass
class OptimConfig:
    """AdamW with warm-up and cosine decay."""

    batch_size: Annotated[int, Meta(ge=1, le=65_536)] = 6
    """Crops per step, of all processes together."""
    accumulate: AtLeastOne = 1
    """Parts of a process's share of a batch that are computed one after another, to fit memory;
    the gradient is that of the whole batch."""
    lr: Annotated[float, Meta(gt=0, le=1e9)] = 2e-3
    """Peak learning rate."""
    last_lr: Share = 0.02
    """Fraction of the peak at the end."""
    warmup_steps: Count = 100
    """Steps of linear warm-up."""
    weight_decay: NotNegative = 0.01
    """Decoupled; matrices only."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.99)
    """AdamW's."""
    clip_norm: Positive = 1.0
    """Largest norm of the gradient."""
    ema: BelowOne = 0.999
    """Decay of the averaged weights, which are the ones evaluated and exported."""


@dataclass
class AdversarialConfig:
    """Discriminators of what few steps generate, and what the adversarial loss makes of them."""

    periods: list[AtLeastOne] = field(default_factory=lambda: [2, 3, 5, 7, 11])
    """Of the period discriminators, in samples."""
    period_channels: list[AtLeastOne] = field(default_factory=lambda: [16, 48, 96, 128])
    """Channels of their layers, each of which looks at every third step of the one before."""
    fft_sizes: list[Annotated[int, Meta(ge=16, le=1 << 16)]] = field(
        default_factory=lambda: [1024, 512, 256]
    )
    """Of the spectrogram discriminators, in samples; the hop is a quarter."""
    spectral_channels: AtLeastOne = 16
    """Channels of their layers."""
    pick: Count = 4
    """Discriminators that a step looks at, drawn for each step; 0: all of them."""
    feature_matching: NotNegative = 3.0
    """Weight of the distance of the discriminators' features, relative to the adversarial term."""
    lr: Annotated[float, Meta(gt=0, le=1e9)] = 3e-4
    """Peak learning rate of the discriminators; it warms up and falls as optim.lr does."""
    start: BelowOne = 0.0
    """Share of the run after which the discriminators come in."""
    warmup_steps: Count = 300
    """Steps from there on in which the discriminators learn alone and the model waits."""

    def __post_init__(self) -> None:
        if not (self.periods or self.fft_sizes):
            raise InputError(
                "One of the settings loss.adversarial.periods and loss.adversarial.fft_sizes must "
                "name a discriminator."
            )
        if self.periods and not self.period_channels:
            raise InputError(
                "The setting loss.adversarial.period_channels must have a number for each layer."
            )


@dataclass
class LossConfig:
    """What is minimised."""

    bin_weights: list[tuple[NotNegative, NotNegative]] = field(
        default_factory=lambda: [(2000.0, 1.0), (4000.0, 0.6), (8000.0, 0.25), (11000.0, 0.1)]
    )
    """Weight of the squared error over frequency in Hz, interpolated; spectral space only."""
    edge_frames: Count = 4
    """Frames at each end of a crop left out of the loss: their context is cut off."""
    weights: dict[str, NotNegative] = field(default_factory=dict)
    """Weights of further losses by their names in `diffwave.train.objective.LOSSES`."""
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    """Of the adversarial loss, whose weight is `loss.weights: {adversarial: 1}`."""
    denoising: NotNegative = 1.0
    """Weight of the denoising loss, the chain's own."""
    bound: NotNegative = 0.001
    """Weight of the bound in the denoising loss, by which variances are learned
    (diffusion.variance: learned) and nothing else is."""
    unrolled: NotNegative = 0.0
    """Weight of the unrolled loss, for a last stage of training: what few steps generate is
    compared with the recording. Costs a pass per step and sample."""
    unrolled_levels: list[float] = field(default_factory=lambda: [1.0, 0.6])
    """Noise levels of the unrolled sampler, which are then the ones to sample with."""
    unrolled_jitter: NotNegative = 0.15
    """All noise levels but the first are shifted by up to this, at random, so that the network
    stays good at every level and other numbers of steps keep working."""
    unrolled_n_iter: Count = 6
    """Mel-consistency iterations before the comparison, at most what sampling has; each costs
    time, and what a few of them do not mend is what the network should learn."""
    unrolled_each: NotNegative = 1.0
    """Weight of every estimate before the last, relative to it: 0 trains this number of steps
    alone, 1 all numbers down to a single step."""
    unrolled_whole: Share = 1.0
    """Share of the steps of training that unroll all noise levels; the others, drawn at random,
    unroll the first alone, which costs half or less."""
    repulsion: NotNegative = 1.0
    """How far apart two samples of one mel are pushed: 1 is the energy distance, 0 a median."""
    source: NotNegative = 1.0
    """Weight of the source predictor's loss, where there is a source; no other loss trains it."""
    enhancement: NotNegative = 1.0
    """Weight of the mel enhancer's loss, where there is an enhancer; no other loss trains it."""
    enhancement_share: Share = 0.65
    """Share of the mels that are smoothed; the rest teach it to leave a recording's mel alone."""
    enhancement_blur: NotNegative = 1.6
    """Largest standard deviation of the blur, in frames and in bands."""
    enhancement_noise: NotNegative = 0.05
    """Largest standard deviation of the noise on a smoothed mel, in nepers."""

    def __post_init__(self) -> None:
        hz, weights = [hz for hz, _ in self.bin_weights], [weight for _, weight in self.bin_weights]
        if not _falling(hz[::-1]) or not max(weights) > 0:
            raise InputError(
                "The setting loss.bin_weights must be pairs of rising Hz and a weight, one of them "
                f"above 0, not {shown(self.bin_weights)}."
            )
        ours = (self.denoising, self.unrolled, self.enhancement, self.source)
        if not max(*ours, *self.weights.values()) > 0:
            raise InputError(
                "One of the settings loss.denoising, loss.unrolled, loss.enhancement, loss.source "
                "and loss.weights must be above 0."
            )
        levels, jitter = self.unrolled_levels, self.unrolled_jitter
        moved = [level + by for level in levels[1:] for by in (jitter, -jitter)]
        inside = _falling(levels) and levels[0] <= 1 and all(0 < u < levels[0] for u in moved)
        if not inside or levels[0] <= 0:
            raise InputError(
                "The setting loss.unrolled_levels must fall from at most 1, and stay below the "
                f"first and above 0 when moved by loss.unrolled_jitter = {jitter}, not "
                f"{shown(levels)}."
            )


def _falling(values: Sequence[float]) -> bool:
    return bool(values) and all(high > low for high, low in pairwise(values))


@dataclass
class RunConfig:
    """How long, how often, where."""

    folder: str = ""
    """Run folder: checkpoints, TensorBoard logs, metrics.csv."""
    steps: AtLeastOne = 1_000_000
    """The run ends after this many steps, or"""
    minutes: Positive = 120.0
    """after this many minutes of training; whichever comes first, and the learning rate follows."""
    resume: Literal["auto", "never"] = "auto"
    """"auto": continue the run in the folder if there is one; "never": refuse if there is one."""
    init: str = ""
    """Checkpoint folder whose weights a new run starts from."""
    warm_start: str = ""
    """Bundled name or checkpoint folder, of another mel or sample rate, whose weights a new run
    without run.init starts from, moved to the bands and bins of its own mel."""
    checkpoint_minutes: Minutes = 10.0
    """Minutes between checkpoints: what a crash may cost."""
    keep: AtLeastOne = 3
    """Newest checkpoints that are kept."""
    validate_minutes: Minutes = 10.0
    """Minutes between validations: loss by noise level, generated audio, pictures."""
    validate_clips: Count = 0
    """Clips that a validation looks at, spread evenly over those held out; 0: all of them."""
    log_steps: AtLeastOne = 50
    """Steps between rows of metrics.csv."""
    seed: Count = 0
    """Everything random derives from this and the step."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "mps"."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"float32", "bfloat16", "float16" (with a loss scale that adapts) or "auto": the faster of the
    first two on this machine."""
    compile: bool = True
    """Compile the network; falls back to eager with a warning."""
    threads: Threads = 0
    """CPU threads; 0: as many as PyTorch chooses."""


@dataclass
class TrainConfig:
    """A training run."""

    mel: str | dict[str, Any] = "hifigan"
    """Mel preset; or a preset and what is changed in it: {preset: hifigan, hop_length: 300}."""
    network: Literal["spectral", "waveform"] = "spectral"
    """"spectral" or "waveform"."""
    spectral: SpectralNetConfig = field(default_factory=SpectralNetConfig)
    """Sizes of the spectral network."""
    waveform: WaveformNetConfig = field(default_factory=WaveformNetConfig)
    """Sizes of the waveform network."""
    enhancer: MelEnhancerConfig = field(default_factory=MelEnhancerConfig)
    """Sizes of the mel enhancer of the spectral network; 0 layers: none."""
    source: SourcePredictorConfig = field(default_factory=lambda: SourcePredictorConfig(layers=0))
    """Sizes of the source predictor of the spectral network, whose prior then has pulses; 0 layers:
    no source."""
    source_bands: list[NotNegative] = field(
        default_factory=lambda: [0, 500, 1000, 2000, 3000, 4000, 5500, 7000, 8500, 11025]
    )
    """Limits in Hz of the bands of the pulses' share; those above half the sample rate do not
    count, and that is the last."""
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    """Mean and deviation of natural-logarithm mels, by which the spectral network and the enhancer
    normalise theirs; translated into the preset's units."""
    prior: EnergyPrior = field(default_factory=EnergyPrior)
    """Of the waveform network's chain; PriorGrad's has the floor 0.1."""
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    """Chain and prediction."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Written into the checkpoint."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which audio, and how it is cut."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """AdamW with warm-up and cosine decay."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What is minimised."""
    run: RunConfig = field(default_factory=RunConfig)
    """How long, how often, where."""

    def __post_init__(self) -> None:
        edge = self.loss.edge_frames if self.network == "spectral" else 0
        if self.data.crop_frames <= 2 * edge:
            raise InputError(
                f"The setting data.crop_frames must be more than twice loss.edge_frames = {edge}, "
                f"not {self.data.crop_frames}."
            )

    def model_config(self) -> ModelConfig:
        """The model these settings describe."""
        mel = mel_config(self.mel)
        if self.network == "waveform":
            samples, plain = WaveformConfig(prior=self.prior), NormaliseConfig(0, 1)
            return ModelConfig(mel, self.waveform, samples, self.diffusion, self.sampling, plain)
        if self.prior.floor < 1:
            raise InputError(
                "An energy prior is for a chain on samples; an envelope does its work."
            )
        space, nyquist = SpectralConfig(), mel.sample_rate / 2
        if self.source.layers:
            bands = (*(hz for hz in self.source_bands if hz < nyquist), nyquist)
            space = SpectralConfig(source_bands=bands, momentum=PULSE_MOMENTUM)
        return ModelConfig(
            mel,
            self.spectral,
            space,
            self.diffusion,
            self.sampling,
            self.normalise.of(mel),
            self.enhancer if self.enhancer.layers else None,
            self.source if self.source.layers else None,
        )
