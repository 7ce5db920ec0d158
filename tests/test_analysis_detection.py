"""ROC and the area under it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from diffwave.analysis.detection import area, roc


def drawn(seed: int, count: int, shift: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.array([value]) for value in rng.normal(shift, 1, count).round(1)]


def test_area_is_that_of_mann_and_whitney() -> None:
    usual, unusual = drawn(0, 40), drawn(1, 30, 0.7)
    u = stats.mannwhitneyu(np.concatenate(unusual), np.concatenate(usual)).statistic
    assert area(usual, unusual).value == pytest.approx(u / 1200)
    assert area(unusual, usual).value == pytest.approx(1 - u / 1200)


def test_area_is_the_integral_of_the_curve() -> None:
    usual, unusual = drawn(0, 40), drawn(1, 30, 0.7)
    false, true = roc(usual, unusual)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(false) >= 0) and np.all(np.diff(true) >= 0)
    assert np.trapezoid(true, false) == pytest.approx(area(usual, unusual).value)


def test_error_is_the_spread_of_repeated_experiments() -> None:
    found = [area(drawn(2 * i, 25), drawn(2 * i + 1, 25, 1.0)) for i in range(300)]
    spread = np.std([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.15)


def test_frames_of_one_recording_are_no_independent_evidence() -> None:
    usual, unusual = drawn(0, 20), drawn(1, 20, 1.0)
    alone = area(usual, unusual)
    repeated = area([np.repeat(x, 50) for x in usual], [np.repeat(x, 50) for x in unusual])
    assert repeated == pytest.approx(alone)


def test_certain_and_uninformative() -> None:
    assert area(drawn(0, 5), drawn(0, 5)).value == 0.5
    certain = area(drawn(0, 5), drawn(0, 5, 100))
    assert certain == pytest.approx((1.0, 0.0))
    assert math.isnan(area(drawn(0, 1), drawn(1, 5)).error)
