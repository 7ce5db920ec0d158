"""The first few of the inputs that `python -m tests.fuzz.run` makes, and that it sees faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzz import run
from fuzz.inputs import KINDS
from fuzz.run import Outcome, digests, faults, fuzz, named_outputs

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


def test_what_the_command_line_names_as_output_is_no_input(tmp_path: Path) -> None:
    for name in ("a.npy", "a.wav", "b.wav", "copies/a.wav", "copies/a.npy", "copies/b.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"1")
    (tmp_path / "in" / "link.wav").symlink_to("a.wav")
    (tmp_path / "out").mkdir()
    for line, named in (
        ("mel in/copies in", {"a.npy"}),
        ("mel in in/copies", {"copies/a.npy"}),
        ("mel in/a.wav in/./copies/../a.npy", {"a.npy"}),
        ("mel in/a.wav out/a.npy", set()),
        ("mel in/a.wav in/copies", set()),
        ("mel in in", set()),
        ("synthesize --steps 1 in in/copies", {"copies/a.wav", "copies/b.wav"}),
        ("synthesize in/copies in", {"a.wav", "b.wav", "link.wav"}),
        ("synthesize in/a.npy in/link.wav", {"a.wav", "link.wav"}),
        ("synthesize in/a.wav in/link.wav", set()),
        ("synthesize in/a.npy in/a.wav --nonsense", set()),
        ("evaluate in in/copies", set()),
        ("nothing", set()),
    ):
        assert named_outputs(tmp_path, line.split()) == named, line
    before = digests(tmp_path / "in")
    (tmp_path / "in" / "a.npy").write_bytes(b"half")
    done = Outcome(0, "", "")
    (told,) = faults(done, tmp_path, before, {"a.npy"})
    assert told.startswith("a.npy: not whole")
    np.save(tmp_path / "in" / "a.npy", np.zeros(3))
    assert faults(done, tmp_path, before, {"a.npy"}) == []
    (tmp_path / "in" / "a.wav").write_bytes(b"2")
    assert "the input was changed" in faults(done, tmp_path, before, {"a.npy"})
    (tmp_path / "in" / "a.wav").write_bytes(b"1")
    (tmp_path / "in" / "a.npy").unlink()
    assert faults(done, tmp_path, before, {"a.npy"}) == ["the input was changed"]


def test_a_child_tells_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(arguments: list[str]) -> int:
        print(Path.cwd().name, "é" if arguments == ["print"] else "")
        if arguments == ["turn"]:
            while True:
                pass
        return len(arguments)

    monkeypatch.setattr(run.cli, "main", command)
    assert run.run_here(tmp_path, ["a", "b"]) == Outcome(2, f"{tmp_path.name} \n", "")
    with monkeypatch.context() as patch:
        patch.setattr(run, "PATIENCE", 0.2)
        assert run.run_here(tmp_path, ["turn"]).status == "hang"
    raised = run.run_here(tmp_path, ["print"])
    assert raised.status == 1 and "UnicodeEncodeError" in raised.errors
