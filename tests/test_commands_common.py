"""What several commands share: the vocoder that their options ask for, and files one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffwave.base.errors import InputError
from diffwave.commands.common import described, each, table, vocoder_of
from diffwave.commands.options import Generation
from diffwave.vocoder import Vocoder


def test_the_checkpoint_that_is_named(tiny_checkpoint: Path) -> None:
    chosen = vocoder_of(Generation(checkpoint=str(tiny_checkpoint), device="cpu"))
    assert chosen.config.network.channels == 16
    assert chosen.device.type == "cpu"


@pytest.mark.parametrize(("fixture", "most"), [("vocoder", 4), ("waveform_vocoder", 50)])
def test_more_steps_than_help_are_noted(
    fixture: str,
    most: int,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loaded = request.getfixturevalue(fixture)
    monkeypatch.setattr(Vocoder, "from_pretrained", lambda *_: loaded)
    for steps in (None, 1, most):
        vocoder_of(Generation(steps=steps))
    assert capsys.readouterr().err == ""
    vocoder_of(Generation(steps=most + 1))
    assert f"tuned for at most {most}." in capsys.readouterr().err


def test_options_in_words(vocoder: Vocoder) -> None:
    plain = described(Generation(), vocoder.model)
    assert plain == "4 steps of ddim, 0 mel-consistency iterations, seed 0"
    given = described(Generation(steps=2, sampler="ancestral", n_iter=3, seed=5), vocoder.model)
    assert given == "2 steps of ancestral, 3 mel-consistency iterations, seed 5"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("It is empty."), "It is empty."),
        (MemoryError(), "not enough memory"),
        (RuntimeError("[enforce fail] can't allocate memory\nmore"), "not enough memory"),
        (RuntimeError("shape\nmore"), "RuntimeError: shape"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "Unicode"),
    ],
)
def test_one_bad_file_does_not_stop_the_others(
    error: Exception, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [(Path(name), Path(f"{name}.wav")) for name in ("a", "b\x1b[2J\udcff", "c")]
    done = []

    def work(job: tuple[Path, Path]) -> None:
        if job[0].name.startswith("b"):
            raise error
        done.append(job)

    assert each(jobs, work) == 2
    assert done == [jobs[0], jobs[2]]
    told = capsys.readouterr().err
    assert words in told and "b\\x1b[2J\\udcff: " in told and told.count("\n") == 1


def test_a_table_has_straight_columns() -> None:
    assert table([("a", "bc"), (1.5, "\n")]) == "a    bc\n1.5  \\n"
