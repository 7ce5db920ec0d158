"""What an array of mel values shows of the convention it was computed by, whoever speaks.

Three kinds of numbers are taken of a mel [n_mels, T].

- The correlation of neighbouring bands' changes in time. Where bands are hardly wider than the
  bins of the Fourier transform, neighbours share more bins or fewer, in a pattern that the sample
  rate, the transform's length, the edges and the number of bands decide, and no voice does.
  It does not depend on any scaling of a band, so that statistics do not hide it.
- The correlation of frames one to six apart: how far windows overlap, in units of the hop; the
  scatter of neighbouring values, which falls with the number of independent bins in a band; and the
  modulation of loudness by syllables, in cycles per frame.
- The values: quantiles, spread, how many lie on the floor, and the mean over time of each band with
  the slope at the edges.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

MAX_FRAMES = 4000
"""More need not be looked at."""
LEVELS = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)
REGIONS = 8
LINEAR_PEAK = 30.0
"""Times the mean by which a mel without a logarithm peaks; with one, 5 at most."""


def is_linear(mel: Tensor) -> bool:
    """Whether the values cannot be logarithms: none is negative, and few are many times the rest.

    mel: [n_mels, T].
    """
    return bool(mel.min() >= 0 and mel.max() > LINEAR_PEAK * mel.mean())


def traits(mel: Tensor) -> Tensor:
    """What can be said of a mel [n_mels, T] with T >= 8, as [n] numbers; n depends on n_mels."""
    mel = mel[:, :MAX_FRAMES].double()
    linear = is_linear(mel)
    if linear:
        mel = mel.clamp(min=max(1e-10, float(mel.max()) * 1e-12)).log()
    return torch.cat(
        (_values(mel, linear), _spectrum(mel), _modulation(mel), _grain(mel),
         *(_shared_bins(mel, apart) for apart in (1, 2, 3)),
         *(_overlap(mel, lag) for lag in (1, 2, 3, 4, 6)))
    ).float()  # fmt: skip


def _values(mel: Tensor, linear: bool) -> Tensor:
    flat = mel.flatten()
    quantiles = flat.sort().values[[round(q * (len(flat) - 1)) for q in LEVELS]]
    numbers = [
        float(linear),
        float(flat.std()),
        float((flat <= flat.min() + 1e-6).double().mean()),
        float(mel.mean(1).abs().mean()),
        float(mel.mean(1).std()),
        float(mel.std(1).std() / (mel.std(1).mean() + 1e-9)),
        float((mel.std(1).mean() - 1).abs()),
    ]
    return torch.cat((quantiles.asinh(), torch.tensor(numbers, dtype=mel.dtype)))


def _spectrum(mel: Tensor) -> Tensor:
    """The mean over time and its curvature, in units of the values' deviation."""
    mean = (mel - mel.mean()).mean(1) / (mel.std() + 1e-9)
    curvature = mean[2:] - 2 * mean[1:-1] + mean[:-2]
    coarse = torch.nn.functional.adaptive_avg_pool1d(mean[None, None], 12)[0, 0]
    return torch.cat((coarse, mean[-4:] - mean[-5:-1], curvature))


def _shared_bins(mel: Tensor, apart: int) -> Tensor:
    """Fisher's z of the correlation of the changes of bands so far apart, [n_mels - apart]."""
    change = mel[:, 1:] - mel[:, :-1]
    norm = change.square().sum(1).sqrt()
    product = (change[apart:] * change[:-apart]).sum(1)
    correlation = product / (norm[apart:] * norm[:-apart] + 1e-9)
    return correlation.clamp(-0.995, 0.995).atanh()


def _modulation(mel: Tensor) -> Tensor:
    """Log shares of the power of loudness in octaves of cycles per frame, [7]."""
    loudness = mel.mean(0) - mel.mean()
    loudness = torch.nn.functional.pad(loudness, (0, max(0, 256 - len(loudness))))
    power = torch.fft.rfft(loudness, MAX_FRAMES).abs().square()
    ends = [round(MAX_FRAMES / 2 ** (octave + 1)) for octave in range(8)]
    shares = torch.stack([power[low:high].sum() for high, low in pairwise(ends)])
    return (shares / (power.sum() + 1e-9) + 1e-6).log()


def _grain(mel: Tensor) -> Tensor:
    """Log scatter of a value about its neighbours in time, and about those in frequency."""
    spread = mel.std() + 1e-9
    about = mel[:, 1:-1] - (mel[:, 2:] + mel[:, :-2]) / 2, mel[1:-1] - (mel[2:] + mel[:-2]) / 2
    return torch.cat(
        [
            torch.nn.functional.adaptive_avg_pool1d(
                (each.abs().median(1).values / spread)[None, None], REGIONS
            )[0, 0]
            .clamp(min=1e-4)
            .log()
            for each in about
        ]
    )


def _overlap(mel: Tensor, lag: int) -> Tensor:
    """Fisher's z of the correlation over time of what differs between bands, by region."""
    detail = mel[1:] - mel[:-1]
    detail = detail - detail.mean(1, keepdim=True)
    product = (detail[:, lag:] * detail[:, :-lag]).mean(1)
    correlation = product / (detail.square().mean(1) + 1e-9)
    pooled = torch.nn.functional.adaptive_avg_pool1d(correlation[None, None], REGIONS)[0, 0]
    return pooled.clamp(-0.995, 0.995).atanh()
