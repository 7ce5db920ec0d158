"""The settings under recipes/: each trains for a few steps, and what it exports speaks."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from signals import speech_like

from diffwave.chain.schedule import NAMED, alpha_bars
from diffwave.checkpoint import load_checkpoint, load_config
from diffwave.data import envelope
from diffwave.mel import PRESETS
from diffwave.model import DiffusionModel
from diffwave.train.loop import train
from diffwave.train.settings import read_config
from diffwave.train.warm_start import warm_start
from diffwave.vocoder import Vocoder, find_checkpoint

RECIPES = Path(__file__).parent.parent / "recipes"
RATES = {"16k": 16000, "22k": 22050, "24k": 24000, "44k": 44100, "48k": 48000}
TINY = [
    "spectral.channels=16", "spectral.layers=2", "spectral.level_width=16",
    "waveform.channels=4", "waveform.layers=3",
    "optim.batch_size=2", "run.steps=3", "run.log_steps=1", "run.compile=false",
    "run.precision=float32", "run.threads=1", "run.device=cpu", "run.minutes=1000",
]  # fmt: skip


def files(*names: str) -> list[str]:
    return [str(RECIPES / f"{name}.yaml") for name in names]


@pytest.fixture(autouse=True)
def small_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "BATCHES", 4)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Where `speaks` trains."""
    return tmp_path / "run"


def speaks(folder: Path, paths: list[str], *overrides: str) -> Vocoder:
    """Train a few steps on signals of the rate that the settings ask for; listen to the export."""
    sample_rate = read_config(paths).model_config().mel.sample_rate
    clips = folder.with_name("clips")
    clips.mkdir()
    for seed in range(2):
        soundfile.write(clips / f"{seed}.wav", speech_like(1.0, sample_rate, seed), sample_rate)
    places = [f"data.folder={clips}", f"run.folder={folder}"]
    export = train(read_config(paths, [*TINY, *places, *overrides]), progress_bar=False)
    vocoder = Vocoder.from_pretrained(export, "cpu")
    # Of what it was trained on: an envelope of two seconds knows nothing else.
    wave = torch.from_numpy(speech_like(1.0, sample_rate, 0))
    mel = vocoder.mel(wave)
    generated = vocoder(mel)
    assert vocoder.sample_rate == sample_rate
    assert generated.shape == (mel.shape[1] * vocoder.hop_length,)
    assert bool(torch.isfinite(generated).all())
    # Neither silent nor blown up: three steps teach no more.
    assert 0.01 < float(generated.square().mean().sqrt()) < 10
    return vocoder


@pytest.mark.parametrize("rate", RATES)
def test_every_rate_trains_and_speaks(rate: str, trained: Path) -> None:
    paths = files("ljspeech/spectral", f"rates/{rate}")
    n_iter = int(rate != "22k")
    vocoder = speaks(trained, paths, "data.crop_frames=24", f"sampling.n_iter={n_iter}")
    assert vocoder.sample_rate == RATES[rate]
    space = vocoder.config.space
    assert space.context(1) == (2048 if RATES[rate] > 40000 else 1024)
    # Settings of the voice that the rate does not change stay.
    assert vocoder.config.sampling.preset(4).levels == (1.0, 0.8, 0.6, 0.3)


@pytest.mark.parametrize("hop", [160, 275, 512])
def test_other_hops_train_and_speak(hop: int, trained: Path) -> None:
    overrides = [f"mel.hop_length={hop}", "data.crop_frames=20"]
    paths = files("ljspeech/spectral", "rates/24k")
    vocoder = speaks(trained, paths, *overrides, "sampling.n_iter=1")
    assert vocoder.hop_length == hop
    assert load_config(trained / "export").mel.name == f"vocos with hop_length {hop}"


@pytest.mark.parametrize("rate", RATES)
def test_loss_weights_reach_half_the_rate_or_as_far_as_is_heard(rate: str) -> None:
    """Beyond the last pair its weight holds: it must not be one of the bins that matter."""
    weights = read_config(files(f"rates/{rate}")).loss.bin_weights
    assert weights[-1][0] >= min(RATES[rate] / 2, 16000) or rate == "22k"
    assert weights[-1][1] <= 0.25


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ("base", ()),
        ("base", ("prior",)),
        ("base", ("zero-terminal-snr",)),
        ("base", ("learned-variance",)),
        ("large", ("prior", "zero-terminal-snr")),
        ("small", ("prior",)),
    ],
)
def test_diffwave_trains_and_speaks(size: str, options: tuple[str, ...], trained: Path) -> None:
    paths = files(*(f"waveform/{name}" for name in (size, *options)))
    vocoder = speaks(trained, paths, "data.crop_frames=8")
    prior = vocoder.config.space.prior
    assert prior.floor == (0.1 if "prior" in options else 1)
    last = vocoder.model.denoiser.levels(vocoder.model.sampling(6))[0]
    assert (float(last) == 0) == ("zero-terminal-snr" in options)
    assert (vocoder.config.diffusion.variance == "learned") == ("learned-variance" in options)


@pytest.mark.parametrize(("size", "channels", "steps"), [("base", 64, 50), ("large", 128, 200)])
def test_diffwave_is_the_papers(size: str, channels: int, steps: int) -> None:
    config = read_config(files(f"waveform/{size}"))
    model = config.model_config()
    assert (config.waveform.channels, config.waveform.layers) == (channels, 30)
    assert len(NAMED[model.diffusion.schedule]) == steps
    assert (config.optim.batch_size, config.optim.lr, config.optim.last_lr) == (16, 2e-4, 1)
    assert config.data.crop_frames * 256 == 15872
    # The listed levels are the published fast schedule.
    angles = torch.tensor(model.sampling.preset(6).levels, dtype=torch.float64)
    roots = torch.cos(angles * torch.pi / 2)
    fast = alpha_bars(NAMED[f"diffwave-{size}-fast"]).sqrt().flip(0)
    torch.testing.assert_close(roots, fast, rtol=0, atol=1e-6)


def test_the_stages_of_a_voice_are_of_one_model() -> None:
    stages = ("source", "spectral", "unrolled", "adversarial", "enhancer")
    first, *others = (read_config(files(f"ljspeech/{stage}")) for stage in stages)
    for other in others:
        assert first.model_config().network == other.model_config().network
        assert first.model_config().enhancer == other.model_config().enhancer is not None
        assert first.data.validation == other.data.validation


def test_the_runs_of_the_voice_for_speecht5_are_of_one_model() -> None:
    runs = ("ljspeech/source", "universal/universal", "ljspeech/enhancer")
    first, *others = (read_config(files(run, "universal/speecht5")) for run in runs)
    model = first.model_config()
    assert model.mel == PRESETS["speecht5"] and model.space.source_bands[-1] == 8000
    assert first.run.warm_start == "universal-22k" and not first.run.init
    for other in others:
        theirs = other.model_config()
        assert (theirs.network, theirs.enhancer, theirs.source, theirs.mel, theirs.space) == (
            model.network, model.enhancer, model.source, model.mel, model.space
        )  # fmt: skip
        assert first.data.validation == other.data.validation


@pytest.mark.parametrize("rate", RATES)
def test_the_bundled_voice_starts_a_voice_of_every_rate(rate: str) -> None:
    base = load_checkpoint(find_checkpoint("universal-22k"))
    model = DiffusionModel(read_config(files("ljspeech/source", f"rates/{rate}")).model_config())
    found = warm_start(model, base, "universal-22k")
    assert found.random == [] and bool(found.moved) == (rate != "22k")
    weights = {*found.taken, *found.moved}
    assert weights == {n for n in model.state_dict() if not n.startswith("space.")}


def test_every_file_of_settings_is_understood() -> None:
    found = sorted(RECIPES.rglob("*.yaml"))
    assert len(found) >= 12
    # What is no run's settings by itself is laid over these.
    below = {"waveform": "waveform/base", "ljspeech": "ljspeech/spectral"}
    for path in found:
        base = files(below.get(path.parent.name, "ljspeech/unrolled"))
        read_config([*base, str(path)]).model_config()
