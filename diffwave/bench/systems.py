"""The vocoders that are compared, each behind one interface: mel in, wave out.

Ours runs with its trained weights. The others are built by their own libraries at their published
sizes, with weights drawn by PyTorch's default initialisation: their speed does not depend on the
values, except that numbers so small as to be subnormal would slow a processor down.

Run as a program, `NAME MEL.npy OUT.wav`, this does the least that a synthesis by one of the others
takes: import the library, build the network, read a mel, write a wav. (It draws random weights
where a real program would read a file.)
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from diffwave.base.audio import write_audio
from diffwave.base.errors import InputError
from diffwave.base.libraries import version_of
from diffwave.bench.result import LeftOut, Setting
from diffwave.chain.sampling import Sampling, SamplingConfig
from diffwave.chain.schedule import NAMED, alpha_bars, angle
from diffwave.mel import MelConfig, preset
from diffwave.mel.normalise import NormaliseConfig
from diffwave.model import DiffusionConfig, DiffusionModel, ModelConfig
from diffwave.networks.diffwave import WaveformNetConfig
from diffwave.precision import int8
from diffwave.spaces import WaveformConfig
from diffwave.vocoder import DEFAULT, Vocoder

SEED = 0
INT8 = "-int8"
"""Ends the name of a system whose linear layers are in int8 (:mod:`diffwave.precision`)."""


@dataclass(frozen=True)
class System:
    """A vocoder as the benchmark sees it."""

    name: str
    what: str  # one line for a reader
    library: str  # name and version of what computes it
    mel: MelConfig
    module: nn.Module
    generate: Callable[[Tensor], Tensor]  # mel [B, n_mels, T] to wave [B, about T * hop_length]
    first_chunk: Callable[[Tensor, int], Tensor]
    """Mel and a number of frames F to the first [B, about F * hop_length] samples."""
    steps: int | None = None  # with which `diffwave synthesize` is this system, if it is
    counted: Callable[[Tensor], Tensor] | None = None
    """The same in float32, whose products can be counted; None: `generate` can."""

    @property
    def parameters(self) -> int:
        """How many trained numbers it has."""
        return sum(p.numel() for p in self.module.parameters())

    def frames(self, seconds: float) -> int:
        """Mel frames in that much sound, at least 2."""
        return max(2, round(seconds * self.mel.sample_rate / self.mel.hop_length))

    def duration(self, setting: Setting) -> float:
        """Seconds of sound in so many frames, all items of the batch together."""
        frames = self.frames(setting.seconds)
        return setting.batch * frames * self.mel.hop_length / self.mel.sample_rate


def build_systems(
    names: Sequence[str], checkpoint: str = DEFAULT
) -> tuple[list[System], list[LeftOut]]:
    """The systems of these names, on the CPU, and those whose library is missing.

    InputError for an unknown name, or a checkpoint that cannot be used.
    """
    found, missing = [], []
    for name in names:
        try:
            found.append(build(name, checkpoint))
        except (ImportError, OSError, RuntimeError) as error:  # a binary that does not load
            reason = str(error).partition("\n")[0]
            package = SYSTEMS[name][0]
            missing.append(LeftOut(name, "everything", f"{package} cannot be imported ({reason})"))
    return found, missing


def build(name: str, checkpoint: str = DEFAULT) -> System:
    """One system by its name; ImportError when its library is not there."""
    if name not in SYSTEMS:
        raise InputError(f"There is no system {name!r}; there are {', '.join(SYSTEMS)}.")
    return SYSTEMS[name][1](name, checkpoint)


def precision_of(name: str) -> str:
    """ "int8" of a system that ends in -int8, else "float32"."""
    return "int8" if name.endswith(INT8) else "float32"


@functools.lru_cache(maxsize=1)  # its step counts share the weights
def _trained(checkpoint: str) -> Vocoder:
    return Vocoder.from_pretrained(checkpoint, "cpu")


def _ours(name: str, checkpoint: str) -> System:
    steps = int(name.removesuffix(INT8).rpartition("@")[2])
    what = f"this project, {checkpoint}, {steps} step{'s'[: steps > 1]}"
    system = replace(_of_vocoder(name, what, _trained(checkpoint), steps), steps=steps)
    if precision_of(name) == "float32":
        return system
    rounded = Vocoder.from_pretrained(checkpoint, "cpu", "int8")
    faster = _of_vocoder(name, f"{what}, int8", rounded, steps)
    return replace(faster, module=system.module, steps=steps, counted=system.generate)


def _diffwave_base(name: str, checkpoint: str) -> System:
    """DiffWave BASE with its published six-step schedule, through the same sampler as ours."""
    fast = angle(alpha_bars(NAMED["diffwave-base-fast"])).flip(0).tolist()
    config = ModelConfig(
        mel=preset("hifigan"),
        network=WaveformNetConfig(),
        space=WaveformConfig(),
        normalise=NormaliseConfig(0, 1),
        diffusion=DiffusionConfig(prediction="eps", schedule="diffwave-base"),
        sampling=SamplingConfig(6, presets=(Sampling(6, "ancestral", tuple(fast)),)),
    )
    torch.manual_seed(SEED)
    vocoder = Vocoder(DiffusionModel(config), "cpu")
    system = _of_vocoder(name, "DiffWave BASE, 6 steps, mel projected once", vocoder, 6)

    def one_by_one(mel: Tensor) -> Tensor:
        # What is cached of the mel takes 340 MB per second; a batch of it would not fit in memory.
        return torch.cat([system.generate(item[None]) for item in mel])

    return replace(system, generate=one_by_one)


def _of_vocoder(name: str, what: str, vocoder: Vocoder, steps: int) -> System:
    def generate(mel: Tensor) -> Tensor:
        return vocoder(mel, steps=steps)

    def first_chunk(mel: Tensor, frames: int) -> Tensor:
        return next(vocoder.stream(mel, steps=steps, chunk_frames=frames))

    mel = vocoder.config.mel
    return System(name, what, version_of("diffwave"), mel, vocoder.model, generate, first_chunk)


def _vocos(name: str, checkpoint: str) -> System:
    """Vocos in the configuration of its authors' 24 kHz mel model."""
    from vocos.feature_extractors import MelSpectrogramFeatures
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone
    from vocos.pretrained import Vocos

    torch.manual_seed(SEED)
    model = Vocos(
        MelSpectrogramFeatures(sample_rate=24000, n_fft=1024, hop_length=256, n_mels=100),
        VocosBackbone(input_channels=100, dim=512, intermediate_dim=1536, num_layers=8),
        ISTFTHead(dim=512, n_fft=1024, hop_length=256, padding="center"),
    )

    def generate(mel: Tensor, backbone: nn.Module = model.backbone) -> Tensor:
        features = backbone(mel)
        with torch.autocast("cpu", enabled=False):  # bfloat16 has no complex arithmetic
            wave: Tensor = model.head(features.float())
        return wave

    what = "Vocos, 24 kHz mel; its head always in fp32"
    system = _peer(name, what, "vocos", model, generate)
    if precision_of(name) == "float32":
        return system
    faster = torch.inference_mode()(functools.partial(generate, backbone=int8(model.backbone)))
    return replace(
        system, what=f"{what}; linear layers in int8", generate=faster, counted=system.generate,
        first_chunk=lambda mel, frames: faster(mel[..., :frames]),
    )  # fmt: skip


def _hifigan(name: str, checkpoint: str) -> System:
    """HiFi-GAN V1 or V2 (Kong, Kim, Bae 2020, arXiv 2010.05646, table 5).

    transformers applies weight norm only while converting weights, so there is none to remove.
    """
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    model = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=80,
            sampling_rate=22050,
            upsample_initial_channel={"hifigan-v1": 512, "hifigan-v2": 128}[name],
            upsample_rates=[8, 8, 2, 2],
            upsample_kernel_sizes=[16, 16, 4, 4],
            resblock_kernel_sizes=[3, 7, 11],
            resblock_dilation_sizes=[[1, 3, 5]] * 3,
            normalize_before=False,
        )
    )
    torch.manual_seed(SEED)
    for module in model.modules():  # the library's own, deviation 0.01, let the signal fade away
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            module.reset_parameters()

    what = f"HiFi-GAN {name[-2:].upper()}"
    return _peer(name, what, "transformers", model, lambda mel: model(mel.transpose(1, 2)))


def _hifigan_v3(name: str, checkpoint: str) -> System:
    """HiFi-GAN V3, whose residual blocks are of type 2; transformers has only type 1."""
    from speechbrain.lobes.models.HifiGAN import HifiganGenerator
    from speechbrain.nnet.CNN import Conv1d

    torch.manual_seed(SEED)
    model = HifiganGenerator(
        in_channels=80,
        out_channels=1,
        resblock_type="2",
        resblock_dilation_sizes=[[1, 2], [2, 6], [3, 12]],
        resblock_kernel_sizes=[3, 5, 7],
        upsample_kernel_sizes=[16, 16, 8],
        upsample_initial_channel=256,
        upsample_factors=[8, 8, 4],
    )
    model.remove_weight_norm()
    for module in model.modules():
        if isinstance(module, Conv1d):
            # As published: zeros, padded by the convolution itself. The library reflects, which
            # copies every activation once and would make the whole a third slower.
            module.padding = "valid"
            module.conv.padding = ((module.kernel_size - 1) * module.dilation // 2,)

    return _peer(name, "HiFi-GAN V3", "speechbrain", model, lambda mel: model(mel)[:, 0])


def _peer(
    name: str, what: str, library: str, model: nn.Module, generate: Callable[[Tensor], Tensor]
) -> System:
    """A network that is called once; its first chunk is a call for as many frames."""
    model.eval().requires_grad_(False)
    mel = preset("vocos" if name.startswith("vocos") else "hifigan")
    inference = torch.inference_mode()(generate)
    return System(
        name, what, version_of(library), mel, model, inference, lambda m, n: inference(m[..., :n])
    )


SYSTEMS: dict[str, tuple[str, Callable[[str, str], System]]] = {
    "diffwave@1": ("diffwave", _ours),
    "diffwave@2": ("diffwave", _ours),
    "diffwave@4": ("diffwave", _ours),
    "diffwave@1-int8": ("diffwave", _ours),
    "vocos": ("vocos", _vocos),
    "vocos-int8": ("vocos", _vocos),
    "hifigan-v1": ("transformers", _hifigan),
    "hifigan-v2": ("transformers", _hifigan),
    "hifigan-v3": ("speechbrain", _hifigan_v3),
    "diffwave-base@6": ("diffwave", _diffwave_base),
}
"""By name: the package that is needed, and what builds it, given the name and our checkpoint."""

if __name__ == "__main__":
    name, mel, wav = sys.argv[1:]
    system = build(name)
    wave = system.generate(torch.from_numpy(np.load(mel))[None])[0]
    write_audio(wav, wave.clamp(-1, 1), system.mel.sample_rate)
