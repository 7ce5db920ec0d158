"""`diffwave import`: other projects' DiffWave, tensor by tensor and number by number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from signals import speech_like
from their_checkpoints import CYCLE, HOP, MELS, content, equations, random_state
from tiny import speech_mel
from told import Refuses, process

from diffwave import Vocoder
from diffwave.base.errors import InputError
from diffwave.checkpoint import load_checkpoint
from diffwave.importers import PROJECTS, About, import_checkpoint
from diffwave.importers.tensors import fold_weight_norm
from diffwave.mel import MelSpectrogram, preset

NAMES = {"lmnt": "weights-7.pt", "philsyn": "7.pkl", "speechbrain": "diffwave.ckpt"}
SMALL = About(dilation_cycle=CYCLE, schedule="diffwave-base")
# Philsyn's table of steps is not one: any step may be fractional. The last is the longest chain's.
STEPS = {"lmnt": [0.0, 23.62, 49.0], "philsyn": [0.0, 23.62, 49.0], "speechbrain": [0.0, 7.25, 49]}


def written(project: str, folder: Path, state: Any = None, **entries: Any) -> Path:
    """A file of the project with random weights, or those given."""
    file = folder / NAMES[project]
    held = content(project, random_state(project) if state is None else state)
    torch.save({**held, **entries}, file)
    return file


def inputs(project: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_t [3, L], t [3], mel [3, n_mels, T]."""
    draw = torch.Generator().manual_seed(5)
    mel = torch.randn(3, MELS, 5, generator=draw)
    return torch.randn(3, 5 * HOP, generator=draw), torch.tensor(STEPS[project]), mel


@pytest.mark.parametrize("project", PROJECTS)
def test_the_network_computes_the_equations(project: str, tmp_path: Path) -> None:
    state = random_state(project)
    import_checkpoint(project, written(project, tmp_path, state), tmp_path / "out", SMALL)
    network = load_checkpoint(tmp_path / "out").network
    x_t, t, mel = inputs(project)
    expected = equations(project, state, x_t, t, mel)
    assert 0.02 < expected.std() < 30
    torch.testing.assert_close(network(x_t, t, mel).double(), expected, rtol=1e-5, atol=1e-5)
    cond = network.condition(mel)
    torch.testing.assert_close(network(x_t, t, cond=cond), network(x_t, t, mel))


@pytest.mark.parametrize("whole", [False, True], ids=["network", "network and diffusion"])
def test_speechbrain_agrees(whole: bool, tmp_path: Path) -> None:
    theirs = pytest.importorskip("speechbrain.lobes.models.DiffWave")
    noise = pytest.importorskip("speechbrain.nnet.diffusion").GaussianNoise
    torch.manual_seed(0)
    model = theirs.DiffWave(MELS, 6, 8, 3, total_steps=200)
    with torch.no_grad():
        model.output_projection.conv.weight.normal_(std=0.3)
    diffusion = theirs.DiffWaveDiffusion(
        model, timesteps=200, noise=noise, beta_start=1e-4, beta_end=0.02
    )
    file = tmp_path / "diffwave.ckpt"
    torch.save((diffusion if whole else model).state_dict(), file)
    # The whole holds its betas; the network alone does not say what it was trained on.
    about = About(dilation_cycle=3, schedule="" if whole else "diffwave-large")
    config = import_checkpoint("speechbrain", file, tmp_path / "out", about)
    assert config.diffusion.schedule == "diffwave-large"
    network = load_checkpoint(tmp_path / "out").network
    x_t, _, mel = inputs("speechbrain")
    for step in (0.0, 3.5, 150.875, 199.0):
        t = torch.tensor([step])
        with torch.no_grad():
            expected = model.double()(x_t.double()[:, None], t.double(), mel.double())[:, 0]
        found = network(x_t, t.expand(3), mel)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_speechbrains_mel_is_the_one_of_the_checkpoint() -> None:
    module = pytest.importorskip("speechbrain.lobes.models.HifiGAN")
    # The name was misspelt before SpeechBrain 1.1.
    theirs = getattr(module, "mel_spectrogram", None) or module.mel_spectogram
    wave = torch.from_numpy(speech_like(1.0, 22050))
    expected = theirs(22050, 256, 1024, 1024, 80, 0.0, 8000.0, 1, False, "slaney", "slaney", True,
                      wave[None])  # fmt: skip
    found = MelSpectrogram(PROJECTS["speechbrain"].mel)(wave[None])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("project", "channels", "schedule", "steps"),
    [
        ("lmnt", 64, "diffwave-base", 50),
        ("philsyn", 64, "diffwave-base", 50),
        ("philsyn", 128, "diffwave-large", 200),
        ("speechbrain", 64, "diffwave-base", 50),
    ],
)
def test_published_sizes(
    project: str, channels: int, schedule: str, steps: int, tmp_path: Path
) -> None:
    state = random_state(project, channels, 30)
    held = content(project, state)
    held.pop("params", None)  # an early file of lmnt, which says nothing of itself
    torch.save(held, tmp_path / "file")
    config = import_checkpoint(project, tmp_path / "file", tmp_path / "out", About())
    assert config.diffusion.schedule == schedule
    assert config.network.dilation_cycle == 10
    model = load_checkpoint(tmp_path / "out")
    assert sum(p.numel() for p in model.learned()) == sum(
        tensor.numel() for name, tensor in state.items() if not name.endswith("_g")
    )
    assert model.config == config
    assert config.sampling.default == 6
    fast = model.denoiser.levels(model.sampling())
    assert len(model.denoiser.levels(model.sampling(steps))) == steps
    last = {"diffwave-base": 0.5, "diffwave-large": 0.7}[schedule]
    betas = torch.tensor([1e-4, 1e-3, 0.01, 0.05, 0.2, last], dtype=torch.float64)
    torch.testing.assert_close(fast.flip(0), torch.cumprod(1 - betas, 0))


@pytest.mark.parametrize("project", PROJECTS)
def test_the_command_makes_a_voice(project: str, tmp_path: Path) -> None:
    file, out = written(project, tmp_path), tmp_path / "voice"
    words = ["--dilation-cycle", str(CYCLE), "--schedule", "diffwave-base"]
    more = ["--license", "apache-2.0", "--speaker", "LJ", "--data", "LJSpeech | all", *words]
    done = process("import", project, file, out, *more)
    assert (done.returncode, done.stderr) == (0, "")
    assert PROJECTS[project].title in done.stdout and done.stdout.count("\n") == 1
    config = json.loads((out / "config.json").read_text())
    assert config["diffusion"] == {
        "prediction": "eps", "schedule": "diffwave-base", "zero_terminal_snr": False,
        "variance": "fixed",
    }  # fmt: skip
    assert config["mel"]["name"] == {"lmnt": "lmnt"}.get(project, "tacotron2")
    card = (out / "README.md").read_text()
    for words in (PROJECTS[project].address, file.name, "apache-2.0", "LJSpeech \\| all", "LJ"):
        assert words in card
    assert "--steps 50" in card and str(tmp_path) not in card
    vocoder = Vocoder.from_pretrained(out, "cpu")
    mel = vocoder.mel(torch.from_numpy(speech_like(0.4, 22050)))
    wave = vocoder(mel)
    assert wave.shape == (mel.shape[1] * HOP,) and bool(torch.isfinite(wave).all())
    # What is generated in chunks is what is generated at once, also at the reflected ends.
    torch.testing.assert_close(vocoder(mel, chunk_frames=9), wave, rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="like"):
        vocoder(speech_mel(2.0, "espnet"))


def test_lmnts_own_settings_are_followed(tmp_path: Path) -> None:
    file = written("lmnt", tmp_path)
    params = torch.load(file, weights_only=True)["params"]
    params |= {
        "sample_rate": 44100,
        "n_fft": 2048,
        "noise_schedule": torch.linspace(1e-4, 0.02, 200).tolist(),
        "inference_noise_schedule": [1e-4, 1e-3, 0.01, 0.05, 0.2, 0.7],
    }
    config = import_checkpoint("lmnt", written("lmnt", tmp_path, params=params), tmp_path / "o",
                               About())  # fmt: skip
    mel = config.mel
    assert (mel.sample_rate, mel.n_fft, mel.win_length, mel.fmax) == (44100, 2048, 1024, 22050)
    assert mel.limits == preset("lmnt").limits
    assert config.diffusion.schedule == "diffwave-large"
    assert config.network.step_rows == 200
    assert config.network.dilation_cycle == CYCLE
    assert len(config.sampling.preset().levels) == 6


def test_both_ways_of_weight_normalisation() -> None:
    conv = torch.nn.ConvTranspose2d(2, 3, (3, 4))
    expected = conv.weight.detach().clone()
    for normalise in (torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm):
        module = torch.nn.Sequential(torch.nn.ConvTranspose2d(2, 3, (3, 4)))
        module[0].load_state_dict(conv.state_dict())
        normalise(module[0])
        with torch.no_grad():  # a norm of another size, which the weight follows
            for name, parameter in module.named_parameters():
                if name.endswith(("_g", "original0")):
                    parameter.mul_(2)
        folded = fold_weight_norm(module.state_dict())
        assert folded.keys() == {"0.weight", "0.bias"}
        torch.testing.assert_close(folded["0.weight"], 2 * expected)


def test_weights_of_several_gpus(tmp_path: Path) -> None:
    state = random_state("philsyn")
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    import_checkpoint("philsyn", written("philsyn", tmp_path, state), tmp_path / "a", SMALL)
    import_checkpoint("philsyn", written("philsyn", tmp_path, wrapped), tmp_path / "b", SMALL)
    a, b = (load_checkpoint(tmp_path / name).state_dict() for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("what", ["missing", "unknown", "shape", "infinite", "layers"])
def test_every_tensor_is_accounted_for(
    project: str, what: str, here: Path, refuses: Refuses
) -> None:
    state = random_state(project)
    name = sorted(key for key in state if key.endswith("bias"))[3]
    if what == "missing":
        state.pop(name)
    elif what == "layers":  # one layer more, of which the rest is missing
        name = next(key for key in state if ".1." in key and key.endswith(("weight", "w.weight")))
        name = name.replace(".1.", ".9.")
        state[name] = torch.zeros(512)
    elif what == "unknown":
        name = "surprise.weight"
        state[name] = torch.zeros(3)
    elif what == "shape":
        state[name] = torch.zeros(5)
    else:
        state[name] = state[name] * float("nan")
    file = written(project, here, state)
    command = ["import", project, file, "out", "--schedule=diffwave-base"]
    words = [str(file), *([name] if what != "layers" else [])]
    refuses([*command, f"--dilation-cycle={CYCLE}"], *words)


@pytest.mark.parametrize(("said", "is_of"), [("lmnt", "philsyn"), ("philsyn", "lmnt")])
def test_a_file_of_another_project_is_named(
    said: str, is_of: str, here: Path, refuses: Refuses
) -> None:
    torch.save(content(said, random_state(is_of)), "file")
    for file in ("file", written(is_of, here)):
        refuses(["import", said, file, "out"], "looks like", PROJECTS[is_of].title)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (None, "No such file"),
        (b"", "damaged"),
        (b"PK\x03\x04 not an archive", "damaged"),
        ([1, 2], "'model'"),
        ({"model": {}}, "no weights"),
        ({"model": {"a": 1}}, "not the name of a tensor"),
        ({"model": {"a": torch.zeros(2)}}, "no DiffWave of lmnt-com/diffwave"),
        ({"model": {"input_projection.weight": torch.zeros(())}}, "channels"),
        ({"model": {"a": np.float64}}, "Python objects"),
    ],
)
def test_files_that_are_none(held: Any, words: str, refuses: Refuses) -> None:
    if isinstance(held, bytes):
        Path("weights.pt").write_bytes(held)
    elif held is not None:
        torch.save(held, "weights.pt")
    refuses(["import", "lmnt", "weights.pt", "out"], "weights.pt", words)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"noise_schedule": "abc"}, "noise_schedule"),
        ({"noise_schedule": [0.1, 0.2]}, "2 steps of beta from 0.1 to 0.2"),
        ({"inference_noise_schedule": [0.9]}, "cannot be aligned"),
        ({"sample_rate": "much"}, "sample_rate"),
        ({"hop_samples": 300}, "win_length"),
        ({"hop_samples": 128}, "has the shape [1, 1, 3, 32]"),
        ({"dilation_cycle_length": 0}, "dilation_cycle"),
    ],
)
def test_settings_that_make_no_sense(
    params: dict[str, Any], words: str, here: Path, refuses: Refuses
) -> None:
    file = written("lmnt", here, params=params)
    refuses(["import", "lmnt", file, "out"], str(file), words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mel", "nonsense"], "nonsense"),
        (["--mel", "vocos"], "mel bands"),
        (["--schedule", "nonsense"], "nonsense"),
        (["--schedule", "angle"], "angles"),
    ],
)
def test_wrong_options(arguments: list[str], words: str, here: Path, refuses: Refuses) -> None:
    refuses(["import", "lmnt", written("lmnt", here), "out", *arguments], words)


def test_a_size_without_a_schedule_needs_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="6 channels are neither BASE nor LARGE"):
        import_checkpoint("philsyn", written("philsyn", tmp_path), tmp_path / "out", About())


def test_a_short_mel_is_refused_where_ends_are_reflected(tmp_path: Path) -> None:
    state = random_state("speechbrain", layers=10)
    import_checkpoint("speechbrain", written("speechbrain", tmp_path, state), tmp_path / "out",
                      About())  # fmt: skip
    vocoder = Vocoder.from_pretrained(tmp_path / "out", "cpu")
    mel = vocoder.mel(torch.from_numpy(speech_like(0.4, 22050)))
    assert vocoder(mel[:, :3]).shape == (3 * HOP,)
    with pytest.raises(InputError, match="at least 3 frames"):
        vocoder(mel[:, :2])


def test_unconditional_weights(tmp_path: Path) -> None:
    state = {
        name: tensor for name, tensor in random_state("lmnt").items()
        if "upsampler" not in name and "conditioner" not in name
    }  # fmt: skip
    config = import_checkpoint("lmnt", written("lmnt", tmp_path, state), tmp_path / "out", SMALL)
    assert config.network.n_mels == 0
    network = load_checkpoint(tmp_path / "out").network
    x_t, t, _ = inputs("lmnt")
    assert network(x_t, t).shape == x_t.shape
