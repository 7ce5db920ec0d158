from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffwave.eval.statistics import holm, paired_tests, summarise, wilcoxon

NAN = math.nan


def test_interval_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(3.0, 0.4, size=200)
    summary = summarise(list(values))
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert summary.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert summary.high == pytest.approx(values.mean() + half, abs=0.1 * half)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.integers(0, 3))
def test_summary_properties(values: list[float], undefined: int) -> None:
    summary = summarise(values + [NAN] * undefined)
    assert summary.n == len(values)
    assert str(summary) == str(summarise([NAN] * undefined + values))  # NaN != NaN
    if len(values) > 1:
        slack = 1e-9
        assert min(values) - slack <= summary.low <= summary.mean + slack
        assert summary.mean - slack <= summary.high <= max(values) + slack
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9)


def exact_wilcoxon(differences: list[float]) -> float:
    """By definition: the share of sign patterns whose rank sum is at least as far from its mean."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    middle = ranks.sum() / 2
    signs = np.array(list(itertools.product([0, 1], repeat=len(ranks))))
    observed = abs(ranks[np.asarray(differences) > 0].sum() - middle)
    return float(np.mean(np.abs(signs @ ranks - middle) >= observed))


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True),
    st.integers(0, 255),
)
def test_wilcoxon_by_counting_the_signs(sizes: list[int], pattern: int) -> None:
    differences = [size * (1 if pattern >> i & 1 else -1) for i, size in enumerate(sizes)]
    expected = exact_wilcoxon([float(value) for value in differences])
    assert wilcoxon(np.array(differences, dtype=float)) == pytest.approx(expected)


def test_wilcoxon_of_nothing_and_of_no_difference() -> None:
    assert math.isnan(wilcoxon(np.array([])))
    assert wilcoxon(np.zeros(5)) == 1
    assert wilcoxon(np.array([0.0, 0.0, 1.0])) == 1


def test_holm_by_hand() -> None:
    # ordered .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, and no p below one before it
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert list(holm([0.9, 0.8])) == [1.0, 1.0]
    assert list(holm([0.3])) == [0.3]
    with_gap = holm([NAN, 0.01, 0.03])  # what was not tested is not counted
    assert math.isnan(with_gap[0])
    assert with_gap[1:] == pytest.approx([0.02, 0.03])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_properties(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    assert all(
        corrected[i] <= corrected[j]
        for i, j in itertools.permutations(range(len(p_values)), 2)
        if p_values[i] < p_values[j]
    )
    if p_values:  # rejecting at alpha: the smallest is Bonferroni's
        assert min(corrected) == pytest.approx(min(1, len(p_values) * min(p_values)))


def test_every_pair_of_systems_is_tested_on_its_own_utterances() -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(3, 1, size=20)  # utterances differ far more than systems do
    good = plain + 0.1 + rng.normal(0, 0.02, size=20)
    table = pd.DataFrame({"good": good, "plain": plain, "gaps": [NAN] * 19 + [1.0]})
    found, gaps, other = paired_tests(table)
    assert [(t.first, t.second) for t in (found, gaps, other)] == [
        ("good", "plain"), ("good", "gaps"), ("plain", "gaps")
    ]  # fmt: skip
    assert found.difference.n == 20
    assert 0 < found.difference.low < 0.1 < found.difference.high
    assert found.p <= found.p_holm < 0.001
    assert gaps.difference.n == 1
    assert gaps.p == 1


def test_systems_that_do_not_differ_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        columns = rng.normal(size=(3, 12))
        p_values = [wilcoxon(a - b) for a, b in itertools.combinations(columns, 2)]
        alarms += min(holm(p_values)) < 0.05
    assert alarms <= 12  # 5 expected at most
