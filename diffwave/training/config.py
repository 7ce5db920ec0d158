"""Settings of a training run; every field is a key of the YAML file and a command-line flag."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from diffwave.errors import InputError
from diffwave.mel import preset
from diffwave.model import DiffusionConfig, ModelConfig, SamplingConfig
from diffwave.networks.spectral import SpectralNetConfig
from diffwave.networks.waveform import WaveformNetConfig
from diffwave.representation import SpectralConfig


@dataclass
class DataConfig:
    """Which audio, and how it is cut."""

    folder: str = ""
    """Folder searched for audio files, subfolders included."""
    validation: list[str] = field(default_factory=list)
    """File-name patterns, such as LJ001-000?.*, never trained on."""
    crop_frames: int = 128
    """Mel frames per training example."""
    gain_db: tuple[float, float] = (-8.0, 4.0)
    """Range of the random gain, in dB."""
    dither: float = 1e-5
    """Standard deviation of white noise added to every crop, so that silence is never exact."""


@dataclass
class OptimConfig:
    """AdamW with warm-up and cosine decay."""

    batch_size: int = 6
    """Crops per step."""
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
    repulsion: float = 1.0
    """How far apart two samples of one mel are pushed: 1 is the energy distance, 0 a median."""


@dataclass
class RunConfig:
    """How long, how often, where."""

    folder: str = ""
    """Run folder: checkpoints, TensorBoard logs, metrics.csv."""
    steps: int = 1_000_000
    """The run ends after this many steps, or"""
    minutes: float = 120.0
    """after this many minutes of training, whichever comes first; the learning rate follows suit."""
    resume: str = "auto"
    """"auto": continue the run in the folder if there is one; "never": refuse if there is one."""
    init: str = ""
    """Checkpoint folder whose weights a new run starts from."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints."""
    validate_minutes: float = 10.0
    """Minutes between validations: loss by noise level, generated audio, pictures."""
    log_steps: int = 50
    """Steps between rows of metrics.csv."""
    seed: int = 0
    """Everything random derives from this and the step."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "mps"."""
    precision: str = "auto"
    """"float32", "bfloat16", or the faster of the two on this machine."""
    compile: bool = True
    """Compile the network; falls back to eager with a warning."""
    threads: int = 0
    """CPU threads; 0: as many as PyTorch chooses."""


@dataclass
class TrainConfig:
    """A training run."""

    mel: str = "hifigan"
    """Mel preset."""
    network: str = "spectral"
    """"spectral" or "waveform"."""
    spectral: SpectralNetConfig = SpectralNetConfig()
    """Sizes of the spectral network; n_mels and bins follow from the mel preset."""
    waveform: WaveformNetConfig = WaveformNetConfig()
    """Sizes of the waveform network; n_mels and hop_length follow from the mel preset."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """Chain and prediction."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Written into the checkpoint."""
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def model_config(self) -> ModelConfig:
        """The model these settings describe."""
        mel = preset(self.mel)
        if self.network == "waveform":
            sizes = dataclasses.replace(
                self.waveform,
                n_mels=mel.n_mels if self.waveform.n_mels else 0,
                hop_length=mel.hop_length,
            )
            return ModelConfig(mel, sizes, None, self.diffusion, self.sampling)
        if self.network != "spectral":
            raise InputError(f"A network is 'spectral' or 'waveform', not {self.network!r}.")
        space = SpectralConfig(mel.n_fft, mel.hop_length, mel.pad_left, mel.n_mels)
        trunk = dataclasses.replace(self.spectral, n_mels=mel.n_mels, bins=space.bins)
        return ModelConfig(mel, trunk, space, self.diffusion, self.sampling)
