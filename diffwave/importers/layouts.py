"""How other projects call the layers of DiffWave, and what their networks were trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from diffwave.mel import MelConfig, preset

# What Tacotron 2 and SpeechBrain compute: HiFi-GAN's mel in frames centred on every 256th sample.
TACOTRON2 = dataclasses.replace(preset("hifigan"), name="tacotron2", centered=True, magnitude_eps=0)


@dataclass(frozen=True)
class Project:
    """Where a project keeps its weights, how it calls them, and what they were trained on."""

    title: str
    address: str
    licence: str
    """Of its code."""
    entry: str
    """Of the file, that holds the weights; empty: the file holds nothing else."""
    names: Mapping[str, tuple[str, ...]]
    """Its names of each of our layers (# is a number); several are stacked."""
    mel: MelConfig
    variant: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `VariantNetConfig`."""
    tabulated: bool = True
    """Whether it embeds whole steps only, and interpolates between them."""
    signal_first: bool = False
    """Whether the half of a layer that tanh takes comes before the gate's."""


_LAYER = "residual_layers.#."
LMNT = {
    "input_conv": ("input_projection",),
    "step_embedding.fc1": ("diffusion_embedding.projection1",),
    "step_embedding.fc2": ("diffusion_embedding.projection2",),
    "upsampler.conv1": ("spectrogram_upsampler.conv1",),
    "upsampler.conv2": ("spectrogram_upsampler.conv2",),
    "layers.#.step_fc": (_LAYER + "diffusion_projection",),
    "layers.#.dilated_conv": (_LAYER + "dilated_conv",),
    "mel_convs.#": (_LAYER + "conditioner_projection",),
    "layers.#.out_conv": (_LAYER + "output_projection",),
    "skip_conv": ("skip_projection",),
    "output_conv": ("output_projection",),
}
# The same, each in a wrapper: a convolution's is called conv, a linear layer's w.
SPEECHBRAIN = {
    ours: (f"{theirs}.w" if ours.startswith("step_") or ours.endswith("step_fc")
           else theirs if ours.startswith("upsampler") else f"{theirs}.conv",)
    for ours, (theirs,) in LMNT.items()
}  # fmt: skip
_BLOCK = "residual_layer.residual_blocks.#."
PHILSYN = {
    "input_conv": ("init_conv.0.conv",),
    "step_embedding.fc1": ("residual_layer.fc_t1",),
    "step_embedding.fc2": ("residual_layer.fc_t2",),
    "upsamplers.#.conv1": (_BLOCK + "upsample_conv2d.0",),
    "upsamplers.#.conv2": (_BLOCK + "upsample_conv2d.1",),
    "layers.#.step_fc": (_BLOCK + "fc_t",),
    "layers.#.dilated_conv": (_BLOCK + "dilated_conv_layer.conv",),
    "mel_convs.#": (_BLOCK + "mel_conv.conv",),
    "layers.#.out_conv": (_BLOCK + "res_conv", _BLOCK + "skip_conv"),
    "skip_conv": ("final_conv.0.conv",),
    "output_conv": ("final_conv.2.conv",),
}
PROJECTS: dict[str, Project] = {
    "lmnt": Project(
        "lmnt-com/diffwave", "https://github.com/lmnt-com/diffwave", "Apache-2.0", "model",
        LMNT, preset("lmnt"),
    ),
    "philsyn": Project(
        "philsyn/DiffWave-Vocoder", "https://github.com/philsyn/DiffWave-Vocoder", "",
        "model_state_dict", PHILSYN, TACOTRON2,
        {"step_exponent": -4.0, "upsampler_per_layer": True, "step_in_residual": True},
        tabulated=False, signal_first=True,
    ),
    "speechbrain": Project(
        "SpeechBrain", "https://github.com/speechbrain/speechbrain", "Apache-2.0", "",
        SPEECHBRAIN, TACOTRON2, {"padding": "reflect"},
    ),
}  # fmt: skip


def looks_like(fits: Callable[[Project], bool]) -> str:
    """What a message adds where a file fits another project: the first that it fits, if any."""
    titles = [project.title for project in PROJECTS.values() if fits(project)]
    return f"; it looks like one of {titles[0]}" if titles else ""
