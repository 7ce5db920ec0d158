"""`diffwave inspect`: what a mel-spectrogram is, whether it fits a checkpoint, and what to do."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any

import torch
from torch import Tensor

from diffwave.base.errors import InputError
from diffwave.base.text import printable
from diffwave.commands.common import table
from diffwave.commands.options import Inspect
from diffwave.mel import check_mel
from diffwave.mel.conventions import Convention, convention_with, same_values
from diffwave.mel.convert import difference, rms
from diffwave.mel.incoming import AUTO, Incoming, read_incoming
from diffwave.vocoder import DEFAULT, Vocoder, bundled_for

COLUMNS, ROWS = 72, 16
SHADES = " .:-=+*#%@"
SMOOTHED = 0.75
"""Of the mel enhancer's gate: recordings' mels have 0.3 to 0.5, smoothed ones 0.97 and more."""


def run(options: Inspect) -> int:
    """Print the findings, a picture and advice, or the findings as JSON."""
    vocoder = Vocoder.from_pretrained(options.checkpoint or DEFAULT, "cpu")
    expected = convention_with(vocoder.config.mel)
    incoming = read_incoming(options.input, options.convention or AUTO, options.stats, expected)
    voice = None if options.checkpoint else bundled_for(incoming.convention)
    voice = None if voice == DEFAULT else voice
    if voice is not None:
        vocoder = Vocoder.from_pretrained(voice, "cpu")
    findings = {**_findings(incoming, vocoder), "voice": voice}
    findings["advice"] = _advice(incoming, findings, options)
    if options.json:
        print(json.dumps(findings, indent=2))
        return 0
    print(table(_rows(incoming, findings)))
    print("\n" + _picture(incoming) + "\n")
    print(printable(findings["advice"]))
    return 0


def _findings(incoming: Incoming, vocoder: Vocoder) -> dict[str, Any]:
    convention, found = incoming.convention, incoming.found
    target = Convention(vocoder.config.mel, "the checkpoint")
    mel = incoming.to(target)
    alike = difference(convention, target).exact and torch.allclose(
        mel, incoming.mel, rtol=0, atol=1e-3
    )
    fits, reason = alike, None
    if alike or same_values(convention, target.mel):
        try:
            check_mel(incoming.mel, vocoder.config.mel)
        except InputError as error:
            fits, reason = False, str(error)
    low, high = float(incoming.mel.min()), float(incoming.mel.max())
    return {
        "convention": convention.name,
        "how": incoming.how,
        "probability": None if found is None else round(found.probabilities[found.label], 4),
        "others": [] if found is None else found.others,
        "sure": incoming.doubt is None,
        "bands": len(incoming.mel),
        "frames": incoming.mel.shape[1],
        "transposed": found is not None and found.transposed,
        "seconds": round(incoming.mel.shape[1] * convention.frame_seconds, 3),
        "lowest": low,
        "highest": high,
        "at_lowest": float((incoming.mel <= low + 1e-6).float().mean()),
        "at_highest": float((incoming.mel >= high - 1e-6).float().mean()),
        "rms_db": round(20 * math.log10(rms(incoming.mel, convention) + 1e-9), 1),
        "smoothed": _smoothed(mel, vocoder),
        "checkpoint": vocoder.config.mel.name,
        "fits": fits,
        "refused": reason,
        "conversion": str(difference(convention, target)),
    }


def _smoothed(mel: Tensor, vocoder: Vocoder) -> float | None:
    """Mean of the mel enhancer's gate over a mel of the checkpoint's convention."""
    model = vocoder.model
    if model.enhancer is None:
        return None
    with torch.inference_mode():
        _, gate = model.enhance_gated(mel[None])
    return round(float(gate.sigmoid().mean()), 3)


def _rows(incoming: Incoming, findings: dict[str, Any]) -> list[tuple[str, object]]:
    mel = incoming.convention.mel
    name = findings["convention"]
    if findings["probability"] is not None:
        name += f" (probability {findings['probability']:.3f}"
        if findings["others"]:
            name += f"; or {', '.join(findings['others'])}"
        name += ")"
    else:
        name += f" ({findings['how']})"
    layout = "frames first, to be transposed" if findings["transposed"] else "bands first"
    gate = findings["smoothed"]
    return [
        ("convention", name),
        ("of", incoming.convention.used_by),
        ("shape", f"{findings['bands']} bands, {findings['frames']} frames; {layout}"),
        ("duration", f"{findings['seconds']:g} s at {mel.sample_rate} Hz, hop {mel.hop_length}"),
        ("values", f"{findings['lowest']:.4g} to {findings['highest']:.4g}"),
        ("at the ends", f"{100 * findings['at_lowest']:.1f} % lowest, "
                        f"{100 * findings['at_highest']:.2f} % highest"),
        ("level", f"about {findings['rms_db']:.0f} dB (rms, of full scale)"),
        ("detail", _detail(gate, findings["conversion"])),
        ("fits", _fit(findings)),
    ]  # fmt: skip


def _fit(findings: dict[str, Any]) -> str:
    if findings["fits"]:
        return f"yes, the voice {findings['voice']}" if findings["voice"] else "yes"
    return f"no; to {findings['checkpoint']}: {findings['conversion']}"


def _detail(gate: float | None, conversion: str) -> str:
    if gate is None:
        return "unknown: the checkpoint has no mel enhancer"
    if gate < SMOOTHED:
        what = "as of a recording"
    elif conversion.startswith("exact"):
        what = "smoothed, as a model's prediction"
    else:
        what = "smoothed, by a model or by the conversion"
    return f"{what} (gate of the mel enhancer {gate:.2f})"


def _picture(incoming: Incoming) -> str:
    """The mel in characters, low bands at the bottom."""
    log = incoming.convention.bands(incoming.mel).log()
    pooled = torch.nn.functional.adaptive_avg_pool2d(log[None], (ROWS, min(COLUMNS, log.shape[1])))[
        0
    ]
    top = float(pooled.max())
    depth = max(1e-6, min(9.0 * incoming.convention.power, top - float(pooled.min())))
    level = ((pooled - top) / depth + 1).clamp(0, 1) * (len(SHADES) - 1)
    return "\n".join("".join(SHADES[round(v)] for v in row) for row in level.flip(0).tolist())


def _advice(incoming: Incoming, findings: dict[str, Any], options: Inspect) -> str:
    words = []
    if (doubt := incoming.doubt) is not None:
        words.append(f"{doubt[0].upper()}{doubt[1:]}")
    if findings["refused"]:
        words.append(findings["refused"])
    elif findings["fits"] and not findings["transposed"] and not findings["voice"]:
        words.append("Synthesize it as it is.")
    else:
        # What was recognised of this file need not be of the next: the name is spelled out.
        command = ["diffwave", "synthesize", options.input, "out.wav"]
        command += ["--from", findings["convention"]]
        command += ["--stats", options.stats] if options.stats else []
        command += ["--checkpoint", options.checkpoint] if options.checkpoint else []
        what = f"The voice {findings['voice']} speaks it" if findings["voice"] else "Convert it"
        words.append(f"{what}: {shlex.join(command)}")
    if findings["rms_db"] < -40:
        words.append("It is very soft, or mostly silent.")
    if findings["at_highest"] > 0.01:
        words.append("Its loudest values are cut off: it was clipped.")
    if findings["at_lowest"] > 0.5:
        words.append(
            "More than half of it lies on the floor: digital silence, or a floor too high."
        )
    return " ".join(words)
