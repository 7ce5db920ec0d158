"""A run becomes a checkpoint folder with a model card."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from patience import PATIENCE
from safetensors.torch import load_file
from tiny import enhancing_config, random_model
from torch.amp.grad_scaler import GradScaler

from diffwave import cli
from diffwave.base.errors import InputError
from diffwave.base.schema import stored
from diffwave.checkpoint import load_checkpoint, save_checkpoint
from diffwave.model import Sampling, SamplingConfig
from diffwave.train.config import TrainConfig
from diffwave.train.export import UNPUBLISHED, About, averaged_model, export_run
from diffwave.train.optimizers import make_optimizer
from diffwave.train.settings import SETTINGS_FILE, read_config, save_settings
from diffwave.train.state import Progress, Trained, save_state, saved_states

SCORES: dict[str, Any] = {
    "notes": ["checkpoint /home/me, at home/run/export, 2 steps of ddim, seed 0"],
    "metrics": {
        "pesq": {"mean": 2.5, "interval": [2.25, 2.75], "unit": "", "better": "higher"},
        "loudness": {"mean": -12.34, "interval": [None, None], "unit": "dB", "better": "0"},
        "f0": {"mean": None, "interval": [None, None], "unit": "cents", "better": "lower"},
    },
    "utterances": [{"utterance": "a"}, {"utterance": "b"}],
}


def make_run(folder: Path, steps: int = 7, seed: int = 0, init: str = "") -> Path:
    """A run folder whose newest state has averaged weights that differ from the last ones."""
    folder.mkdir()
    model = random_model(enhancing_config(), seed).requires_grad_(True)
    config = TrainConfig()
    average = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.add_(0.25)
    optimizer = make_optimizer(model.learned(), config.optim)
    trained = Trained(model, average, optimizer, GradScaler("cpu", enabled=False))
    save_state(folder, Progress(steps, 1.5), trained, keep=3)
    config.optim.lr = 0.125
    config.run.folder, config.data.folder = str(folder), str(folder.parent / "prepared")
    config.run.init = init
    save_settings(config, folder / SETTINGS_FILE)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_the_averaged_weights_are_exported(run: Path, tmp_path: Path) -> None:
    progress = export_run(run, tmp_path / "out", half=False)
    assert (progress.step, progress.minutes) == (7, 1.5)
    model = load_checkpoint(tmp_path / "out")
    last = random_model(enhancing_config())
    for name, parameter in last.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter + 0.25)
    for name, buffer in last.space.named_buffers():
        assert torch.equal(model.space.get_buffer(name), buffer)
    assert model.config == last.config


@pytest.mark.parametrize("half", [True, False])
def test_precision_is_as_asked(run: Path, tmp_path: Path, half: bool) -> None:
    export_run(run, tmp_path / "out", half=half)
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    kinds = {tensor.dtype for name, tensor in tensors.items() if "network." in name}
    assert kinds == {torch.float16 if half else torch.float32}
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"stored in {'half' if half else 'single'} precision" in card


def test_the_newest_sound_state_is_taken(run: Path, tmp_path: Path) -> None:
    (run / "step-00000009.pt").write_bytes(b"torn")
    _, progress = averaged_model(run)
    assert progress.step == 7
    saved_states(run)[0].write_bytes(b"torn too")
    with pytest.raises(InputError, match="None of the 2 checkpoints in .* can be read"):
        averaged_model(run)


def test_the_best_weights_may_be_taken(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no best weights: it was not validated yet"):
        export_run(run, tmp_path / "out", best=True)
    best = random_model(enhancing_config(), seed=5)
    save_checkpoint(best, run / "best", half=False)
    state = torch.load(saved_states(run)[0], weights_only=True)
    torch.save(state | {"best": 2.25, "best_by": "pesq"}, saved_states(run)[0])
    export_run(run, tmp_path / "out", best=True, half=False)
    for name, parameter in load_checkpoint(tmp_path / "out").named_parameters():
        torch.testing.assert_close(parameter, best.get_parameter(name))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| weights | those of the best validation so far (pesq 2.25) |" in card


def test_the_card_says_all_stages_and_scores(run: Path, tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", steps=1234)
    export_run(
        run,
        tmp_path / "voice",
        earlier=(first,),
        scores=SCORES,
        about=About(data="two hours of me"),
    )
    card = re.sub(" +", " ", (tmp_path / "voice" / "README.md").read_text())
    assert "\n# voice\n" in card
    assert "| training | 1,234 steps in 1.5 min; then 7 steps in 1.5 min |" in card
    assert "| data | two hours of me |" in card
    assert "`hifigan`: 80 bands, 0 to 8000 Hz, of audio at 22050 Hz" in card
    assert "| pesq | higher | 2.500 | 2.250 to 2.750 |" in card
    assert "| loudness, dB | 0 | -12.3 | - |" in card
    assert "| f0, cents | lower | - | - |" in card
    assert "On 2 held-out clips" in card
    assert "- this checkpoint, 2 steps of ddim, seed 0" in card and "/home" not in card
    assert "diffwave train stage-2.yaml " in card
    assert "| default | steps: 4 of ddim; noise levels: evenly spaced; mel-" in card


def test_the_settings_are_shipped_without_folders_of_this_machine(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", init="ljspeech-22k")
    last = make_run(tmp_path / "last", init=str(tmp_path / "first" / "export"))
    export_run(last, tmp_path / "voice", earlier=(first,))
    stages = [read_config(str(tmp_path / "voice" / f"stage-{i}.yaml")) for i in (1, 2)]
    assert [stage.optim.lr for stage in stages] == [0.125, 0.125]
    assert [stage.run.init for stage in stages] == ["ljspeech-22k", ""]
    for path in (tmp_path / "voice").glob("*.[ym]*"):
        assert str(tmp_path) not in path.read_text()
    export_run(last, tmp_path / "alone")
    assert read_config(str(tmp_path / "alone" / "settings.yaml")).optim.lr == 0.125
    assert f"| base voice | {UNPUBLISHED} |" in (tmp_path / "alone" / "README.md").read_text()


def test_a_voice_tuned_from_another_is_compared_with_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", init="ljspeech-22k")
    rows = ["0,0,pesq,2.5", "0,0,loss_validation,0.9", "5,1,pesq,3.5", "5,1,best,3.5"]
    rows += ["7,2,pesq,3.25", "7,2,loss_validation,0.75", "7,2,lr,1"]
    (run / "metrics.csv").write_text("step,minutes,name,value\n" + "\n".join(rows) + "\n")
    export_run(run, tmp_path / "out", about=About(speaker="Mary | me", licence="cc-by-4.0"))
    lines = (tmp_path / "out" / "README.md").read_text().splitlines()
    row = "| before and after | pesq 2.500 to 3.250; loss_validation 0.900 to 0.750 |"
    assert {"| base voice | ljspeech-22k |", "| speaker | Mary \\| me |", row} <= set(lines)
    front = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    assert front["license"] == "cc-by-4.0"
    assert (front["library_name"], front["pipeline_tag"]) == ("diffwave", "text-to-speech")
    assert "vocoder" in front["tags"] and "base_model" not in front
    save_checkpoint(random_model(enhancing_config()), run / "best")
    state = torch.load(saved_states(run)[0], weights_only=True)
    torch.save(state | {"best": 3.5, "best_by": "pesq"}, saved_states(run)[0])
    export_run(run, tmp_path / "out", best=True)
    assert "| before and after | pesq 2.500 to 3.500 |" in (tmp_path / "out/README.md").read_text()


def test_a_card_without_scores_claims_none(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "out", scores=SCORES)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (run / SETTINGS_FILE).unlink()
    export_run(run, tmp_path / "out", about=About("Aunt Mary"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith('---\nlicense: "unknown"\n') and "\n# Aunt Mary\n" in card
    assert "Scores" not in card and "How it was trained" not in card and "| data |" not in card
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_the_card_says_how_it_is_sampled(run: Path, tmp_path: Path) -> None:
    state = torch.load(saved_states(run)[0], weights_only=True)
    sampling = SamplingConfig(2, presets=(Sampling(2, levels=(1, 0.55), n_iter=6),))
    state["config"]["sampling"] = stored(sampling)
    torch.save(state, saved_states(run)[0])
    export_run(run, tmp_path / "out")
    text = "steps: 2 of ddim; noise levels: 1, 0.55; mel-consistency iterations: 6"
    assert f"| default | {text} |" in (tmp_path / "out" / "README.md").read_text()


def test_the_command_in_a_process_of_its_own(run: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    command = [sys.executable, "-m", "diffwave.cli", "export", str(run), str(tmp_path / "out")]
    options = ["--scores", str(tmp_path / "scores.json"), "--no-half", "--title", "Me"]
    result = subprocess.run([*command, *options], capture_output=True, text=True, timeout=PATIENCE)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"exported {tmp_path / 'out'}: 7 steps, 1.5 minutes\n"
    assert (tmp_path / "out" / "README.md").read_text().count("\n# Me\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "out"], "There is no run in nowhere: it holds no step-*.pt."),
        (["run", "no/where"], "Cannot write no/where: there is no folder no."),
        (["run", "out", "--scores", "other.json"], "The scores are not what `diffwave evaluate`"),
        (["run", "out", "--after", "nowhere"], "There is no run in nowhere"),
        (["old", "out"], "The run in old is of an early version"),
        (["foreign", "out"], "The newest state in foreign is not one of this package."),
    ],
)
def test_what_cannot_be_exported_is_told(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text('{"metrics": {"pesq": 3}}')
    state = torch.load(saved_states(run)[0], weights_only=True)
    foreign = state | {"ema": state["ema"][:-1]}
    for name, content in (("old", {"step": 3}), ("foreign", foreign)):
        Path(name).mkdir()
        torch.save(content, Path(name) / "step-00000003.pt")
    assert cli.main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"diffwave: {sentence}")
    assert error.count("\n") == 1
    assert not Path("out").exists()
