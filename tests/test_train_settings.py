"""Settings from YAML and overrides: what they become, and what is said about a wrong one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from diffwave.chain.sampling import Sampling
from diffwave.errors import InputError
from diffwave.mel import PRESETS
from diffwave.spaces import EnergyPrior, WaveformConfig
from diffwave.train.config import TrainConfig
from diffwave.train.settings import read_config


@pytest.fixture
def yaml_file(tmp_path: Path) -> Path:
    path = tmp_path / "conf.yaml"
    path.write_text(
        "mel: vocos\n"
        "data:\n"
        "  folder: clips\n"
        "  validation: ['a*', 'b*']\n"
        "  gain_db: [-3, 3]\n"
        "optim:\n"
        "  lr: 1e-4\n"
        "loss:\n"
        "  bin_weights: [[0, 1], [4000, 0.5]]\n"
        "spectral:\n"
        "  dilations: [1, 3]\n"
        "sampling:\n"
        "  angles: {2: [1, 0.5]}\n"
        "run:\n",
        encoding="utf-8",
    )
    return path


def test_no_settings_are_the_defaults(tmp_path: Path) -> None:
    assert read_config(None) == TrainConfig()
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_config(str(tmp_path / "empty.yaml")) == TrainConfig()


def test_yaml_sets_every_kind_of_value(yaml_file: Path) -> None:
    config = read_config(str(yaml_file))
    assert config.mel == "vocos"
    assert config.data.folder == "clips"
    assert config.data.validation == ["a*", "b*"]
    assert config.data.gain_db == (-3.0, 3.0)
    assert config.optim.lr == 1e-4  # which YAML itself takes for text
    assert config.loss.bin_weights == [(0.0, 1.0), (4000.0, 0.5)]
    assert config.spectral.dilations == (1, 3)
    assert config.sampling.preset(2).levels == (1.0, 0.5)
    assert config.run == TrainConfig().run  # a section that is empty
    assert config.data.crop_frames == TrainConfig().data.crop_frames


def test_overrides_change_the_file(yaml_file: Path) -> None:
    overrides = ["optim.lr=0.5", "run.minutes=60", "data.validation=c*", "run.steps=1e3"]
    config = read_config(str(yaml_file), [*overrides, "loss.unrolled_angles=[1, .7, .4]"])
    assert config.optim.lr == 0.5
    assert config.run.minutes == 60
    assert isinstance(config.run.minutes, float)
    assert config.data.validation == ["c*"]
    assert config.run.steps == 1000
    assert isinstance(config.run.steps, int)
    assert config.loss.unrolled_angles == [1.0, 0.7, 0.4]
    assert config.mel == "vocos"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("run.minuts=3", r"no setting run\.minuts; did you mean run\.minutes\?"),
        ("spectrall.channels=3", r"no setting spectrall; did you mean spectral\?"),
        ("spectral.chanels=3", r"did you mean spectral\.channels\?"),
        ("zzz=1", "no setting zzz; there are mel, network"),
        ("run.steps", "KEY=VALUE"),
        ("data=3", "data needs settings of its own"),
        ("mel=3", r"mel has a value of a wrong type, 3"),
        ("prior.flor=0.1", r"did you mean prior\.floor\?"),
        ("run.steps.first=1", r"run\.steps has a value of a wrong type"),
        ("optim.lr=fast", r"optim\.lr has a value of a wrong type, 'fast'; its default is 0.002"),
        ("optim.lr=", r"optim\.lr .* wrong type, None"),
        ("optim.lr=true", r"optim\.lr .* wrong type, True"),
        ("run.steps=1.5", r"run\.steps .* wrong type, 1\.5"),
        ("run.steps=true", r"run\.steps .* wrong type, True"),
        ("run.compile=0", r"run\.compile .* wrong type, 0; its default is True"),
        ("run.folder=[1]", r"run\.folder .* wrong type"),
        ("data.gain_db=[1, 2, 3]", r"data\.gain_db .* wrong type, \[1, 2, 3\]"),
        ("data.gain_db=3", r"data\.gain_db must be a list, not 3"),
        ("data.validation=[1, 2]", r"data\.validation .* wrong type"),
        ("data.validation={a: b}", r"data\.validation must be a list"),
        ("spectral.dilations=[1, a]", r"spectral\.dilations .* wrong type, \[1, 'a'\]"),
        ("loss.bin_weights=[1, 2]", r"loss\.bin_weights .* wrong type"),
        ("sampling.angles=[1]", r"sampling\.angles .* must be mappings"),
        ("sampling.angles={4: 3}", r"sampling are wrong"),
        ("run.folder=[a", "not valid YAML"),
    ],
)
def test_a_wrong_setting_is_named(override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_config(None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        "data.crop_frames=0",
        "data.crop_frames=8",  # nothing is left between the edges
        "data.gain_db=[3, -3]",
        "data.dither=-1",
        "data.mel_tolerance=-1",
        "data.prepare.level=loud",
        "data.prepare.rms_db=3",
        "data.prepare.peak_db=-70",
        "data.prepare.piece_seconds=[5, 8]",
        "data.prepare.piece_seconds=[0.01, 8]",
        "data.prepare.piece_seconds=[1, .inf]",
        "data.prepare.margin_seconds=-1",
        "data.prepare.shortest_seconds=.nan",
        "data.prepare.max_clipped=1.5",
        "data.prepare.validation_share=-0.1",
        "optim.batch_size=0",
        "optim.lr=0",
        "optim.lr=.nan",
        "optim.last_lr=2",
        "optim.warmup_steps=-1",
        "optim.weight_decay=-1",
        "optim.betas=[0.9, 1]",
        "optim.clip_norm=0",
        "optim.accumulate=0",
        "run.keep=0",
        "run.precision=float8",
        "optim.ema=1",
        "loss.bin_weights=[]",
        "loss.bin_weights=[[100, 1], [50, 1]]",
        "loss.bin_weights=[[0, 0]]",
        "loss.edge_frames=-1",
        "loss.denoising=-1",
        "loss.restoration=-1",
        "loss.restoration_share=1.5",
        "loss.restoration_blur=-1",
        "loss.restoration_noise=.nan",
        "loss.unrolled=-1",
        "loss.repulsion=-1",
        "loss.unrolled_angles=[]",
        "loss.unrolled_angles=[0.5, 0.6]",
        "loss.unrolled_angles=[1, 0.9]",  # would be moved above the first
        "loss.unrolled_angles=[1, 0.1]",  # would be moved below 0
        "loss.unrolled_jitter=-1",
        "run.steps=0",
        "run.minutes=0",
        "run.log_steps=0",
        "run.seed=-1",
        "run.threads=-1",
        "run.checkpoint_minutes=-1",
        "run.resume=maybe",
        "run.precision=half",
        "network=transformer",
    ],
)
def test_a_senseless_value_is_refused_by_name(override: str) -> None:
    key = "loss.unrolled" if "jitter" in override else override.split("=")[0]
    with pytest.raises(InputError, match=key) as caught:
        read_config(None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["spectral.channels=-1", "diffusion.schedule=none"])
def test_settings_of_the_model_are_checked_too(override: str) -> None:
    with pytest.raises(InputError):
        read_config(None, [override])


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    with pytest.raises(InputError, match=r"Cannot read .*conf\.yaml: No such file"):
        read_config(str(path))
    with pytest.raises(InputError, match="Cannot read"):
        read_config(str(tmp_path))
    path.write_text("mel: hifigan\nrun: [1, 2\n")
    with pytest.raises(InputError, match=r"conf\.yaml is not valid YAML at line"):
        read_config(str(path))
    path.write_text("just words\n")
    with pytest.raises(InputError, match="must hold settings"):
        read_config(str(path))
    path.write_bytes(b"\xff\xfe\x00\x80 audio?")
    with pytest.raises(InputError, match="not valid YAML"):
        read_config(str(path))


def test_a_mel_may_be_a_preset_with_changes(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("mel: {preset: vocos, hop_length: 300}\n")
    mel = read_config(str(path)).model_config().mel
    assert mel == dataclasses.replace(
        PRESETS["vocos"], hop_length=300, name="vocos with hop_length 300"
    )
    more = read_config(str(path), ["mel.n_mels=64", "mel.name=mine"]).model_config()
    assert (more.mel.name, more.mel.n_mels, more.mel.hop_length) == ("mine", 64, 300)
    assert more.space is not None
    assert (more.space.hop_length, more.network.n_mels) == (300, 64)


def test_an_override_changes_a_preset_that_is_named(yaml_file: Path) -> None:
    assert read_config(str(yaml_file), ["mel.fmin=40"]).model_config().mel.fmin == 40
    assert read_config(None, ["mel.hop_length=275"]).model_config().mel.sample_rate == 22050
    assert read_config(str(yaml_file), ["mel=lmnt"]).mel == "lmnt"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("mel=hifigann", "Unknown mel preset 'hifigann'"),
        ("mel.preset=hifigann", "Unknown mel preset 'hifigann'"),
        ("mel.hop=300", "Unknown mel setting 'hop'; known are name, sample_rate"),
        ("mel.hop_length=3000", r"hop_length \(3000\) must not exceed n_fft"),
        ("mel.hop_length=600", "at least twice hop_length 600"),
    ],
)
def test_a_mel_that_cannot_be_is_told(override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_config(None, [override]).model_config()


def test_later_files_change_earlier_ones(yaml_file: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.yaml"
    later.write_text(
        "mel: {preset: lmnt}\ndata:\n  folder: others\n  prepare: {level: keep}\noptim:\n"
        "sampling: {angles: {3: [1, .6, .2]}}\n"
    )
    config = read_config([str(yaml_file), str(later)], ["optim.batch_size=3"])
    assert config.mel == {"preset": "lmnt"}
    assert config.data.prepare.level == "keep"
    assert (config.data.folder, config.data.validation) == ("others", ["a*", "b*"])
    assert (config.optim.lr, config.optim.batch_size) == (1e-4, 3)
    assert config.sampling.presets == (Sampling(3, levels=(1.0, 0.6, 0.2)),)
    assert read_config([]) == TrainConfig()


def test_a_prior_is_of_the_waveform_network_alone() -> None:
    space = read_config(None, ["network=waveform", "prior.floor=0.1"]).model_config().space
    assert space == WaveformConfig(256, EnergyPrior(floor=0.1))
    with pytest.raises(InputError, match="for a chain on samples"):
        read_config(None, ["prior.floor=0.1"]).model_config()
