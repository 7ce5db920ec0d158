"""Corpora on disk: what is written is what is mapped, damage is noticed, some clips held out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from diffwave.base.errors import InputError
from diffwave.data.config import DataConfig, PrepareConfig
from diffwave.data.prepared import (
    Entry,
    Prepared,
    ShardWriter,
    is_prepared,
    open_prepared,
    split,
    stored_file,
)
from diffwave.mel import preset

MEL = preset("hifigan")
RNG = np.random.default_rng(0)
CLIPS = [RNG.integers(-32768, 32768, frames * 256, dtype=np.int16) for frames in (3, 5, 2, 9)]
MELS = [RNG.standard_normal((80, len(clip) // 256)).astype(np.float32) for clip in CLIPS]


CLIP = dataclasses.asdict(Entry("clip2", "2.wav", "train", 0, 2048, 512, 0, 8))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Four clips with mels."""
    (tmp_path / "data").mkdir()
    entries = []
    with (
        ShardWriter(tmp_path / "data", "samples") as samples,
        ShardWriter(tmp_path / "data", "mels") as mels,
    ):
        for i, (clip, mel) in enumerate(zip(CLIPS, MELS, strict=True)):
            place = samples.append(clip)
            entries.append(
                Entry(f"clip{i}", f"{i}.wav", "train", *place, len(clip), *mels.append(mel.T))
            )
    Prepared(tmp_path, MEL, "digest", samples.files | mels.files, entries).save()
    return tmp_path


def test_what_was_written_is_read_from_mapped_files(written: Path) -> None:
    """Of 3, 5, 2 and 9 frames; memory does not grow with the clips."""
    assert is_prepared(written)
    prepared = open_prepared(written)
    assert (prepared.mel, prepared.source) == (MEL, "digest")
    places = [(entry.shard, entry.start // 256) for entry in prepared.entries]
    assert places == [(0, 0), (0, 3), (0, 8), (0, 10)]
    maps = set()
    for i, (entry, samples, mel) in enumerate(zip(prepared.entries, CLIPS, MELS, strict=True)):
        clip = prepared.clip(entry)
        assert (clip.name, clip.source, clip.polarity) == (f"clip{i}", None, 1)
        np.testing.assert_array_equal(clip.samples, samples)
        np.testing.assert_array_equal(clip.mel, mel)
        for array in (clip.samples, clip.mel):
            assert isinstance(array, np.memmap) and not array.flags.writeable
            maps.add(id(array._mmap))  # type: ignore[attr-defined]
    assert len(maps) == len(prepared.files)
    assert prepared.damaged(progress=False) == []
    with ShardWriter(written, "x") as writer:
        assert writer.append(np.array([1, -2], ">i2")) == (0, 0)
    assert (written / "x-00000.raw").read_bytes() == b"\x01\x00\xfe\xff"  # little-endian
    assert stored_file(written / "x-00000.raw") == writer.files["x-00000.raw"]


def test_damage_is_found_by_its_checksum(written: Path) -> None:
    path = written / "data" / "samples-00000.raw"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert open_prepared(written).damaged(progress=False) == ["samples-00000.raw"]


def test_files_cut_short_or_missing(written: Path) -> None:
    path = written / "data" / "mels-00000.raw"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"mels-00000\.raw has \d+ bytes instead of \d+: the corp"):
        open_prepared(written)
    path.unlink()
    with pytest.raises(InputError, match=r"mels-00000\.raw has 0 bytes instead of"):
        open_prepared(written)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "another"}, r"corpus\.json is of the format 'another', not"),
        ({"clips": [{"name": "a"}]}, r"is damaged \(Its clips\[0\] must be a mapping that holds"),
        ({"files": []}, "is damaged"),
        ({"mel": {"name": "x"}}, "sample_rate"),
        *(
            ({"clips": [CLIP | outside]}, r"is damaged \('clip2' lies outside its shard\)")
            for outside in (
                {"start": -1}, {"length": 4864}, {"length": -1}, {"shard": 7}, {"shard": -1},
                {"mel_start": 18}, {"mel_shard": 5}, {"source_shard": 0},
            )
        ),
    ],
)  # fmt: skip
def test_an_index_that_makes_no_sense(
    written: Path, changes: dict[str, object], message: str
) -> None:
    path = written / "corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=message):
        list(map((prepared := open_prepared(written)).clip, prepared.entries))


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


def test_names_alone_decide_which() -> None:
    assert held_out(500) == held_out(500) != [f"clip{i}" for i in range(10)]
    assert len(set(held_out(500)) & set(held_out(510))) >= 9
    assert held_out(100, prepare=PrepareConfig(validation_share=0)) == []
    assert held_out(100, validation=["clip7.*"]) == ["clip7"]
