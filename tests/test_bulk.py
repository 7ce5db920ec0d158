"""recipes/bulk: every mel is spoken once and whole, whatever ends in between."""

from __future__ import annotations

import csv
import functools
import importlib
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import numpy as np
import psutil
import pytest
import soundfile
from patience import PATIENCE, until
from tiny import speech_mel
from told import ENVIRONMENT, ROOT, script

from diffwave import Vocoder
from diffwave.base.errors import InputError

Recipe = dict[str, ModuleType]
BULK = ROOT / "recipes" / "bulk"


@pytest.fixture(scope="module")
def recipe() -> Any:
    """The recipe's modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BULK))
        yield {name: importlib.import_module(name) for name in ("jobs", "worker", "report", "cost")}


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_folder_and_a_manifest_name_the_same_jobs(recipe: Recipe, tmp_path: Path) -> None:
    read = recipe["jobs"].read_jobs
    (tmp_path / "mels" / "b").mkdir(parents=True)
    for name in ("a.npy", "b/c.npy", ".hidden.npy", "text.txt"):
        (tmp_path / "mels" / name).write_bytes(b"x")
    found = read(str(tmp_path / "mels"))
    assert [job.id for job in found] == ["a", "b/c"]
    table = write(tmp_path / "mels" / "m.csv", "mel,speaker\na.npy,x\nb/c.npy,y\n")
    assert read(table) == found
    lines = write(tmp_path / "m.jsonl", '{"mel": "mels/a.npy", "id": "1"}\n\n{"mel": "/x/y.npy"}\n')
    assert [(job.id, job.mel) for job in read(lines)] == [
        ("1", f"{tmp_path}/mels/a.npy"),
        ("y", "/x/y.npy"),
    ]
    memory = fsspec.filesystem("memory")
    memory.pipe("/mels/b/d.npy", b"x")
    assert [(job.id, job.mel) for job in read("memory://mels")] == [
        ("b/d", "memory:///mels/b/d.npy")
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.csv", "mel\n", "no mel in"),
        ("m.csv", "path\na.npy\n", "Line 2 of"),
        ("m.csv", "mel,id\na.npy,1\nb.npy,1\n", "have the same id 1"),
        ("m.csv", "mel,id\na.npy,../../etc/x\n", "cannot be the name"),
        ("m.csv", "mel,id\na.npy,/etc/x\n", "cannot be the name"),
        ("m.csv", "mel,id\na.npy,.hidden\n", "cannot be the name"),
        ("m.jsonl", '{"mel": "a.npy"}\n{"mel"', "Line 2 of"),
        ("m.jsonl", "[1]\n", "Line 1 of"),
        ("m.jsonl", '{"mel": 3}\n', "Line 1 of"),
        ("m.jsonl", '{"mel": "a.npy", "id": 3}\n', "id must be text"),
    ],
)
def test_manifests_that_are_none(
    recipe: Recipe, tmp_path: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        recipe["jobs"].read_jobs(write(tmp_path / name, text))
    for missing in (tmp_path / "no.csv", tmp_path / "none", "nosuch://x/y", tmp_path / name / "z"):
        with pytest.raises(InputError):
            recipe["jobs"].read_jobs(str(missing))


def test_a_worker_speaks_and_says_what_is_wrong(
    recipe: Recipe, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    worker, jobs = recipe["worker"], recipe["jobs"]
    attempts, mel = worker.Attempts(), speech_mel(0.5)
    np.save(tmp_path / "good.npy", mel)
    np.save(tmp_path / "two.npy", np.stack([mel, mel]))
    with fsspec.open("memory://in/far.npy", "wb") as file:
        np.save(file, mel.numpy())
    wave = Vocoder.from_pretrained(tiny_checkpoint, "cpu")(mel, seed=3).numpy()
    for place in (str(tmp_path / "out"), "memory://out"):
        results = jobs.Results(place, ".wav")
        (tmp_path / "out").mkdir(exist_ok=True)
        assert results.done() == set()
        speak = worker.Synthesiser(
            str(tiny_checkpoint), "cpu", 1, {"seed": 3}, results, attempts.begin, attempts.end
        )
        good, two, none = (tmp_path / f"{name}.npy" for name in ("good", "two", "no"))
        paths = [good, "memory://in/far.npy", two, none]
        ids = np.array(["a/good", "far", "two", "no"], dtype=object)
        found = speak({"id": ids, "mel": np.array(list(map(str, paths)), dtype=object)})
        assert list(found["reason"][:2]) == ["", ""] and results.done() == {"a/good", "far"}
        assert "2 mel-spectrograms" in found["reason"][2] and "no file" in found["reason"][3]
        assert found["speech"][0] == pytest.approx(len(wave) / 22050) and found["work"].min() > 0
        with fsspec.open(results.name("a/good"), "rb") as file:
            stored = soundfile.read(file)[0]
        assert np.abs(stored - wave.clip(-1, 1)).max() <= 1.01 / 32768
    assert not attempts.begun


def test_a_mel_that_ends_its_worker_each_time_is_given_up(
    recipe: Recipe, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    worker = recipe["worker"]
    attempts, results = worker.Attempts(), recipe["jobs"].Results(str(tmp_path), ".wav")
    speak = worker.Synthesiser(
        str(tiny_checkpoint), "cpu", 1, {}, results, attempts.begin, attempts.end
    )
    for _ in range(worker.MOST_ATTEMPTS):  # each of which ended before its end
        attempts.begin("x")
    assert speak.speak("x", "x.npy") == (0.0, 0.0, "its worker ended in each of 5 attempts")
    assert attempts.begin("x") == 1


def test_a_report_counts_each_job_once_and_stores_both_tables(
    recipe: Recipe, tmp_path: Path
) -> None:
    report = recipe["report"].Report(tmp_path, total=5, already=1, workers=2, every=1e9)
    batch = {"id": ["a", "=b"], "mel": ["a.npy", "b.npy"], "speech": [4.0, 0.0], "work": [1.0, 0.5]}
    for _ in range(2):  # the second time after its worker ended
        report.add({**batch, "reason": ["", 'it is "torn"\n, they say']})
    report.write()
    assert report.done == 1 and report.speech == 4.0
    line = report.line()
    assert "2 of 5 utterances" in line and "1 failed" in line and line.endswith("left")
    with (tmp_path / "failures.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "mel", "reason"] and rows[1][0] == "'=b" and len(rows) == 2
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["spoken"] == 2 and summary["failed"] == 1 and summary["utterances"] == 5
    duration = recipe["report"].duration
    assert [duration(s) for s in (40, 312, 12_000)] == ["40 s", "5 min 12 s", "3 h 20 min"]


def test_the_cost_follows_from_the_real_time_factor_and_the_prices(tmp_path: Path) -> None:
    prices = write(
        tmp_path / "p.csv", "machine,vcpus,price,currency,date,source\nmine,4,0.5,EUR,2026-01,me\n"
    )
    summary = write(tmp_path / "summary.json", '{"rtf_of_a_worker": 0.04}')
    cost = functools.partial(script, BULK / "cost.py")
    done = cost(summary, "--prices", prices, "--hours", 200)
    assert done.returncode == 0, done.stderr
    row = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")]
    assert row == ["mine", "4", "0.5 EUR", "2.0", "1.00 EUR", "me, 2026-01"]
    assert cost("--rtf", 0.03).returncode == 0  # the recipe's own table
    bad = write(tmp_path / "b.csv", "machine,vcpus,price,currency,date,source\nmine,0,1,EUR,x,me\n")
    for wrong in (("--rtf", "0"), ("--rtf", "1", "--prices", bad), (), (tmp_path / "none",)):
        done = cost(*wrong)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def start(*arguments: object) -> subprocess.Popen[str]:
    """The recipe as its user starts it."""
    return subprocess.Popen(
        [sys.executable, str(BULK / "bulk.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "ray::MapWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_killing_workers_and_the_run_itself_loses_nothing_and_doubles_nothing(
    recipe: Recipe, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("pyarrow")
    mels, output, chance = tmp_path / "mels", tmp_path / "speech", random.Random(0)
    (mels / "more").mkdir(parents=True)
    long = speech_mel(4.0)
    expected = {}
    for i in range(40):
        name = f"more/u{i}" if i % 2 else f"u{i}"
        expected[name] = long[:, i : i + 200]
        np.save(mels / f"{name}.npy", expected[name])
    np.save(mels / "transposed.npy", long.T)
    (mels / "torn.npy").write_bytes(b"\x93NUMPY")
    command = (mels, output, "--checkpoint", tiny_checkpoint, "--seed", 7, "--workers", 3)
    command = (*command, "--every", 1, "--format", "wav", "--n-iter", 60)

    def waves() -> set[str]:
        return {p.relative_to(output).with_suffix("").as_posix() for p in output.rglob("*.wav")}

    def wait(process: subprocess.Popen[str], count: int) -> None:
        until(lambda: len(waves()) >= count, process)

    first = start(*command)
    wait(first, 3)
    for count in (5, 8, 11):
        chance.choice(workers_of(first) or [psutil.Process(first.pid)]).send_signal(signal.SIGKILL)
        wait(first, count)
    children = psutil.Process(first.pid).children(recursive=True)
    first.kill()  # with all that it knew
    first.communicate()
    psutil.wait_procs(children, 60)
    half = waves()
    assert 11 <= len(half) < 40
    written = {name: (output / f"{name}.wav").stat().st_mtime_ns for name in half}

    second = start(*command)
    wait(second, len(half) + 4)
    for worker in workers_of(second)[:1]:
        worker.send_signal(signal.SIGKILL)
    said = second.communicate(timeout=PATIENCE)[0]
    assert second.returncode == 2, said  # for what cannot be spoken
    assert "2 of 42 mels failed" in said and "Traceback" not in said and "left" in said
    assert f"{len(half)} of them spoken before" in said

    assert waves() == set(expected)
    for name, before in written.items():  # not made again
        assert (output / f"{name}.wav").stat().st_mtime_ns == before
    assert not list(output.rglob("*.tmp"))
    voice = Vocoder.from_pretrained(tiny_checkpoint, "cpu")
    for name, mel in expected.items():
        wave = voice(mel, seed=7, n_iter=60).numpy().clip(-1, 1)
        stored, _ = soundfile.read(output / f"{name}.wav")
        assert stored.shape == wave.shape and np.abs(stored - wave).max() <= 1.01 / 32768
    with (output / "failures.csv").open(newline="") as file:
        failures = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(failures) == {"transposed", "torn"}
    assert "transposed" in failures["transposed"] and "torn.npy" in failures["torn"]
    summary = json.loads((output / "summary.json").read_text())
    assert summary["spoken"] == 40 and summary["spoken_by_this_run"] == 40 - len(half)

    other = start(*command, "--steps", 2)
    assert "another steps" in other.communicate(timeout=PATIENCE)[0] and other.returncode == 2
