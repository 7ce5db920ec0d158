"""The tables of a benchmark."""

from __future__ import annotations

import dataclasses

import pytest
from bench_result import IDLE, made_up

from diffwave.bench.report import number, to_markdown


def cells(text: str, start: str) -> list[list[str]]:
    """Rows, as lists of cells, whose first cell is `start`."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [row for row in rows if row[0] == start]


def test_systems_and_settings_are_tabled() -> None:
    text = to_markdown(made_up())
    about, centre = cells(text, "diffwave@2")
    assert about == [
        *("diffwave@2", "ours, 2 steps", "diffwave 0", "22050", "11.00M", "1.60"),
        *("25.0 (23.8 to 27.5)", "2.00 (1.90 to 2.20)", "700", "3.05"),
    ]
    assert centre == ["diffwave@2", "0.160", "0.144", "0.152 to 0.176", "3", "1.0", "4.00", "-"]
    (medians,) = cells(text, "1 thread, fp32, 1 x 1 s")
    assert medians[1:] == ["0.0800", "0.160", "0.0400"]
    (medians,) = cells(text, "1 thread, bf16, 1 x 1 s")
    assert medians[1:] == ["0.0200", "-", "-"]


def test_columns_line_up() -> None:
    for block in to_markdown(made_up()).split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1


def test_what_is_missing_is_said() -> None:
    text = to_markdown(made_up())
    assert "- **vocos** is missing: vocos cannot be imported (no module)." in text
    assert (
        "- **hifigan-v1** is left out of 1 thread, bf16, 1 x 1 s; cold start and memory: "
        "it was tired." in text
    )
    assert "- **hifigan-v1**: 25.00% of the activations are subnormal numbers" in text


def test_a_busy_machine_is_said() -> None:
    assert "load average" not in to_markdown(made_up())
    busy = to_markdown(made_up(dataclasses.replace(IDLE, load=3.0)))
    assert "**The load average was 3.0 when this began" in busy


def test_without_scores_there_is_no_column_for_them() -> None:
    assert "PESQ" in to_markdown(made_up())
    assert "PESQ" not in to_markdown(dataclasses.replace(made_up(), quality={}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.03333, "0.0333"),
        (0.0005, "0.000500"),
        (0.00001234, "0.000012"),
        (1.0, "1.00"),
        (27.456, "27.5"),
        (99.96, "100"),
        (123.4, "123"),
        (45678.0, "45678"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert number(value) == text
