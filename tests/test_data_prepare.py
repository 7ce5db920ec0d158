"""A folder of recordings to a corpus: what is in it, that it is whole and reproducible."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from signals import speech_like

from diffwave.base.errors import InputError
from diffwave.data import envelope, prepare
from diffwave.data.corpus import Corpus, load_corpus
from diffwave.data.crops import Crops, Framing
from diffwave.data.envelope import envelope_path, fitted_space, load_envelope
from diffwave.data.prepare import EXAMPLES, CorpusReport
from diffwave.data.prepared import Entry, open_prepared
from diffwave.data.recording import Recording, Remark
from diffwave.mel import MelSpectrogram, preset
from diffwave.spaces import SpectralConfig, SpectralSpace
from diffwave.train.config import TrainConfig
from diffwave.train.settings import read_config

RATE = 22050
Prepare = Callable[..., CorpusReport | None]


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Eight short utterances and one long recording."""
    folder = tmp_path / "audio"
    (folder / "deep").mkdir(parents=True)
    for i in range(8):
        soundfile.write(folder / f"s{i}.wav", speech_like(0.6, RATE, i), RATE)
    soundfile.write(folder / "deep" / "book.flac", speech_like(6, 16000, 9), 16000)
    return folder


@pytest.fixture
def run(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepare `audio` as `tmp_path / "corpus"`, or another `target`, with settings."""
    monkeypatch.setattr(envelope, "BATCHES", 2)

    def run(*settings: str, target: str = "corpus", **options: object) -> CorpusReport | None:
        arguments: dict[str, object] = {"progress": False} | options
        chosen = config(*settings)
        return prepare.prepare(
            audio,
            tmp_path / target,
            chosen.data,
            chosen.model_config(),
            **arguments,  # type: ignore[arg-type]
        )

    return run


def config(*settings: str) -> TrainConfig:
    plain = ("data.crop_frames=16", "data.prepare.piece_seconds=[1, 2.5]")
    return read_config(None, [*plain, *settings])


def load(tmp_path: Path) -> Corpus:
    settings = config(f"data.folder={tmp_path / 'corpus'}")
    return load_corpus(settings.data, Framing(settings.model_config()), progress=False)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_corpus_is_what_training_reads(run: Prepare, tmp_path: Path) -> None:
    report = run("data.validation=[s3.*]", "data.prepare.level=keep")
    assert report is not None
    assert set(files(tmp_path / "corpus")) == {
        "corpus.json",
        "report.json",
        "report.md",
        "data/samples-00000.raw",
        "data/envelope.safetensors",
    }
    corpus = load(tmp_path)
    assert [clip.name for clip in corpus.validation] == ["s3"]
    names = [clip.name for clip in corpus.train]
    pieces = [name for name in names if name.startswith("deep/book")]
    assert pieces == [f"deep/book_{i + 1:04d}" for i in range(len(pieces))]
    assert len(pieces) >= 3
    assert sorted(set(names) - set(pieces)) == [f"s{i}" for i in range(8) if i != 3]
    assert report.clips == {"train": len(names), "validation": 1}
    assert report.hours["train"] == pytest.approx(corpus.hours)
    assert report.files == 9
    assert [remark.kind for remark in report.remarks["deep/book.flac"]] == ["upsampled"]
    wave = corpus.train[names.index("s0")].wave()
    expected = torch.from_numpy(speech_like(0.6, RATE, 0))[: len(wave)]
    torch.testing.assert_close(wave, expected, rtol=0, atol=1 / 32768)
    assert not corpus.rejected


def test_the_number_of_jobs_does_not_matter(run: Prepare, tmp_path: Path) -> None:
    run(target="one", jobs=1)
    run(target="three", jobs=3)
    assert files(tmp_path / "one") == files(tmp_path / "three")


def test_bad_files_are_named_and_left_out(run: Prepare, audio: Path, tmp_path: Path) -> None:
    (audio / "deep" / "torn.flac").write_bytes((audio / "deep" / "book.flac").read_bytes()[:9000])
    (audio / "empty.mp3").touch()
    (audio / "link.wav").symlink_to(audio / "nothing.wav")
    soundfile.write(audio / "silent.ogg", np.zeros(RATE), RATE)
    soundfile.write(audio / "tiny.wav", speech_like(0.1), RATE)
    report = run()
    assert report is not None
    assert {file: remark.kind for file, remark in report.rejected.items()} == {
        "deep/torn.flac": "unreadable",
        "empty.mp3": "unreadable",
        "link.wav": "unreadable",
        "silent.ogg": "silent",
        "tiny.wav": "too short",
    }
    page = (tmp_path / "corpus" / "report.md").read_text()
    assert all(str(audio / file) in page for file in report.rejected)
    assert json.loads((tmp_path / "corpus" / "report.json").read_text())["files"] == 14


def test_nothing_that_can_be_used_leaves_nothing_behind(run: Prepare, audio: Path) -> None:
    for path in audio.rglob("*.*"):
        path.write_bytes(b"rubbish")
    with pytest.raises(
        InputError, match=r"None of the 9 audio files .* can be used \(9 unreadable\); for example:"
    ):
        run()
    assert os.listdir(audio.parent) == ["audio"]


def test_clips_shorter_than_a_crop(run: Prepare, audio: Path) -> None:
    report = run("data.crop_frames=60")
    assert report is not None
    (note,) = report.notes
    assert "of the training clips are shorter than a crop of data.crop_frames (0.73 s)" in note
    with pytest.raises(InputError, match=r"nothing to train on: all \d+ clips are shorter than a"):
        run("data.crop_frames=400", target="other")
    with pytest.raises(InputError, match="nothing to train on: all are validation"):
        run("data.validation=['*']", target="other")
    assert sorted(os.listdir(audio.parent)) == ["audio", "corpus"]


def test_again_and_with_changes(run: Prepare, audio: Path, tmp_path: Path) -> None:
    assert run() is not None
    before = files(tmp_path / "corpus")
    stamp = (tmp_path / "corpus" / "corpus.json").stat().st_mtime_ns
    assert run("data.crop_frames=20", "data.folder=x", "run.seed=1", "network=waveform") is None
    assert (tmp_path / "corpus" / "corpus.json").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match=r"holds a corpus of other audio, .* --force replaces it"):
        run("data.prepare.level=peak")
    (audio / "s7.wav").unlink()
    with pytest.raises(InputError, match="holds a corpus of other audio"):
        run()
    assert files(tmp_path / "corpus") == before
    (tmp_path / "corpus" / "data" / "samples-00001.raw").write_bytes(b"of a larger corpus")
    (tmp_path / "corpus" / "notes.txt").write_text("somebody's")
    assert run("network=waveform", force=True) is not None
    left = files(tmp_path / "corpus")
    assert "notes.txt" in left
    assert [name for name in left if name.startswith("data")] == ["data/samples-00000.raw"]
    names = {entry.name for entry in open_prepared(tmp_path / "corpus").entries}
    assert "s6" in names and "s7" not in names


def test_large_files_are_taken_one_at_a_time(run: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    take, busy = prepare.take, threading.Lock()

    def alone(*arguments: object) -> object:
        assert busy.acquire(blocking=False), "two files at a time"
        time.sleep(0.02)
        busy.release()
        return take(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "take", alone)
    monkeypatch.setattr(prepare, "LARGE", 0)
    run("network=waveform", jobs=3)


def test_the_envelope_is_the_one_that_training_would_fit(run: Prepare, tmp_path: Path) -> None:
    run()
    settings = config(f"data.folder={tmp_path / 'corpus'}")
    model = settings.model_config()
    space = SpectralSpace(SpectralConfig().of(model.mel), MelSpectrogram(model.mel))
    assert load_envelope(envelope_path(tmp_path / "corpus"), space)
    stored = space.state_dict()
    crops = Crops(load(tmp_path).train, model, settings.data, settings.run.seed)
    fitted = fitted_space(model, crops).state_dict()
    assert stored.keys() == fitted.keys()
    for name, value in fitted.items():
        torch.testing.assert_close(stored[name], value)


def test_mels_go_with_their_recordings(run: Prepare, audio: Path, tmp_path: Path) -> None:
    """Predicted mels, one of them too long and one missing, in flat files."""
    mels = tmp_path / "mels"
    mels.mkdir()
    for path in sorted(audio.glob("s*.wav")):
        wave = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        np.save(mels / f"{path.stem}.npy", MelSpectrogram(preset("hifigan"))(wave) + 0.1)
    np.save(mels / "s1.npy", np.load(mels / "s1.npy")[:, :-2])
    np.save(mels / "s2.npy", np.tile(np.load(mels / "s2.npy"), 2))
    report = run(f"data.mel_folder={mels}")
    assert report is not None
    assert {file: remark.kind for file, remark in report.rejected.items()} == {
        "deep/book.flac": "no mel that fits",
        "s2.wav": "no mel that fits",
    }
    (note,) = report.notes
    assert note.startswith("1 of 7 mels differ in length from their recordings, by -2 to -2 frames")
    corpus = load(tmp_path)
    clips = corpus.train + corpus.validation
    assert sorted(clip.name for clip in clips) == ["s0", "s1", "s3", "s4", "s5", "s6", "s7"]
    for clip in clips:
        wave, _ = soundfile.read(audio / f"{clip.name}.wav", dtype="float32")
        assert clip.mel is not None
        np.testing.assert_array_equal(clip.mel, np.load(mels / f"{clip.name}.npy"))
        assert len(clip.samples) == 256 * clip.mel.shape[1]
        np.testing.assert_allclose(clip.wave(), wave[: len(clip.samples)], atol=1e-4)
    np.save(mels / "s4.npy", np.load(mels / "s4.npy") + 0.1)
    with pytest.raises(InputError, match="holds a corpus of other audio"):
        run(f"data.mel_folder={mels}")


def test_the_report_counts_everything_and_names_all_that_was_rejected(tmp_path: Path) -> None:
    """40 good files of half an hour, 12 of them stereo, and three that are not good."""
    report = CorpusReport(16000)
    for i in range(40):
        stereo = [Remark("more than one channel", f"{i}.wav has 2 channels.")] if i < 12 else []
        report.add(Recording(f"{i}.wav", 1800.0, remarks=stereo))
    report.add(Recording("x.wav", 3600.0, rejected=Remark("silent", "x.wav is silent.")))
    report.add(Recording("y.wav", rejected=Remark("unreadable", "Cannot read y.wav.")))
    report.add(Recording("z\udcff.wav", rejected=Remark("unreadable", "Cannot read z\udcff.wav.")))
    split = ["validation"] * 2 + ["train"] * 38
    report.count_clips([Entry(str(i), "", s, 0, 0, 16000 * 900) for i, s in enumerate(split)])
    report.notes.append("A note.")
    assert report.summary() == [
        "43 files, 21.00 hours",
        "train: 38 clips, 9.50 hours",
        "validation: 2 clips, 0.50 hours",
        "rejected: 3 files (2 unreadable, 1 silent)",
        "used, but: 12 more than one channel",
        "A note.",
    ]
    report.save(tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["rejected"]["x.wav"] == {"kind": "silent", "sentence": "x.wav is silent."}
    assert (len(data["rejected"]), len(data["remarks"])) == (3, 12)
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    for sentence in ("silent: x.wav is silent.", "Cannot read y.wav.", "Cannot read z\\udcff.wav."):
        assert sentence in page
    assert page.count("has 2 channels") == EXAMPLES
    assert "and 2 more, in report.json" in page
