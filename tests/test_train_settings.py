"""Settings from YAML and overrides: what they become, and what is said about a wrong one."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffwave.base.errors import InputError
from diffwave.base.schema import documented
from diffwave.data.config import DataConfig, PrepareConfig
from diffwave.mel import PRESETS
from diffwave.model import Sampling, SamplingConfig
from diffwave.spaces import EnergyPrior, SpectralConfig, WaveformConfig
from diffwave.train.config import LossConfig, OptimConfig, RunConfig, TrainConfig
from diffwave.train.settings import described_settings, read_config, save_settings


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
        "  presets: [{steps: 2, levels: [1, 0.5]}]\n"
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
    assert config.sampling.presets == (Sampling(2, levels=(1.0, 0.5)),)
    assert config.run == TrainConfig().run  # a section that is empty
    assert config.data.crop_frames == TrainConfig().data.crop_frames


def test_overrides_change_the_file(yaml_file: Path) -> None:
    overrides = ["optim.lr=0.5", "run.minutes=60", "data.validation=c*", "run.steps=1e3"]
    config = read_config(str(yaml_file), [*overrides, "loss.unrolled_levels=[1, .7, .4]"])
    assert config.optim.lr == 0.5
    assert config.run.minutes == 60
    assert isinstance(config.run.minutes, float)
    assert config.data.validation == ["c*"]
    assert config.run.steps == 1000
    assert isinstance(config.run.steps, int)
    assert config.loss.unrolled_levels == [1.0, 0.7, 0.4]
    assert config.mel == "vocos"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("run.minuts=3", r"no setting run\.minuts; did you mean run\.minutes\?"),
        ("spectrall.channels=3", r"no setting spectrall; did you mean spectral\?"),
        ("data.prepare.levl=3", r"did you mean data\.prepare\.level\?"),
        ("zzz=1", "no setting zzz; there are mel, network"),
        ("run.steps", "KEY=VALUE"),
        ("data=3", "data needs settings of its own"),
        ("mel=3", r"mel must be text or a mapping, not 3"),
        ("run.steps.first=1", r"run\.steps must be an integer, not \{'first': 1\}"),
        ("optim.lr=fast", r"The setting optim\.lr must be a number, not 'fast'"),
        (f"run.steps={'9' * 5000}", "not valid YAML"),
        (f"network=0x{'f' * 5000}", "network must be .*, not a int too large to print"),
        (f"mel={{? 0x{'f' * 5000} : 1}}", "too large or too deeply nested"),
        ('network="\\ud800"', "holds what is not text"),
        ('run.folder="a\\0b"', r"run\.folder must not hold a zero byte"),
        ("run.precision=half", r"run\.precision must be one of auto, float32, bfloat16, float16"),
        ("spectral.dilations=[1, a]", r"spectral\.dilations\[1\] must be an integer, not 'a'"),
        ("loss.bin_weights=[[100, 1], [50, 1]]", r"loss\.bin_weights must be pairs of rising Hz"),
        ("loss.bin_weights=[[0, 0]]", r"loss\.bin_weights must be pairs of rising Hz"),
        ("loss.denoising=0", r"loss\.weights must be above 0"),
        ("loss.unrolled_levels=[]", r"loss\.unrolled_levels must fall from at most 1"),
        ("loss.unrolled_levels=[1, 0.9]", "stay below the first"),
        ("loss.unrolled_levels=[1, 0.1]", "above 0 when moved"),
        ("data.crop_frames=8", r"data\.crop_frames must be more than twice loss\.edge_frames = 4"),
        ("data.gain_db=[3, -3]", r"data\.gain_db must be a lower and an upper limit"),
        ("data.prepare.piece_seconds=[5, 8]", r"data\.prepare\.piece_seconds .* at least twice"),
        ("run.folder=[a", "not valid YAML"),
        (f"run.folder={'[' * 3000}", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(override: str, sentence: str) -> None:
    alone = ["loss.enhancement=0", "loss.source=0"] if override == "loss.denoising=0" else []
    with pytest.raises(InputError, match=sentence) as caught:
        read_config(None, [*alone, override])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def numbers(cls: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every limited number among the settings, and a value just beyond its lower limit."""
    for field, kind, _ in documented(cls):
        if dataclasses.is_dataclass(kind):
            yield from numbers(kind, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        for meta in getattr(kind, "__metadata__", ()):
            if (beyond := meta.gt if meta.ge is None else meta.ge - 1) is None:
                continue  # a list's length
            yield f"{prefix}{field.name}", str(beyond)
            yield f"{prefix}{field.name}", ".nan"


def test_every_limit_of_a_number_holds() -> None:
    found = list(numbers(TrainConfig))
    assert len(found) > 60
    for key, value in found:
        with pytest.raises(InputError, match=re.escape(f"The setting {key} must be ")):
            read_config(None, [f"{key}={value}"])


def test_infinity_is_a_number_where_it_makes_sense() -> None:
    config = read_config(None, ["run.minutes=.inf", "optim.clip_norm=.inf"])
    assert config.run.minutes == config.optim.clip_norm == math.inf
    with pytest.raises(InputError, match="loss.unrolled must be"):
        read_config(None, ["loss.unrolled=.inf"])


def test_earlier_names_are_read_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    old = ["restorer.channels=8", "loss.restoration_blur=1", "loss.unrolled_rounds=3"]
    config = read_config(None, [*old, "loss.unrolled_angles=[1, .5]", "spectral.mel_mean=-4"])
    assert (config.enhancer.channels, config.normalise.mean) == (8, -4)
    assert (config.loss.enhancement_blur, config.loss.unrolled_n_iter) == (1, 3)
    assert config.loss.unrolled_levels == [1.0, 0.5]
    told = capsys.readouterr().err
    assert told.startswith("The setting restorer is called enhancer now.\n")
    assert told.count("\n") == 5


def test_sampling_of_earlier_versions_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    old = ["sampling.steps=2", "sampling.sampler=ancestral", "sampling.mel_rounds=3"]
    config = read_config(None, [*old, "sampling.angles={2: [1, .5]}", "sampling.rounds={'2': 6}"])
    preset = Sampling(2, "ancestral", (1.0, 0.5), 6)
    assert config.sampling == SamplingConfig(2, "ancestral", 3, (preset,))
    assert "called default, solver, n_iter and presets now" in capsys.readouterr().err


def test_what_is_saved_is_read_again(tmp_path: Path, yaml_file: Path) -> None:
    config = read_config(str(yaml_file), ["run.minutes=.inf", "enhancer.layers=0"])
    save_settings(config, tmp_path / "settings.yaml")
    assert read_config(str(tmp_path / "settings.yaml")) == config
    assert "batch_size" not in (tmp_path / "settings.yaml").read_text()


def test_every_setting_is_explained() -> None:
    text = described_settings()
    assert "  optim.lr (float > 0; default: 0.002)\n      Peak learning rate." in text
    assert "  run.resume (auto | never; default: auto)" in text
    for cls in (DataConfig, PrepareConfig, OptimConfig, LossConfig, RunConfig, TrainConfig):
        assert all(words for _, _, words in documented(cls))


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
    assert read_config(None, ["mel.hop_length=275"]).model_config().mel.sample_rate == 22050
    assert read_config(str(path), ["mel=lmnt"]).mel == "lmnt"
    more = read_config(str(path), ["mel.n_mels=64", "mel.name=mine"]).model_config()
    assert (more.mel.name, more.mel.n_mels, more.mel.hop_length) == ("mine", 64, 300)
    assert more.space is not None
    assert (more.space.hop_length, more.network.n_mels) == (300, 64)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("mel=hifigann", "Unknown mel preset 'hifigann'"),
        ("mel.hop=300", "Unknown setting 'hop' of a mel; known are name, sample_rate"),
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
        "sampling: {presets: [{steps: 3, levels: [1, .6, .2]}]}\n"
    )
    config = read_config([str(yaml_file), str(later)], ["optim.batch_size=3"])
    assert config.mel == {"preset": "lmnt"}
    assert config.data.prepare.level == "keep"
    assert (config.data.folder, config.data.validation) == ("others", ["a*", "b*"])
    assert (config.optim.lr, config.optim.batch_size) == (1e-4, 3)
    assert config.sampling.presets == (Sampling(3, levels=(1.0, 0.6, 0.2)),)
    assert read_config([]) == TrainConfig()


def test_a_prior_is_of_the_waveform_network_alone() -> None:
    for settings, floor in (([], 1.0), (["prior.floor=0.1"], 0.1)):
        space = read_config(None, ["network=waveform", *settings]).model_config().space
        assert space.prior == EnergyPrior(floor=floor)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="for a chain on samples"):
        read_config(None, ["prior.floor=0.1"]).model_config()


def test_a_file_may_name_its_base(tmp_path: Path) -> None:
    """Relative to itself; what it sets itself goes before, and what comes after it before that."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "one.yaml").write_text("optim: {lr: 0.1, ema: 0.5, batch_size: 3}")
    (tmp_path / "two.yaml").write_text("base: below/one.yaml\noptim: {ema: 0.25}")
    (tmp_path / "three.yaml").write_text("base: [two.yaml]\noptim: {batch_size: 4}")
    (tmp_path / "last.yaml").write_text("optim: {lr: 0.2}")
    optim = read_config([str(tmp_path / "three.yaml"), str(tmp_path / "last.yaml")]).optim
    assert (optim.lr, optim.ema, optim.batch_size) == (0.2, 0.25, 4)
    for content, sentence in (
        ("base: self.yaml", "The setting base of .* leads back to"),
        ("base: {a: b}", "must be a file or a list of files"),
        ("base: none.yaml", "Cannot read .*none.yaml"),
    ):
        (tmp_path / "self.yaml").write_text(content)
        with pytest.raises(InputError, match=sentence):
            read_config(str(tmp_path / "self.yaml"))


# --- the model that settings describe --------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_model_follows_the_mel_preset(name: str) -> None:
    """One loudness enters the network as one number, whatever the convention calls it."""
    mel = PRESETS[name]
    spectral = TrainConfig(mel=name).model_config()
    assert (spectral.mel, spectral.space) == (mel, SpectralConfig().of(mel))
    assert spectral.enhancer is not None
    assert spectral.network.n_mels == spectral.enhancer.n_mels == mel.n_mels
    waveform = TrainConfig(mel=name, network="waveform").model_config()
    assert waveform.space == WaveformConfig().of(mel) and waveform.enhancer is None
    assert waveform.network.n_mels == mel.n_mels
    value = mel.log_factor * math.log(0.03) + mel.offset
    entering = (value - spectral.normalise.mean) / spectral.normalise.scale
    assert entering == pytest.approx((math.log(0.03) + 5) / 2.5)


def test_what_is_left_out_stays_out() -> None:
    unconditional = read_config(None, ["network=waveform", "waveform.n_mels=0"])
    assert unconditional.model_config().network.n_mels == 0
    assert read_config(None, ["enhancer.layers=0"]).model_config().enhancer is None
