"""Figures of schedules for some data: a table, JSON and a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffwave.analysis.bound_report import COLOURS
from diffwave.analysis.plots import new_figure, save_figure
from diffwave.base.text import number, printable
from diffwave.chain import schedule, terminal
from diffwave.chain.families import Schedule
from diffwave.chain.terminal import Data, Start

NAT = 1 / math.log(2)  # bits
LOWEST_DB = -80.0  # of the picture's signal-to-noise ratios
ROWS = 10  # steps of a schedule that are printed


@dataclass(frozen=True)
class Figures:
    """What a schedule does to some data; bits are per sample, or per coefficient of the state."""

    name: str
    betas: Tensor  # [T]
    alpha_bar: Tensor  # [T]
    terminal_mean: float  # of x_T
    terminal_deviation: float  # of x_T
    prior_bits: Tensor  # prior term of the bound if the chain ended at step t, [T]
    marginal_bits: Tensor  # KL of x_t itself to the start, [T]
    step_bits: Tensor  # terms L_0 .. L_{T-1}, of Gaussian data with the exact denoiser, [T]
    matched: Start  # the start that has the mean and deviation of x_T
    matched_bits: float  # KL of x_T to it
    first_step: int | None  # step from which on the prior term is below the threshold
    smallest_length: int | None  # smallest T of such a schedule for that
    excess_bits: float  # bound with the exact denoiser less the entropy: no network wins it back


def figures(chain: Schedule, data: Data, start: Start, threshold: float) -> Figures:
    """All figures of a schedule.

    Args:
        chain: its betas, and those of other lengths.
        data: mean and variances.
        start: where sampling starts.
        threshold: bits of the prior term.
    """
    bars = schedule.alpha_bars(chain.betas)
    prior = terminal.prior_term(data, bars, start) * NAT
    mean, variance = terminal.terminal(data, bars[-1])
    matched, below = terminal.matched_start(data, bars[-1]), (prior < threshold).nonzero()
    return Figures(
        chain.name,
        chain.betas,
        bars,
        float(mean),
        math.sqrt(float(variance.mean())),
        prior,
        terminal.marginal_kl(data, bars, start) * NAT,
        terminal.step_terms(data, bars) * NAT,
        matched,
        float(terminal.marginal_kl(data, bars[-1], matched)) * NAT,
        int(below[0]) + 1 if len(below) else None,
        terminal.smallest_length(chain.of_length, data, threshold / NAT, start),
        terminal.excess(data, bars) * NAT,
    )


def summary(found: list[Figures], threshold: float) -> list[list[object]]:
    """Cells of the table of all schedules: a figure a row."""
    below = f"below {threshold:g} bits"
    cells: dict[str, Callable[[Figures], object]] = {
        "": lambda one: printable(one.name),
        "steps T": lambda one: len(one.betas),
        "beta, first": lambda one: f"{float(one.betas[0]):.3g}",
        "beta, last": lambda one: f"{float(one.betas[-1]):.3g}",
        "sqrt(alpha_bar_T)": lambda one: number(float(one.alpha_bar[-1].sqrt())),
        "terminal mean": lambda one: f"{one.terminal_mean:.3g}",
        "terminal deviation": lambda one: number(one.terminal_deviation),
        "prior term, bits": lambda one: _bits(one.prior_bits[-1]),
        "KL of x_T to the start, bits": lambda one: _bits(one.marginal_bits[-1]),
        "  to a matched start, bits": lambda one: _bits(one.matched_bits),
        f"first step {below}": lambda one: one.first_step or "none",
        f"smallest T {below}": _length,
        "excess over the entropy, bits": lambda one: _bits(one.excess_bits),
    }
    return [[title, *map(cell, found)] for title, cell in cells.items()]


def steps_table(one: Figures) -> list[list[object]]:
    """Cells of the table of a schedule's steps, at most :data:`ROWS` of them; terms in bits."""
    rows: list[list[object]] = [
        ["step", "beta", "alpha_bar", "SNR, dB", "prior term", "KL of x_t", "own term"]
    ]
    decibels = snr_db(one.alpha_bar).tolist()
    for t in sorted({round(i * (len(one.betas) - 1) / (ROWS - 1)) for i in range(ROWS)}):
        level = [f"{float(one.betas[t]):.4g}", f"{float(one.alpha_bar[t]):.4g}"]
        terms = (one.prior_bits[t], one.marginal_bits[t], one.step_bits[t])
        rows.append([t + 1, *level, f"{decibels[t]:.1f}", *map(_bits, terms)])
    return rows


def to_json(found: list[Figures], data: Data, start: Start, threshold: float) -> dict[str, Any]:
    """All figures, of every step too."""
    return {
        "data": {
            "mean": data.mean,
            "deviation": math.sqrt(data.variance),
            "coordinates": len(data.variances),
            "entropy_bits": terminal.entropy(data) * NAT,
        },
        "start": start._asdict(),
        "threshold_bits": threshold,
        "schedules": [
            {
                "name": printable(one.name),
                "steps": len(one.betas),
                "terminal": {"mean": one.terminal_mean, "deviation": one.terminal_deviation},
                "prior_bits": float(one.prior_bits[-1]),
                "marginal_bits": float(one.marginal_bits[-1]),
                "matched_start": one.matched._asdict(),
                "matched_bits": one.matched_bits,
                "first_step_below": one.first_step,
                "smallest_length": one.smallest_length,
                "excess_bits": one.excess_bits,
                "each_step": {
                    "beta": one.betas.tolist(),
                    "alpha_bar": one.alpha_bar.tolist(),
                    "snr_db": snr_db(one.alpha_bar).tolist(),
                    "prior_bits": one.prior_bits.tolist(),
                    "marginal_bits": one.marginal_bits.tolist(),
                    "own_bits": one.step_bits.tolist(),
                },
            }
            for one in found
        ],
    }


def snr_db(alpha_bar: Tensor) -> Tensor:
    """Signal-to-noise ratio of data of variance 1 in dB, -inf at pure noise."""
    return 10 * schedule.snr(alpha_bar).log10()


def save_plot(
    found: list[Figures], start: Start, threshold: float, path: str | os.PathLike[str]
) -> None:
    """Draw betas, signal-to-noise ratio, distance from the start, and each step's own term."""
    figure = new_figure(11, 7.4)
    axes = figure.subplots(2, 2)
    for i, one in enumerate(found):
        settings: dict[str, Any] = {
            "color": COLOURS[i % len(COLOURS)],
            "marker": "." if len(one.betas) <= 60 else None,
            "label": f"{printable(one.name)} (T = {len(one.betas)})",
        }
        place = torch.linspace(0, 1, len(one.betas) + 1)[1:].tolist()
        axes[0, 0].semilogy(place, one.betas.tolist(), **settings)
        decibels = snr_db(one.alpha_bar).clamp_min(LOWEST_DB).tolist()
        axes[0, 1].plot(place, decibels, **settings)
        axes[1, 0].semilogy(place, one.prior_bits.clamp_min(1e-12).tolist(), **settings)
        noise = (10 * (1 - one.alpha_bar).log10()).tolist()
        axes[1, 1].semilogy(noise[1:], one.step_bits[1:].clamp_min(1e-9).tolist(), **settings)
    axes[1, 0].axhline(threshold, color="#999999", linestyle=":", label=f"{threshold:g} bits")
    axes[1, 0].set_ylim(bottom=min(threshold, 1e-6) / 10)
    axes[0, 0].set(title="How beta grows", xlabel="t / T", ylabel="beta")
    axes[0, 1].set(title="Signal-to-noise ratio (data of variance 1)", xlabel="t / T", ylabel="dB")
    title = f"x_t given x_0, to the start N({start.mean:g}, {start.deviation:g}^2)"
    axes[1, 0].set(title=title, xlabel="t / T", ylabel="KL, bits per coordinate")
    axes[1, 1].set(
        title="Cost of every step, with the exact denoiser",
        xlabel="noise of the state, dB",
        ylabel="KL, bits per coordinate",
    )
    axes[0, 0].legend(frameon=False, fontsize=8)
    axes[1, 0].legend(frameon=False, fontsize=8, handles=axes[1, 0].lines[-1:])
    save_figure(figure, path)


def _length(one: Figures) -> object:
    if float(one.alpha_bar[-1]) == 0 and one.smallest_length is not None:
        return "any"  # such a chain ends in pure noise however short it is
    return one.smallest_length or "none"


def _bits(value: Tensor | float) -> str:
    return f"{float(value):.3g}"
