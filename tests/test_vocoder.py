"""The facade: what it takes, what it gives, where checkpoints come from."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from signals import speech_like
from tiny import HOP, enhancing_config, random_model, spectral_config, speech_mel

import diffwave
from diffwave.base.errors import InputError
from diffwave.mel import MelSpectrogram, preset
from diffwave.model import DiffusionModel
from diffwave.vocoder import DEFAULT, Vocoder, bundled, find_checkpoint

MEL = speech_mel(0.4)
FRAMES = MEL.shape[-1]


@pytest.fixture(params=["spectral", "waveform"])
def either(request: pytest.FixtureRequest, vocoder: Vocoder, waveform_vocoder: Vocoder) -> Vocoder:
    return vocoder if request.param == "spectral" else waveform_vocoder


def test_a_wave_of_as_many_samples_as_the_frames_have(either: Vocoder) -> None:
    for frames in (2, 3, FRAMES):
        wave = either(MEL[:, :frames])
        assert wave.shape == (frames * HOP,)
        assert wave.dtype == torch.float32 and wave.device.type == "cpu"
        assert wave.isfinite().all() and wave.std() > 0
    assert not torch.equal(wave, either(speech_mel(0.4, seed=1)))


def test_numpy_and_torch_and_lists_agree(vocoder: Vocoder) -> None:
    wave = vocoder(MEL)
    for same in (
        MEL.numpy(),
        MEL.numpy().astype(np.float64),
        np.repeat(MEL.numpy(), 2, axis=1)[:, ::2],  # strided
        MEL.double(),
        MEL.clone().requires_grad_(),
        MEL.tolist(),
    ):
        assert torch.equal(vocoder(same), wave)


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++", "ancestral"])
def test_in_a_batch_as_alone(either: Vocoder, sampler: str) -> None:
    mels = torch.stack([speech_mel(0.4, seed=seed) for seed in range(3)])
    waves = either(mels, steps=3, sampler=sampler)
    assert waves.shape == (3, FRAMES * HOP)
    for mel, wave in zip(mels, waves, strict=True):
        alone = either(mel, steps=3, sampler=sampler)
        torch.testing.assert_close(wave, alone, rtol=0, atol=1e-4 * float(alone.abs().max()))
    assert either(mels[:1], steps=3, sampler=sampler).shape == (1, FRAMES * HOP)


def test_same_seed_same_wave(vocoder: Vocoder) -> None:
    torch.manual_seed(0)
    wave = vocoder(MEL, seed=1)
    torch.manual_seed(5)
    assert torch.equal(vocoder(MEL, seed=1), wave)
    assert not torch.equal(vocoder(MEL, seed=2), wave)
    assert torch.equal(vocoder(MEL), vocoder(MEL, seed=0))
    assert vocoder(MEL, seed=-(2**80)).isfinite().all()


def test_defaults_are_the_checkpoints(vocoder: Vocoder, waveform_vocoder: Vocoder) -> None:
    assert torch.equal(vocoder(MEL), vocoder(MEL, steps=4, sampler="ddim"))
    assert torch.equal(waveform_vocoder(MEL), waveform_vocoder(MEL, steps=6, sampler="ancestral"))
    assert not torch.equal(vocoder(MEL), vocoder(MEL, steps=3))
    assert not torch.equal(vocoder(MEL), vocoder(MEL, sampler="ancestral"))


def test_without_enhancing_it_is_a_vocoder_without_an_enhancer() -> None:
    enhancing = Vocoder(random_model(enhancing_config()), "cpu")
    plain = DiffusionModel(spectral_config())
    plain.load_state_dict(enhancing.model.state_dict(), strict=False)
    wave = enhancing(MEL)
    assert torch.equal(enhancing(MEL, enhance=False), Vocoder(plain, "cpu")(MEL, enhance=True))
    assert not torch.equal(enhancing(MEL, enhance=False), wave)
    assert torch.equal(torch.cat(list(enhancing.stream(MEL, enhance=True))), wave)
    with pytest.warns(DeprecationWarning, match="rounds is now called n_iter"):
        assert torch.equal(enhancing(MEL, rounds=2), enhancing(MEL, n_iter=2))
    with pytest.warns(DeprecationWarning, match="restore is now called enhance"):
        assert torch.equal(enhancing(MEL, restore=False), enhancing(MEL, enhance=False))
    with pytest.raises(TypeError, match="iterations"):
        enhancing(MEL, iterations=2)


def test_its_mel_is_the_frontends(vocoder: Vocoder) -> None:
    wave = speech_like(0.5)
    mel = MelSpectrogram(preset("hifigan"))(torch.from_numpy(wave))
    backwards = wave[::-1].copy()[::-1]  # of negative stride
    for same in (wave, torch.from_numpy(wave), wave.astype(np.float64), backwards):
        assert torch.equal(vocoder.mel(same), mel)
    batch = vocoder.mel(np.stack([wave, wave]))
    torch.testing.assert_close(batch, torch.stack([mel, mel]))


@pytest.mark.parametrize(
    "wave", [np.zeros(100), np.zeros((1, 1, 5000)), np.zeros(5000, np.int16), [[0.0], []], "a.wav"]
)
def test_a_wave_that_is_none(vocoder: Vocoder, wave: Any) -> None:
    with pytest.raises(InputError):
        vocoder.mel(wave)


@pytest.mark.parametrize(
    ("mel", "words"),
    [
        (MEL.T, "transposed"),
        ([[1.0, 2.0], [3.0]], "must be an array"),
        ("mel.npy", "floating point"),
        (MEL.to_sparse(), "dense tensor"),
        (MEL.to("meta"), "dense tensor"),
    ],
)
def test_a_mel_that_is_none_is_told_before_any_work(vocoder: Vocoder, mel: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        vocoder.stream(mel)  # nothing is drawn from the stream


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, not 0"),
        ({"steps": 10**9}, "of at most 10000"),
        ({"steps": "2"}, "steps must be an integer, not '2'"),
        ({"sampler": "euler"}, "'euler'; there are ancestral, ddim, ddim-0.25"),
        ({"chunk_frames": 0}, "at least 1, not 0"),
        ({"n_iter": -1}, "at least 0, not -1"),
        ({"seed": None}, "seed must be an integer, not None"),
    ],
)
def test_options_that_make_no_sense(vocoder: Vocoder, options: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        vocoder.stream(MEL, **options)
    assert words in str(error.value)


# --- checkpoints ---


def test_it_moves_and_is_saved_as_models_are(vocoder: Vocoder, tmp_path: Path) -> None:
    assert (vocoder.config, vocoder.device) == (spectral_config(), torch.device("cpu"))
    assert (vocoder.sample_rate, vocoder.hop_length) == (22050, 256)
    assert vocoder.to("cpu").eval() is vocoder and not vocoder.model.training
    vocoder.save_pretrained(tmp_path / "mine")
    again = Vocoder.from_pretrained(tmp_path / "mine", "cpu")
    assert torch.equal(again(MEL), vocoder(MEL))


def test_the_default_is_bundled() -> None:
    assert DEFAULT in bundled()
    assert find_checkpoint(DEFAULT).is_dir()
    assert (diffwave.Vocoder, diffwave.InputError) == (Vocoder, InputError)
    vocoder = diffwave.Vocoder.from_pretrained(device="cpu")
    assert vocoder.config.mel == preset("hifigan")
    wave = vocoder(MEL[:, :20])
    assert wave.shape == (20 * HOP,)
    assert 0.001 < wave.std() < 1  # of the loudness of speech
    with pytest.raises(AttributeError, match="nonsense"):
        diffwave.nonsense  # noqa: B018


def test_a_folder_goes_before_a_bundled_name(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / DEFAULT)
    monkeypatch.chdir(tmp_path)
    for name in (DEFAULT, Path(DEFAULT)):
        assert Vocoder.from_pretrained(name, "cpu").config == spectral_config()
    for name in ("nonsense", "/a/b", "./a", "../a", "a/b/c"):
        with pytest.raises(InputError, match=r"neither a folder nor .*ljspeech-22k"):
            Vocoder.from_pretrained(name)
    with pytest.raises(InputError, match="not a checkpoint"):
        Vocoder.from_pretrained("")  # the current folder, as a path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """In place of the package huggingface_hub, which is not needed for this."""
    stub = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "huggingface_hub", stub)  # type: ignore[arg-type]
    return stub


def test_it_is_uploaded_whole(vocoder: Vocoder, hub: SimpleNamespace) -> None:
    sent: list[Any] = []

    class Api:
        def __init__(self, token: str | None) -> None:
            sent.append(token)

        def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
            if name == "somebody/else":
                raise RuntimeError("403 Forbidden. Log in first.\nIn many lines.")
            sent.append((name, private, exist_ok))

        def upload_folder(self, repo_id: str, folder_path: Path) -> str:
            sent.append(Vocoder.from_pretrained(folder_path, "cpu")(MEL))
            return f"https://hub/{repo_id}"

    hub.HfApi = Api
    assert vocoder.push_to_hub("me/voice", private=True, token="t") == "https://hub/me/voice"
    assert sent[:2] == ["t", ("me/voice", True, True)]
    assert torch.equal(sent[2], vocoder(MEL))
    with pytest.raises(InputError, match=r"'somebody/else': RuntimeError \(403 Forbidden\)\.$"):
        vocoder.push_to_hub("somebody/else")


@pytest.mark.parametrize("name", ["", "voice", "./voice", "/a/voice", "a/b/c", None])
def test_a_folder_is_no_name_on_the_hub(vocoder: Vocoder, hub: SimpleNamespace, name: Any) -> None:
    with pytest.raises(InputError, match="save_pretrained writes a folder"):
        vocoder.push_to_hub(name)


@pytest.mark.parametrize("name", ["a" * 5000, f"owner/{'a' * 5000}"])
def test_a_name_too_long_for_a_folder(name: str) -> None:
    with pytest.raises(InputError, match="too long"):
        Vocoder.from_pretrained(name)


def test_the_hub_is_asked_for_owner_and_name(tiny_checkpoint: Path, hub: SimpleNamespace) -> None:
    def download(repository: str, **_: Any) -> str:
        if repository != "owner/name":
            raise RuntimeError("404\nand many lines")
        return str(tiny_checkpoint)

    hub.snapshot_download = download
    assert Vocoder.from_pretrained("owner/name", "cpu").config == spectral_config()
    with pytest.raises(InputError, match=r"'owner/other'.*: RuntimeError \(404\)\.$"):
        Vocoder.from_pretrained("owner/other")


def test_without_the_hubs_package(vocoder: Vocoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"'owner/name' is no folder.*diffwave\[hub\]"):
        Vocoder.from_pretrained("owner/name")
    with pytest.raises(InputError, match=r"Uploading 'me/voice'.*diffwave\[hub\]"):
        vocoder.push_to_hub("me/voice")
