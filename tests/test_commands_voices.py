"""Which bundled voice speaks a mel: as `synthesize` and `inspect` choose."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from signals import speech_like
from tiny import random_model, spectral_config
from told import ROOT, one_line

from diffwave import Vocoder, cli, vocoder
from diffwave.checkpoint import save_checkpoint
from diffwave.mel import preset
from diffwave.mel.conventions import CONVENTIONS
from diffwave.vocoder import bundled_for, bundled_near

QUICK = ["--device", "cpu", "--steps", "2", "--bits", "float"]


@pytest.fixture
def places(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The bundled voices are small random ones: two of hifigan, the default second, and a third."""
    folder = tmp_path_factory.mktemp("bundled")
    for seed, (name, mel) in enumerate(
        (("a-22k", "hifigan"), ("universal-22k", "hifigan"), ("speecht5-16k", "speecht5"))
    ):
        config = dataclasses.replace(spectral_config(), mel=preset(mel))
        save_checkpoint(random_model(config, seed), folder / name)
    monkeypatch.setattr(vocoder, "bundled_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def mel_of(name: str, seconds: float = 3.0, seed: int = 1) -> torch.Tensor:
    convention = CONVENTIONS[name]
    wave = torch.from_numpy(speech_like(seconds, convention.mel.sample_rate, seed))
    return convention.analyse(wave)


def spoken(voice: str, mel: torch.Tensor) -> np.ndarray:
    return Vocoder.from_pretrained(voice, "cpu")(mel, steps=2).numpy()


def wave_of(path: str) -> tuple[np.ndarray, int]:
    wave, rate = soundfile.read(path, dtype="float32")
    return wave, rate


def synthesize(*words: str) -> int:
    return cli.main(["synthesize", *words, *QUICK])


def test_which_voice_a_convention_has(places: Path) -> None:
    assert bundled_for(CONVENTIONS["hifigan"]) == "universal-22k"
    assert bundled_for(CONVENTIONS["matcha"]) == "universal-22k"  # but for statistics the same
    assert bundled_for(CONVENTIONS["speecht5"]) == "speecht5-16k"
    mean, scale = torch.tensor([-2.0]), torch.tensor([0.5])
    assert bundled_for(CONVENTIONS["speecht5"].with_statistics(mean, scale)) == "speecht5-16k"
    for name in ("espnet", "hifigan-16k", "whisper", "vocos"):
        assert bundled_for(CONVENTIONS[name]) is None
    assert bundled_near(CONVENTIONS["hifigan-16k"]) == "speecht5-16k"
    for name in ("hifigan", "espnet", "whisper", "vocos", "espnet-24k"):
        assert bundled_near(CONVENTIONS[name]) == "universal-22k"


@pytest.mark.parametrize("how", ["named", "npz", "safetensors", "auto", "auto-npz", "frames first"])
def test_the_voice_of_the_convention_speaks(
    how: str, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mel = mel_of("speecht5")
    file, words = "mel.npy", ["--from", "auto" if how.startswith("auto") else "speecht5"]
    if how.endswith("npz"):
        file = "mel.npz"
        np.savez(file, mel=mel.numpy(), convention=np.array("speecht5"))
    elif how == "safetensors":
        file = "mel.safetensors"
        save_file({"mel": mel.contiguous()}, file, {"convention": "speecht5"})
    else:
        np.save(file, mel.T.numpy() if how == "frames first" else mel.numpy())
    words = [] if how in ("npz", "safetensors") else words
    assert synthesize(file, "out.wav", *words) == 0
    wave, rate = wave_of("out.wav")
    assert rate == 16000
    np.testing.assert_array_equal(wave, spoken("speecht5-16k", mel))
    told = capsys.readouterr().err.splitlines()
    line = "Mels of the convention 'speecht5' are spoken by the voice speecht5-16k, at 16000 Hz."
    assert told.count(line) == 1
    assert len(told) == (1 if how in ("named", "frames first") else 2)  # what it is, and by what
    assert len(told) == 1 or "taken as it is" in told[-1]


def test_statistics_are_undone_for_it(places: Path) -> None:
    mel = mel_of("speecht5")
    np.save("mel.npy", ((mel + 2) / 0.5).numpy())
    assert synthesize("mel.npy", "out.wav", "--from", "speecht5", "--stats=-2,0.5") == 0
    wave, rate = wave_of("out.wav")
    assert rate == 16000
    np.testing.assert_allclose(wave, spoken("speecht5-16k", mel), atol=2e-3)


def test_other_conventions_are_converted_and_a_checkpoint_that_is_named_stays(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("espnet.npy", mel_of("espnet").numpy())
    assert synthesize("espnet.npy", "out.wav", "--from", "espnet") == 0
    assert wave_of("out.wav")[1] == 22050
    np.save("mel.npy", mel_of("speecht5").numpy())
    words = ["--from", "speecht5", "--checkpoint"]
    assert synthesize("mel.npy", "out.wav", *words, "a-22k") == 0
    assert wave_of("out.wav")[1] == 22050
    assert capsys.readouterr().err == ""
    assert synthesize("mel.npy", "out.wav", *words, "speecht5-16k") == 0
    assert wave_of("out.wav")[1] == 16000
    assert capsys.readouterr().err == ""


def test_a_mel_of_power_is_not_taken_as_it_is(places: Path) -> None:
    mel = mel_of("hifigan")
    np.save("mel.npy", mel.numpy())
    waves = []
    for number, name in enumerate(("hifigan", "hifigan,power=2")):
        assert synthesize("mel.npy", f"{number}.wav", "--from", name) == 0
        waves.append(wave_of(f"{number}.wav")[0])
    np.testing.assert_array_equal(waves[0], spoken("universal-22k", mel))
    levels = [float(np.square(wave).mean()) for wave in waves]
    assert waves[0].shape == waves[1].shape and levels[1] > 1.3 * levels[0]


def test_every_file_of_a_folder_has_its_voice(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mels").mkdir()
    for name in ("speecht5", "hifigan"):
        for number in range(2):
            path = f"mels/{name}-{number}.npz"
            np.savez(path, mel=mel_of(name).numpy(), convention=np.array(name))
    assert synthesize("mels", "out") == 0
    for name, rate in (("speecht5", 16000), ("hifigan", 22050)):
        assert {wave_of(f"out/{name}-{number}.wav")[1] for number in range(2)} == {rate}
    np.testing.assert_array_equal(
        wave_of("out/hifigan-0.wav")[0], spoken("universal-22k", mel_of("hifigan"))
    )
    assert capsys.readouterr().err.count("are spoken by the voice") == 1


def test_a_word_in_a_file_that_is_no_convention_is_passed_over(places: Path) -> None:
    np.savez("mel.npz", mel=mel_of("hifigan").numpy(), convention=np.array("left-handed"))
    assert synthesize("mel.npz", "out.wav") == 0
    np.testing.assert_array_equal(wave_of("out.wav")[0], spoken("universal-22k", mel_of("hifigan")))


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("speecht5", [], "With --from speecht5 the voice speecht5-16k speaks it."),
        ("speecht5", ["--checkpoint", "a-22k"], "With --from speecht5 it is converted."),
        ("vocos", [], "With --from vocos it is converted."),
    ],
)
def test_a_refusal_says_what_to_add(
    name: str, more: list[str], words: str, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("mel.npy", mel_of(name, 6.0).numpy())
    assert synthesize("mel.npy", "out.wav", *more) == 2
    one_line(capsys, words)
    assert not Path("out.wav").exists()
    option = words.split()[2]
    assert synthesize("mel.npy", "out.wav", *more, "--from", option) == 0


def test_a_doubt_is_told_with_a_refusal(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("mel.npy", mel_of("espnet", 6.0, seed=0).numpy())
    assert synthesize("mel.npy", "out.wav") == 2
    doubt = "It looks like the convention 'espnet', but may be 'espnet-24k'; name the right one"
    one_line(capsys, doubt)


def test_a_guess_that_contradicts_the_refusal_is_left_out(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mel = np.load(ROOT / "egs" / "mel.npy")
    for name, values in (("log10", mel / np.log(10)), ("db", 20 / np.log(10) * mel)):
        np.save("mel.npy", values.astype(np.float32))
        assert synthesize("mel.npy", "out.wav") == 2
        error = capsys.readouterr().err
        assert error.endswith("hifigan,log=log10.\n") and "It looks like" not in error
        assert ("base-10 logarithms" if name == "log10" else "decibels") in error
    np.save("mel.npy", (mel / np.log(10)).astype(np.float32))
    assert synthesize("mel.npy", "out.wav", "--from", "hifigan,log=log10") == 0
    np.testing.assert_allclose(
        wave_of("out.wav")[0], spoken("universal-22k", torch.from_numpy(mel)), atol=2e-3
    )


def test_a_transposed_mel_that_fits_is_no_other_convention(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("mel.npy", np.load(ROOT / "egs" / "mel.npy").T)
    assert synthesize("mel.npy", "out.wav") == 2
    one_line(capsys, "pass mel.T. With --from hifigan it is turned.")
    assert synthesize("mel.npy", "out.wav", "--from", "hifigan") == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mel_of("hifigan", 6.0).numpy(), "'hifigan'"),
        (lambda: _normalised(mel_of("espnet", 6.0)).numpy(), "zero mean and unit variance"),
    ],
)
def test_values_that_the_named_convention_cannot_have(
    make: Callable[[], np.ndarray], words: str, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("mel.npy", make())
    assert synthesize("mel.npy", "out.wav", "--from", "espnet") == 2
    one_line(capsys, "do not fit the 'espnet' convention", words)
    assert cli.main(["convert-mel", "mel.npy", "out.npy", "--from", "espnet"]) == 2
    one_line(capsys, "do not fit the 'espnet' convention", words)
    assert not Path("out.wav").exists() and not Path("out.npy").exists()


def _normalised(mel: torch.Tensor) -> torch.Tensor:
    return (mel - mel.mean(1, keepdim=True)) / mel.std(1, keepdim=True)


def test_a_refusal_of_what_is_no_mel_adds_nothing(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("mel.npy", np.full((80, 200), 1e6, dtype=np.float32))
    assert synthesize("mel.npy", "out.wav") == 2
    assert "--from" not in capsys.readouterr().err


def test_a_wrong_name_or_device_is_told_once(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mels").mkdir()
    for number in range(2):
        np.save(f"mels/{number}.npy", mel_of("speecht5").numpy())
    for words in (["--from", "x"], ["--from", "speecht5", "--device", "cuda:77"]):
        assert cli.main(["synthesize", "mels", "out", *words]) == 2
        one_line(capsys)
        assert not Path("out").exists()


# --- inspect


def test_inspect_names_the_voice(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("mel.npy", mel_of("speecht5").numpy())
    assert cli.main(["inspect", "mel.npy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] and found["voice"] == "speecht5-16k"
    command = "diffwave synthesize mel.npy out.wav --from speecht5"
    assert found["advice"] == f"The voice speecht5-16k speaks it: {command}"
    assert cli.main(["inspect", "mel.npy"]) == 0
    assert "yes, the voice speecht5-16k" in capsys.readouterr().out
    assert cli.main(["inspect", "mel.npy", "--checkpoint", "a-22k", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["fits"] and found["voice"] is None
    assert f"Convert it: {command} --checkpoint a-22k" in found["advice"]
    np.save("mel.npy", mel_of("hifigan").numpy())
    assert cli.main(["inspect", "mel.npy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] and found["voice"] is None
