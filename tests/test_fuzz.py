"""The first few of the inputs that `python -m tests.fuzz.run` makes, and that it sees faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import run
from fuzz.inputs import KINDS
from fuzz.run import Outcome, digests, faults, fuzz

COUNT = 20  # of each kind


@pytest.mark.slow
def test_nothing_fails(tmp_path: Path) -> None:
    tallies = fuzz(list(KINDS), 5, 0, COUNT, tmp_path, real=False)
    assert [failure for tally in tallies.values() for failure in tally.failures] == []
    for tally in tallies.values():
        assert tally.inputs == COUNT
        assert 0 < tally.refused <= COUNT


def test_faults_are_seen(tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"a")
    before = digests(tmp_path / "in")
    refused = Outcome(2, "", "diffwave: There is no file.\n")
    assert faults(refused, tmp_path, before) == []
    (tmp_path / "out" / "a.npy").write_bytes(b"half")
    (tmp_path / "out" / ".0123.tmp").touch()
    (tmp_path / "in" / "a.wav").write_bytes(b"b")
    found = faults(Outcome(None, "\x1b", "Traceback ..\nKeyError: 1\n"), tmp_path, before)
    assert [fault.split(" (")[0] for fault in found] == [
        "status None: KeyError: 1",
        "control characters",
        "the input was changed",
        "something temporary is left",
        "a.npy: not whole",
    ]
    assert "no sentence" in faults(Outcome(2, "", "Traceback"), tmp_path, before)


def test_a_child_tells_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(arguments: list[str]) -> int:
        print(Path.cwd().name, "é" if arguments == ["print"] else "")
        if arguments == ["turn"]:
            while True:
                pass
        return len(arguments)

    monkeypatch.setattr(run.cli, "main", command)
    monkeypatch.setattr(run, "PATIENCE", 0.2)
    assert run.run_here(tmp_path, ["a", "b"]) == Outcome(2, f"{tmp_path.name} \n", "")
    assert run.run_here(tmp_path, ["turn"]).status == "hang"
    raised = run.run_here(tmp_path, ["print"])
    assert raised.status == 1 and "UnicodeEncodeError" in raised.errors
