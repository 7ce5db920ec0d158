"""Mel-consistency iterations: a spectrum is made to agree with the mel that it was generated from.

The mel says how much energy each band of each frame holds, and a generated wave that does not hold
it is wrong, whatever else it may be. Two constraints are met in turn, as Griffin and Lim (1984)
meet theirs: the spectrum is moved to the nearest one that belongs to a signal (the least-squares
inverse STFT and the STFT again), then its bands are scaled to the energies of the mel. Unlike
theirs the magnitudes within a band, and all phases to begin with, come from the diffusion model.
The first step is extrapolated from the iteration before, as in fast Griffin-Lim (Perraudin,
Balazs, Sondergaard 2013).
"""

from __future__ import annotations

from diffwave.base.arrays import Array, lerp, namespace
from diffwave.dsp.stft import ShortTimeFourier

MAX_GAIN = 2.0
"""Largest change of a bin in one iteration, in nepers (17 dB): a mel that no signal has, such as
one that a network predicted, is approached without bursts."""


def match_bands(
    spectrum: Array,
    wanted: Array,
    ends: tuple[float, float],
    filters: Array,
    stft: ShortTimeFourier,
    n_iter: int,
    momentum: float,
    past: Array | None = None,
    in_place: bool = True,
) -> Array:
    """`n_iter` iterations of both constraints on a spectrum [B, T, K + 1].

    For every iteration a frame depends on ceil(n_fft / hop_length) more frames on both sides.

    Args:
        spectrum: complex.
        wanted: logarithms of the amplitudes of the mel bands [B, T, n_mels], within `ends`.
        ends: smallest and largest amplitude that the mel tells from what lies beyond.
        filters: from magnitudes to mel amplitudes, [n_mels, K + 1].
        stft: of the mel's frames and window.
        n_iter: iterations.
        momentum: how far one is extrapolated beyond the projection, in units of the last change.
        past: samples [B, P] at the start that are known and stay as they are.
        in_place: a sixth faster; gradients need every spectrum as it was.
    """
    if n_iter == 0:
        return spectrum
    xp, norm = namespace(spectrum), stft.norm(spectrum.shape[1])
    # Bins above the last band cost nothing. Every other follows the gains of its bands, mixed as
    # their triangles overlap; one that no band covers stays.
    covered = 1 + max(k for k, weight in enumerate(filters.sum(0).tolist()) if weight)
    filters = filters[:, :covered]
    mix, bands = filters / filters.sum(0).clip(1e-8), filters.T
    last: Array | None = None
    for _ in range(n_iter):
        signal = stft.inverse(spectrum, norm)
        if past is not None:
            signal[:, : past.shape[-1]] = past
        # The STFT is linear: extrapolating signals, not spectra, is a quarter of the work.
        ahead = stft.analyse(signal if last is None else lerp(last, signal, 1 + momentum))
        last, below = signal, ahead[..., :covered]
        power = below.real**2 + below.imag**2
        power += 1e-20
        got = xp.log((xp.sqrt(power) @ bands).clip(*ends))
        gain = xp.exp((wanted - got).clip(-MAX_GAIN, MAX_GAIN) @ mix)
        if in_place:
            below *= gain
            spectrum = ahead
        else:
            spectrum = xp.concatenate((below * gain, ahead[..., covered:]), axis=-1)
    return spectrum
