"""Spectrograms as PNG: one pixel for each frame and bin, no axes (whoever shows them draws those).

All pictures of a page share one scale in dB, so that what looks louder is louder.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from diffwave.base.libraries import needed_for

WINDOW, STEP = 0.046, 0.006  # s: partials of a voice stand apart, and so do its syllables
MAX_COLUMNS = 1200  # of a picture; longer waves are averaged over time
RANGE_DB = 80.0  # from the darkest colour to the brightest
DIFFERENCE_DB = 30.0  # the strongest colours of a difference are at + and - this
LEVEL_COLOURS, DIFFERENCE_COLOURS = "magma", "RdBu_r"  # names in matplotlib


def levels_db(wave: Tensor, sample_rate: int) -> NDArray[np.float32]:
    """Power spectrogram of a wave [L], in dB relative to a sine at full scale.

    Returns:
        [bins, columns], bin k at k * sample_rate / (2 * bins) Hz; the columns divide the duration
        evenly, at most `MAX_COLUMNS`. Digital silence is -200 dB.
    """
    n_fft = max(16, 1 << round(math.log2(WINDOW * sample_rate)))
    hop = max(1, round(STEP * sample_rate))
    columns = math.ceil(len(wave) / hop)
    left = n_fft // 2 - hop // 2  # a column shows the middle of its own stretch of time
    right = max(0, (columns - 1) * hop + n_fft - left - len(wave))
    padded = F.pad(wave.float(), (left, right))
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    power = (spectrum[:-1, :columns].abs() * 2 / window.sum()).square()
    if columns > MAX_COLUMNS:
        power = F.adaptive_avg_pool1d(power, MAX_COLUMNS)
    return (10 * torch.log10(power + 1e-20)).numpy()


def common_top(spectrograms: Iterable[NDArray[np.float32]]) -> float:
    """The level of the brightest colour for all these `levels_db`, a multiple of 5 dB.

    Above it is no more than a thousandth of the loudest: single partials, which would leave the
    rest in the dark. It lies between 0 dB and 80 dB below (all of it silent).
    """
    loudest = max(float(np.percentile(levels, 99.9)) for levels in spectrograms)
    return float(min(max(5 * math.ceil(loudest / 5), -RANGE_DB), 0.0))


def spectrogram_png(levels: NDArray[np.float32], top: float) -> bytes:
    """The picture of `levels_db`, low frequencies below; colours from top - RANGE_DB to `top`."""
    return _png((levels - top) / RANGE_DB + 1, LEVEL_COLOURS)


def difference_png(
    levels: NDArray[np.float32], reference: NDArray[np.float32], top: float
) -> bytes:
    """`levels` minus `reference` (both [bins, columns]); what the spectrograms do not show is 0."""
    bottom = top - RANGE_DB
    difference = np.maximum(levels, bottom) - np.maximum(reference, bottom)
    return _png(difference / (2 * DIFFERENCE_DB) + 0.5, DIFFERENCE_COLOURS)


def scale(top: float) -> dict[str, Any]:
    """What a legend of both kinds of picture shows: limits in dB, and colours, low to high."""
    return {
        "low": top - RANGE_DB,
        "high": top,
        "colours": _css_colours(LEVEL_COLOURS),
        "difference": DIFFERENCE_DB,
        "differenceColours": _css_colours(DIFFERENCE_COLOURS),
    }


def _css_colours(name: str) -> list[str]:
    return ["#" + bytes(colour).hex() for colour in _palette(name, 17)]


def _png(shades: NDArray[np.floating[Any]], colours: str) -> bytes:
    """Encode [bins, columns], 0 to 1 and clipped beyond, with a palette."""
    # 64 shades (1.25 dB apart) look almost like 256 and compress far better.
    indices = (np.clip(shades, 0, 1) * 63).round().astype(np.uint8)[::-1]
    with needed_for("The listening page"):
        from PIL import Image
    image = Image.fromarray(np.ascontiguousarray(indices))  # greyscale, [rows, columns]
    image.putpalette(_palette(colours, 64).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _palette(name: str, count: int) -> NDArray[np.uint8]:
    """Colours at equal distances along a colour map of matplotlib, [count, 3]."""
    with needed_for("The listening page"):
        from matplotlib import colormaps
    places = np.linspace(0, 255, count).round().astype(int)
    return colormaps[name](places, bytes=True)[:, :3]
