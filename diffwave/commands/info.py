"""`diffwave info`: what a checkpoint is."""

from __future__ import annotations

from torch import nn

from diffwave.base.files import json_text
from diffwave.base.schema import stored
from diffwave.base.text import counted
from diffwave.checkpoint import load_config
from diffwave.commands.common import table
from diffwave.commands.options import Info
from diffwave.vocoder import DEFAULT, Vocoder, bundled, find_checkpoint


def run(options: Info) -> int:
    """The settings of a checkpoint as a table or as JSON, or the bundled ones, with their mels."""
    if options.checkpoint is None:
        print(
            json_text(bundled(), indent=0)
            if options.json
            else table([_line(name) for name in bundled()])
        )
        return 0
    folder = find_checkpoint(options.checkpoint)
    vocoder = Vocoder.from_pretrained(folder, "cpu")
    if options.json:
        count = sum(parameter.numel() for parameter in vocoder.model.learned())
        print(json_text({"parameters": count, **stored(vocoder.config)}), end="")
        return 0
    print(table([("checkpoint", folder), *_rows(vocoder)]))
    print("\n" + table([("steps", "solver", "iterations", "noise levels"), *_presets(vocoder)]))
    return 0


def _line(name: str) -> tuple[str, ...]:
    mel = load_config(find_checkpoint(name)).mel
    which = "the default" if name == DEFAULT else ""
    return name, f"{mel.sample_rate} Hz", f"{mel.name} mels", which


def _rows(vocoder: Vocoder) -> list[tuple[str, object]]:
    config, model = vocoder.config, vocoder.model
    mel, sampling = config.mel, config.sampling
    chain = f"{config.diffusion.schedule}, predicts {config.diffusion.prediction}"
    return [
        ("audio", f"{vocoder.sample_rate} Hz"),
        ("mel", f"{mel.name}: {mel.n_mels} bands, {mel.fmin:g} to {mel.fmax:g} Hz, {mel.log}"),
        ("frames", f"hop {mel.hop_length}, window {mel.win_length}, FFT {mel.n_fft} samples"),
        ("network", f"{config.network.kind}, {_size(model.network)}"),
        ("mel enhancer", "none" if model.enhancer is None else _size(model.enhancer)),
        ("diffusion", chain),
        ("sampling", f"{counted(sampling.default, 'step')} by default"),
    ]


def _size(module: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()) / 1e6:.2f}M parameters"


def _presets(vocoder: Vocoder) -> list[tuple[object, ...]]:
    sampling = vocoder.config.sampling
    presets = {preset.steps: preset for preset in (sampling.preset(), *sampling.presets)}
    return [
        (steps, one.solver, one.n_iter, ", ".join(map("{:g}".format, one.levels)) or "even")
        for steps, one in sorted(presets.items())
    ]
