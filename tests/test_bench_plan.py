"""What is measured, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffwave.bench import plan as module
from diffwave.bench.plan import FULL, NORMAL, QUICK, Effort, Setting, plan


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 2)


@pytest.mark.parametrize("effort", [QUICK, NORMAL, FULL], ids=lambda effort: effort.name)
def test_the_centre_comes_first_and_nothing_twice(effort: Effort) -> None:
    settings = effort.settings()
    assert settings[0] == effort.centre
    assert len(set(settings)) == len(settings)


def test_the_normal_effort_varies_around_the_centre() -> None:
    centre = Setting(2, "fp32", 1, 10)
    assert NORMAL.centre == centre
    assert set(NORMAL.settings()) == {
        centre,
        Setting(1, "fp32", 1, 10),
        Setting(2, "bf16", 1, 10),
        Setting(1, "bf16", 1, 10),
        Setting(2, "fp32", 8, 10),
        Setting(2, "fp32", 1, 1),
        Setting(2, "fp32", 1, 60),
    }


def test_the_full_effort_is_the_whole_grid() -> None:
    assert len(FULL.settings()) == 2 * 2 * 2 * 3
    assert set(NORMAL.settings()) < set(FULL.settings())


def test_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 1)
    settings = NORMAL.settings()
    assert {setting.threads for setting in settings} == {1}
    assert len(set(settings)) == len(settings) == 5


def test_a_setting_in_words() -> None:
    assert str(Setting(2, "fp32", 8, 10.0)) == "2 threads, fp32, 8 x 10 s"
    assert str(Setting(1, "bf16", 1, 0.25)) == "1 thread, bf16, 1 x 0.25 s"


@given(st.floats(1e-4, 100))
def test_runs_keep_to_their_bounds(rtf: float) -> None:
    measured, left_out = plan(NORMAL, {"a": rtf})
    assert {c.setting for c in measured} | {c.setting for c in left_out} == set(NORMAL.settings())
    assert NORMAL.centre in {cell.setting for cell in measured}  # whatever it takes
    for cell in measured:
        assert NORMAL.least_runs <= cell.runs <= NORMAL.most_runs
        assert cell.expected <= NORMAL.patience or cell.setting == NORMAL.centre
    assert all(cell.expected > NORMAL.patience and not cell.runs for cell in left_out)


def test_what_a_run_should_take() -> None:
    measured, _ = plan(NORMAL, {"a": 0.1})
    expected = {cell.setting: cell.expected for cell in measured}
    assert expected[Setting(2, "fp32", 1, 10)] == pytest.approx(1)
    assert expected[Setting(1, "fp32", 1, 10)] == pytest.approx(2)
    assert expected[Setting(2, "fp32", 8, 10)] == pytest.approx(8)


def test_slow_systems_run_less_often() -> None:
    measured, _ = plan(NORMAL, {"slow": 0.5, "quick": 0.001})
    runs = {cell.system: cell.runs for cell in measured if cell.setting == NORMAL.centre}
    assert runs == {"slow": NORMAL.least_runs, "quick": NORMAL.most_runs}
