"""The recipes as people run them: bash, all stages, on signals made here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from patience import PATIENCE, until
from signals import speech_like
from tiny import speech_mel

from diffwave.checkpoint import load_config
from diffwave.vocoder import Vocoder

ROOT = Path(__file__).parent.parent
TINY = (
    "spectral.channels=16", "spectral.layers=2", "spectral.level_width=16",
    "data.crop_frames=32", "optim.batch_size=2", "run.steps=2", "run.precision=float32",
)  # fmt: skip
STAGES = [f"== stage {n}" for n in range(5)]


def run(
    recipe: str, *arguments: object, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    changed = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.run(
        ["bash", str(ROOT / "recipes" / recipe / "run.sh"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        env=os.environ | changed,
    )


def tiny() -> list[str]:
    return [part for setting in TINY for part in ("--set", setting)]


def headings(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split(":")[0] for line in result.stderr.splitlines() if line.startswith("== st")]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips named as LJSpeech's, one of them no audio, in a folder with an odd name."""
    folder = tmp_path_factory.mktemp("data") / "LJSpeech '1.1' #2"
    (folder / "wavs").mkdir(parents=True)
    for number in (1, 20, 21, 22):
        path = folder / "wavs" / f"LJ001-{number:04d}.wav"
        soundfile.write(path, speech_like(1.6, 22050, number), 22050)
    (folder / "wavs" / "LJ001-0023.wav").write_bytes(b"RIFF, but not really")
    return folder


@pytest.fixture(scope="module")
def finished(
    recordings: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, list[object]]:
    """Where all stages have run, what they said, and the arguments."""
    place = tmp_path_factory.mktemp("it's a #place: here")
    arguments = ["--data-dir", recordings, "--config", "debug", "--exp-dir", "exp", *tiny()]
    arguments += ["--metrics", "pesq,loudness_db", "--speaker", "somebody", "--with", "adversarial"]
    result = run("ljspeech", *arguments, cwd=place)
    assert result.returncode == 0, result.stderr
    assert headings(result) == STAGES
    return place / "exp", result.stderr, arguments


@pytest.mark.slow
def test_all_stages_make_a_voice_with_a_card(finished: tuple[Path, str, object]) -> None:
    exp, errors, _ = finished
    assert "rejected: " in errors and "LJ001-0023" in errors
    assert [p.name for p in (exp / "held-out").iterdir()] == ["LJ001-0001.wav"]
    scores = json.loads((exp / "scores.json").read_text())
    assert [row["utterance"] for row in scores["utterances"]] == ["LJ001-0001"]
    assert load_config(exp / "voice").sampling.default == 2  # of the last run
    card = (exp / "voice" / "README.md").read_text()
    assert "2 steps in" in card and card.count("; then 2 steps in") == 4
    assert "| data | 0.1 min in 3 clips, and 1 held out |" in card
    assert "| pesq, MOS-LQO |" in " ".join(card.split())
    assert "| speaker | somebody |" in card
    assert "unrolled: 1.0" in (exp / "voice" / "stage-3.yaml").read_text()
    assert "adversarial: 2.0" in (exp / "voice" / "stage-4.yaml").read_text()
    wave = Vocoder.from_pretrained(exp / "voice", "cpu")(speech_mel(0.5))
    assert bool(wave.isfinite().all())


@pytest.mark.slow
def test_the_runs_are_trained_one_from_the_other(finished: tuple[Path, str, object]) -> None:
    exp, *_ = finished
    # The envelope is fitted once, and handed on.
    first, second, third = (Vocoder.from_pretrained(exp / stage / "export", "cpu").model
                            for stage in ("spectral", "adversarial", "enhancer"))  # fmt: skip
    envelope = first.space.envelope_bias
    assert envelope.equal(third.space.envelope_bias) and float(envelope.abs().max()) > 0
    # The last run trains the enhancer, and it alone.
    for name, tensor in second.network.state_dict().items():
        assert tensor.equal(third.network.state_dict()[name])
    assert not first.network.filter.weight.equal(third.network.filter.weight)
    one, other = (model.enhancer.output.weight for model in (second, third))
    assert not one.equal(other)


@pytest.mark.slow
def test_running_again_trains_nothing(finished: tuple[Path, str, list[object]]) -> None:
    exp, _, arguments = finished
    states = {path: path.stat().st_mtime_ns for path in exp.glob("*/step-*.pt")}
    assert states
    again = run("ljspeech", *arguments, "--stop-stage", "2", cwd=exp.parent)
    assert again.returncode == 0, again.stderr
    assert headings(again) == STAGES[:3] and "up to date" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in exp.glob("*/step-*.pt")} == states


@pytest.mark.slow
def test_runs_can_be_left_out(recordings: Path, tmp_path: Path) -> None:
    skip = [part for name in ("source", "spectral", "enhancer") for part in ("--skip", name)]
    arguments = ["--data-dir", recordings, "--config", "debug", "--exp-dir", "exp", *tiny(), *skip]
    result = run("ljspeech", *arguments, "--stop-stage", "2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    runs = {path.parent.name for path in (tmp_path / "exp").glob("*/export")}
    assert runs == {"unrolled"}


@pytest.mark.slow
def test_ctrl_c_ends_with_a_checkpoint_and_no_further_stage(
    recordings: Path, tmp_path: Path
) -> None:
    changes = [*tiny(), "--set", "run.steps=100000", "--set", "run.log_steps=1"]
    arguments = ["--data-dir", recordings, "--config", "debug", "--exp-dir", "exp", *changes]
    command = ["bash", str(ROOT / "recipes/ljspeech/run.sh"), *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    noted = tmp_path / "exp/source/metrics.csv"
    try:
        until(lambda: noted.is_file() and ",loss," in noted.read_text(), process)
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert errors.endswith("run.sh: stopped; the same command goes on.\n")
    assert list((tmp_path / "exp/source").glob("step-*.pt"))
    assert (tmp_path / "exp/source/export/config.json").is_file()
    assert not (tmp_path / "exp/spectral").exists()


@pytest.mark.slow
def test_your_voice_starts_from_the_bundled_one(recordings: Path, tmp_path: Path) -> None:
    changes = ["--set", "run.steps=1", "--set=data.crop_frames=48", "--set", "data.validation=[]"]
    arguments = [recordings / "wavs", "--config", "debug", *changes, "--stop-stage", "2"]
    result = run("your-voice", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert headings(result) == STAGES[:3]
    tuned = Vocoder.from_pretrained(tmp_path / "runs/wavs/tuned/export", "cpu").model
    bundled = Vocoder.from_pretrained(device="cpu").model
    assert tuned.space.envelope_bias.equal(bundled.space.envelope_bias)
    change = tuned.network.filter.weight - bundled.network.filter.weight  # type: ignore[union-attr]
    assert 0 < float(change.abs().max()) < 0.01  # moved on from there, by one step
    assert (tmp_path / "runs/wavs/prepared/report.md").is_file()


@pytest.mark.parametrize("recipe", ["ljspeech", "your-voice"])
def test_help_says_what_there_is(recipe: str, tmp_path: Path) -> None:
    result = run(recipe, "--help", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    for option in ("--stage", "--stop-stage", "--exp-dir", "--config", "--set"):
        assert option in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 110
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("recipe", "arguments", "sentence"),
    [
        ("ljspeech", ["--stage", "5"], "a stage is a number from 0 to 4, not 5"),
        ("ljspeech", ["--stage=x"], "a stage is a number from 0 to 4, not x"),
        ("ljspeech", ["--stage", "3", "--stop-stage", "2"], "--stage 3 comes after --stop-stage 2"),
        ("ljspeech", ["--stop-stage"], "--stop-stage needs a value; see --help"),
        ("ljspeech", ["--skip", "x"], "there is no run x to skip; there are source spectral unr"),
        ("your-voice", ["wavs", "--skip", "tuned"], "--skip leaves no run"),
        ("ljspeech", ["--with", "x"], "--with takes adversarial, not x"),
        ("ljspeech", ["--speed", "9"], "there is no option --speed; see --help"),
        ("ljspeech", ["wavs"], "there is no argument wavs; see --help"),
        ("ljspeech", ["--from-scratch"], "there is no option --from-scratch; see --help"),
        ("ljspeech", ["--data-dir", "nowhere"], "there is no folder nowhere"),
        ("ljspeech", ["--config", "nothing"], "there is no configuration nothing, neither "),
        ("ljspeech", ["--stage", "1"], "there is no runs/ljspeech/LJSpeech-1.1; run stage 0"),
        ("your-voice", [], "which recordings? Give a folder; see --help"),
        ("your-voice", ["nowhere"], "there is no folder nowhere"),
        ("your-voice", ["one", "two"], "there is one folder of audio, but two is another"),
        ("your-voice", ["one"], "there is no audio (.wav, .flac, .ogg, .opus, .mp3) below one"),
    ],
)
def test_what_is_wrong_is_told(
    recipe: str, arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs" / "a.wav").touch()
    result = run(recipe, *arguments, cwd=tmp_path)
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last.partition("run.sh: ")[2].startswith(sentence)
    assert result.stdout == ""


def test_opus_is_audio_too(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.OPUS").touch()
    result = run("your-voice", "one", "--stop-stage", "0", cwd=tmp_path)
    assert (result.returncode, headings(result)) == (0, STAGES[:1])


def test_a_setting_that_does_not_exist_stops_the_recipe(recordings: Path, tmp_path: Path) -> None:
    result = run("ljspeech", "--data-dir", recordings, "--set", "run.minuts=3", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.endswith("no setting run.minuts; did you mean run.minutes?\n")
    assert headings(result) == STAGES[:2]


def test_a_python_without_the_package_is_told(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 1\n")
    other.chmod(0o755)
    result = run("ljspeech", cwd=tmp_path, env={"PYTHON": str(other)})
    assert result.returncode == 2
    assert "has no diffwave; pip install -e '.[train,eval]'" in result.stderr


@pytest.mark.parametrize(
    ("module", "stage", "sentence"),
    [
        ("tensorboard", 2, "Stage 2 cannot run: "),
        ("pesq", 2, ""),
        ("pesq", 3, "Stage 3 has no metric to score with; pip install -e '.[train,eval]'"),
    ],
)
def test_what_a_later_stage_lacks_is_told_in_the_first(
    module: str, stage: int, sentence: str, recordings: Path, tmp_path: Path
) -> None:
    (tmp_path / f"{module}.py").write_text("raise ImportError('not here')")
    options = ["--data-dir", recordings, "--exp-dir", "exp", "--metrics", "pesq"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = run(
        "ljspeech", *options, "--stop-stage", stage, "--set", "run.stop=here",
        cwd=tmp_path, env={"PYTHONPATH": path},
    )  # fmt: skip
    assert result.returncode == 2
    assert sentence in result.stderr
    assert headings(result) == ([] if sentence else STAGES[:2])


@pytest.mark.skipif(not shutil.which("curl"), reason="the download is curl's")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("other", "is not LJSpeech 1.1 (wrong checksum)"),
        ("nothing", "stopped; the same command goes on with it\n"),
    ],
)
def test_another_archive_or_a_download_that_stops_is_told(
    name: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "other.tar.bz2").write_bytes(b"something else")
    url = {"LJSPEECH_URL": (tmp_path / f"{name}.tar.bz2").as_uri()}
    result = run("ljspeech", "--stop-stage", 0, cwd=tmp_path, env=url)
    assert result.returncode == 2 and sentence in result.stderr
    assert not (tmp_path / "runs/ljspeech/LJSpeech-1.1").exists()


@pytest.mark.skipif(not shutil.which("curl"), reason="the download is curl's")
def test_half_a_download_goes_on_and_is_unpacked(recordings: Path, tmp_path: Path) -> None:
    """With the checksum of an archive made here in the place of LJSpeech's."""
    archive = tmp_path / "LJSpeech-1.1.tar.bz2"
    inside = tmp_path / "source" / "LJSpeech-1.1"
    shutil.copytree(recordings, inside)
    subprocess.run(["tar", "-cjf", archive, "-C", inside.parent, inside.name], check=True)
    sums = tmp_path / "bin"
    sums.mkdir()
    # A sha256sum that vouches for this archive only, whole.
    published = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"
    (sums / "sha256sum").write_text(
        f"#!/bin/sh\ncmp -s - '{archive}' && echo '{published}  -' || echo 'other  -'\n"
    )
    (sums / "sha256sum").chmod(0o755)
    exp = tmp_path / "exp"
    exp.mkdir()
    content = archive.read_bytes()
    (exp / "LJSpeech-1.1.tar.bz2.part").write_bytes(content[: len(content) // 2])
    env = {"LJSPEECH_URL": archive.as_uri(), "PATH": f"{sums}:{os.environ['PATH']}"}
    result = run("ljspeech", "--stop-stage", 0, "--exp-dir", exp, cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr
    names = sorted(path.name for path in (exp / "LJSpeech-1.1" / "wavs").iterdir())
    assert names == sorted(path.name for path in (recordings / "wavs").iterdir())
    assert not (exp / "unpacking").exists()
    again = run("ljspeech", "--stop-stage", 0, "--exp-dir", exp, cwd=tmp_path)  # no URL needed
    assert again.returncode == 0, again.stderr


def test_scripts_are_clean() -> None:
    """As shellcheck sees them, where it is installed; as bash parses them, everywhere."""
    scripts = sorted((ROOT / "recipes").rglob("*.sh"))
    assert len(scripts) == 4
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)
        checker = shutil.which("shellcheck") or Path(sys.executable).with_name("shellcheck")
        if Path(checker).is_file():
            command = [str(checker), "-x", "-P", str(ROOT), script.name]
            result = subprocess.run(command, capture_output=True, text=True, cwd=script.parent)
            assert result.returncode == 0, result.stdout
