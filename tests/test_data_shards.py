"""Corpora on disk: what is written is what is mapped, and damage is noticed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from diffwave.data import shards
from diffwave.data.shards import (
    Entry,
    Prepared,
    ShardWriter,
    is_prepared,
    open_prepared,
    stored_file,
)
from diffwave.errors import InputError
from diffwave.mel import preset

MEL = preset("hifigan")
RNG = np.random.default_rng(0)
CLIPS = [RNG.integers(-32768, 32768, frames * 256, dtype=np.int16) for frames in (3, 5, 2, 9)]
MELS = [RNG.standard_normal((80, len(clip) // 256)).astype(np.float32) for clip in CLIPS]


CLIP = dataclasses.asdict(Entry("clip2", "2.wav", "train", 0, 2048, 512, 0, 8))


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four clips with mels, at most 2,560 samples to a shard."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 2 * 2560)
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


def test_what_was_written_is_read(written: Path) -> None:
    assert is_prepared(written)
    prepared = open_prepared(written)
    assert (prepared.mel, prepared.source) == (MEL, "digest")
    assert [entry.name for entry in prepared.entries] == ["clip0", "clip1", "clip2", "clip3"]
    for entry, clip, mel in zip(prepared.entries, CLIPS, MELS, strict=True):
        samples, found = prepared.samples(entry), prepared.mel_of(entry)
        assert found is not None
        assert (samples.dtype, found.dtype) == (np.int16, np.float32)
        np.testing.assert_array_equal(samples, clip)
        np.testing.assert_array_equal(found, mel)
    assert prepared.damaged(progress=False) == []


def test_shards_are_filled_in_order_and_no_clip_is_split(written: Path) -> None:
    """3, 5, 2 and 9 frames at up to 10 to a shard: the first three fill the first."""
    places = [(entry.shard, entry.start // 256) for entry in open_prepared(written).entries]
    assert places == [(0, 0), (0, 3), (0, 8), (1, 0)]
    assert (written / "data" / "samples-00000.raw").stat().st_size == 2 * 2560
    assert (written / "data" / "samples-00001.raw").stat().st_size == 2 * 9 * 256


def test_a_clip_larger_than_a_shard_gets_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    with ShardWriter(tmp_path, "x") as writer:
        assert writer.append(np.array([1, -2] * 5, ">i2")) == (0, 0)
        assert writer.append(np.zeros(400, np.int16)) == (1, 0)
        assert writer.append(np.zeros(10, np.int16)) == (2, 0)
    assert [file.bytes for file in writer.files.values()] == [20, 800, 20]
    assert (tmp_path / "x-00000.raw").read_bytes() == 5 * b"\x01\x00\xfe\xff"  # little-endian
    assert stored_file(tmp_path / "x-00000.raw") == writer.files["x-00000.raw"]


def test_clips_are_views_of_mapped_files(written: Path) -> None:
    """Of read-only maps, one to a shard: memory does not grow with the number of clips."""
    prepared = open_prepared(written)
    arrays = [prepared.samples(entry) for entry in prepared.entries]
    arrays += [prepared.mel_of(entry) for entry in prepared.entries]  # type: ignore[misc]
    maps = set()
    for array in arrays:
        assert isinstance(array, np.memmap)
        assert not array.flags.owndata
        assert not array.flags.writeable
        maps.add(id(array._mmap))  # type: ignore[attr-defined]
    assert len(maps) == 2 + len(set(e.mel_shard for e in prepared.entries))


def test_damage_is_found_by_its_checksum(written: Path) -> None:
    path = written / "data" / "samples-00001.raw"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert open_prepared(written).damaged(progress=False) == ["samples-00001.raw"]


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
        ({"clips": [{"name": "a"}]}, r"corpus\.json is damaged \(TypeError\)"),
        ({"files": []}, "is damaged"),
        ({"mel": {"name": "x"}}, "Mel setting"),
        *(
            ({"clips": [{**CLIP, **outside}]}, "is damaged")
            for outside in (
                {"start": -1}, {"length": 2561}, {"shard": 7}, {"mel_start": 9}, {"mel_shard": 5}
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
        open_prepared(written)
    path.write_text("[]")
    with pytest.raises(InputError, match=r"corpus\.json does not hold a JSON object"):
        open_prepared(written)
