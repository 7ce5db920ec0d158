"""Which clips are held out for validation."""

from __future__ import annotations

import pytest

from diffwave.data.config import DataConfig, PrepareConfig
from diffwave.data.shards import Entry
from diffwave.data.split import split


def held_out(count: int, **settings: object) -> list[str]:
    clips = [Entry(f"clip{i}", f"a/clip{i}.wav", "train", 0, 0, 1) for i in range(count)]
    found = split(clips, DataConfig(**settings))  # type: ignore[arg-type]
    assert [entry.name for entry in found] == [entry.name for entry in clips]
    return [entry.name for entry in found if entry.split == "validation"]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 0), (3, 0), (4, 1), (10, 2), (16, 4), (200, 4), (1001, 21)]
)
def test_how_many_clips_are_held_out(count: int, expected: int) -> None:
    assert len(held_out(count)) == expected


def test_names_alone_decide() -> None:
    assert held_out(500) == held_out(500) != [f"clip{i}" for i in range(10)]
    assert len(set(held_out(500)) & set(held_out(510))) >= 9
    assert held_out(100, prepare=PrepareConfig(validation_share=0)) == []
    assert held_out(100, validation=["clip7.*"]) == ["clip7"]
