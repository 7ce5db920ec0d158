"""What is judged and how: pairs of files, what a vocoder makes of recordings, all metrics."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pandas as pd
import pytest
import torch
from made_scores import NAN
from signals import speech_like

from diffwave.base.audio import read_audio, resample, write_audio
from diffwave.base.errors import InputError
from diffwave.eval import source_filter
from diffwave.eval.metrics import METRICS, Metric
from diffwave.eval.scores import Scores
from diffwave.eval.scoring import (
    Pair,
    System,
    audio_files,
    evaluate_systems,
    folder_system,
    resynthesis_system,
)

RATE = 22050
OURS = ["mel_l1", "pause_level_db"]  # need no library


def pair(seed: int = 0, gain: float = 1.0) -> Pair:
    wave = torch.from_numpy(speech_like(1.0, RATE, seed))
    return Pair(wave, gain * wave, RATE)


def evaluate(jobs: int = 1, **pairs: Pair) -> Scores:
    """Score one system, called "system"."""
    system = System({name: lambda pair=pair: pair for name, pair in pairs.items()})
    return evaluate_systems({"system": system}, OURS, jobs=jobs)


def write(path: Path, seed: int = 0, rate: int = RATE) -> Path:
    path.parent.mkdir(exist_ok=True)
    write_audio(path, torch.from_numpy(speech_like(1.0, rate, seed)), rate)
    return path


def test_every_system_has_its_scores_and_its_files() -> None:
    one, two = pair(), pair(1)
    half = Pair(two.reference, 0.5 * two.generated, RATE, Path("r.wav"), Path("g.wav"))
    seen: list[int] = []
    scores = evaluate_systems(
        {
            "a": System({"one": lambda: one, "two": lambda: two}, ["hi"]),
            "b": System({"two": lambda: half}),
        },
        OURS,
        lambda: seen.append(1),
    )
    assert len(seen) == 3
    assert (scores.metrics, scores.missing, scores.common) == (OURS, {}, ["two"])
    assert scores.notes == {"a": ["hi"], "b": []}
    assert list(scores.table["mel_l1"])[:2] == [0.0, 0.0]
    arrays = two.reference.numpy(), half.generated.numpy()
    assert scores.table["mel_l1"]["b", "two"] == METRICS["mel_l1"].function(*arrays, RATE)
    assert scores.references == {"two": Path("r.wav")}
    assert scores.generated == {"a": {}, "b": {"two": Path("g.wav")}}


def test_pairs_are_aligned_before_scoring() -> None:
    wave = pair().reference
    late = torch.cat([torch.zeros(441), wave, torch.zeros(2205)])
    result = evaluate(late=Pair(wave, late[None].requires_grad_(), RATE))  # a batch of one
    assert list(result.table.iloc[0, :4]) == [1.0, 20.0, 120.0, 0.0]


def test_all_metrics_are_the_default_and_one_without_its_library_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_filter, "CREPE", "tiny")
    odd = Metric(lambda *_: 1 / 0, "", "higher", "no_such_library", "none")
    monkeypatch.setitem(METRICS, "odd", odd)
    result = evaluate_systems({"system": System({"one": pair})})
    assert {*result.metrics, *result.missing} == set(METRICS)
    assert "odd" not in result.metrics
    assert result.missing["odd"].startswith("no_such_library cannot be imported (")


@pytest.mark.parametrize(
    "bad", [torch.zeros(0), torch.zeros(2, 100), torch.full((100,), NAN), torch.tensor(1.0)]
)
def test_bad_waves_are_named(bad: torch.Tensor) -> None:
    good = pair().reference
    for waves in ((bad, good), (good, bad)):
        with pytest.raises(InputError, match=r"^Cannot score the_name: .*\.$"):
            evaluate(the_name=Pair(*waves, RATE))


def test_nothing_in_common_is_found_before_anything_is_read() -> None:
    systems = {"a": System({"x": lambda: 1 / 0}), "b": System({"y": lambda: 1 / 0})}  # type: ignore[dict-item, return-value]
    with pytest.raises(InputError, match="No utterance is common to a, b"):
        evaluate_systems(systems, OURS)


@pytest.mark.slow
def test_processes_give_the_same_scores_in_the_same_order() -> None:
    pairs = {f"s{seed}": pair(seed, 0.8) for seed in range(5)}
    alone, shared = evaluate(**pairs), evaluate(jobs=2, **pairs)
    assert shared.common == ["s0", "s1", "s2", "s3", "s4"]
    pd.testing.assert_frame_equal(shared.table, alone.table)


@pytest.mark.slow
def test_a_bad_wave_and_a_killed_process_end_the_processes() -> None:
    with pytest.raises(InputError, match="Cannot score bad"):
        evaluate(jobs=2, good=pair(), bad=Pair(torch.zeros(0), torch.zeros(10), RATE))

    def kill() -> Pair:
        multiprocessing.active_children()[0].kill()
        return pair()

    pairs = {"first": pair, "second": kill} | {f"s{i}": pair for i in range(8)}
    with pytest.raises(InputError, match=r"^A scoring process was killed.*\.$"):
        evaluate_systems({"system": System(pairs)}, OURS, jobs=2)


def test_recordings_are_resynthesised_and_kept_to_listen_to(tmp_path: Path) -> None:
    recordings = {f"s{seed}": write(tmp_path / f"s{seed}.flac", seed, 16000) for seed in (0, 1)}
    system = resynthesis_system(recordings, lambda wave: 0.5 * wave[:-100], RATE, tmp_path, ["hi"])
    assert (list(system.pairs), system.notes) == (["s0", "s1"], ["hi"])
    for name, load in system.pairs.items():
        pair = load()
        assert len(pair.reference) == RATE == pair.sample_rate
        assert torch.equal(pair.generated, 0.5 * pair.reference[:-100])
        assert pair.reference_file == recordings[name]
        assert pair.generated_file == tmp_path / f"{name}.wav"
        wave, rate = read_audio(pair.generated_file)
        assert rate == RATE
        torch.testing.assert_close(wave, pair.generated, atol=1e-4, rtol=0)


def test_folders_match_by_name_and_rate(tmp_path: Path) -> None:
    ref, gen = tmp_path / "ref", tmp_path / "gen"
    for path in (ref / "a.flac", ref / "b.wav", ref / "c.wav", gen / "a.wav"):
        write(path)
    write(gen / "b.ogg", rate=44100)
    (gen / "notes.txt").write_text("not audio")
    system = folder_system(ref, gen)
    pairs = {name: load() for name, load in system.pairs.items()}
    assert {name: (p.reference_file, p.generated_file) for name, p in pairs.items()} == {
        "a": (ref / "a.flac", gen / "a.wav"), "b": (ref / "b.wav", gen / "b.ogg")
    }  # fmt: skip
    assert all(p.sample_rate == RATE and len(p.generated) == RATE for p in pairs.values())
    assert system.notes == ["nothing was generated for c"]
    assert list(folder_system(ref, gen, "[bc].*").pairs) == ["b"]
    write(gen / "d.wav")
    with pytest.raises(InputError, match=r"d\.wav has no recording"):
        folder_system(ref, gen)


def test_folders_that_do_not_help(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        audio_files(tmp_path / "no")
    with pytest.raises(InputError, match="no audio"):
        audio_files(tmp_path)
    write(tmp_path / "a.wav")
    assert list(audio_files(tmp_path, "a*")) == ["a"]
    with pytest.raises(InputError, match=r"matches 'b\*'\.$"):
        audio_files(tmp_path, "b*")
    write(tmp_path / "a.flac")
    with pytest.raises(InputError, match="the same name"):
        audio_files(tmp_path)


def test_both_are_compared_at_a_rate_that_is_given(tmp_path: Path) -> None:
    """Audio of 16 kHz is not blamed for what it cannot hold, nor are recordings of 22.05 kHz."""
    wave = torch.from_numpy(speech_like(1.0, 22050))
    (tmp_path / "ref").mkdir()
    (tmp_path / "gen").mkdir()
    write_audio(tmp_path / "ref" / "a.wav", wave, 22050, "float")
    low = resample(wave, 22050, 16000)
    write_audio(tmp_path / "gen" / "a.wav", low, 16000, "float")
    system = folder_system(tmp_path / "ref", tmp_path / "gen", rate=16000)
    pair = system.pairs["a"]()
    assert pair.sample_rate == 16000 and system.notes == [
        "recordings and generated audio compared at 16000 Hz"
    ]
    torch.testing.assert_close(pair.reference, pair.generated, rtol=0, atol=1e-4)
    assert folder_system(tmp_path / "ref", tmp_path / "gen").pairs["a"]().sample_rate == 22050
    files = {"a": tmp_path / "ref" / "a.wav"}
    made = resynthesis_system(files, lambda x: 0.5 * x, 22050, rate=16000)
    pair = made.pairs["a"]()
    assert pair.sample_rate == 16000 and made.notes == system.notes
    torch.testing.assert_close(pair.generated, 0.5 * pair.reference, rtol=0, atol=1e-4)
