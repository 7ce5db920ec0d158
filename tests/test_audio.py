from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from signals import RMS, speech_like
from test_files import everything, files_limited_to, one_sentence, posix

from diffwave.audio import read_audio, resample, write_audio
from diffwave.errors import InputError

RATE = 22050
LOSSLESS = [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"),
            ("a.flac", "PCM_16"), ("a.flac", "PCM_24"), ("A.WAV", "PCM_16")]  # fmt: skip
STEP = {"PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "FLOAT": 0.0}


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    return torch.from_numpy(speech_like(1.0, RATE))


@pytest.mark.parametrize(("name", "subtype"), LOSSLESS)
def test_what_is_written_is_read(
    tmp_path: Path, speech: torch.Tensor, name: str, subtype: str
) -> None:
    assert write_audio(tmp_path / name, speech, RATE, subtype) == 0
    wave, rate = read_audio(tmp_path / name)
    assert rate == RATE
    assert wave.dtype == torch.float32
    assert wave.shape == speech.shape
    assert (wave - speech).abs().max() <= STEP[subtype] * 1.01
    assert soundfile.info(tmp_path / name).subtype == subtype


def test_ogg_is_lossy_but_close(tmp_path: Path, speech: torch.Tensor) -> None:
    write_audio(tmp_path / "a.ogg", speech, RATE)
    wave, _ = read_audio(tmp_path / "a.ogg")
    assert wave.shape == speech.shape
    assert (wave - speech).pow(2).mean().sqrt() < 0.2 * RMS


def test_minutes_of_ogg(tmp_path: Path) -> None:
    # libsndfile crashes the process if it gets this much in one call
    write_audio(tmp_path / "a.ogg", torch.zeros(3_000_000), 8000)
    assert len(read_audio(tmp_path / "a.ogg")[0]) == 3_000_000


def test_default_is_16_bit(tmp_path: Path, speech: torch.Tensor) -> None:
    for name in ("a.wav", "a.flac"):
        write_audio(tmp_path / name, speech, RATE)
        assert soundfile.info(tmp_path / name).subtype == "PCM_16"


def test_mp3_is_read(tmp_path: Path, speech: torch.Tensor) -> None:
    if "MP3" not in soundfile.available_formats():
        pytest.skip("libsndfile without mp3")
    soundfile.write(tmp_path / "a.mp3", speech.numpy(), RATE, format="MP3")
    wave, rate = read_audio(tmp_path / "a.mp3")
    assert rate == RATE
    assert abs(len(wave) - len(speech)) < 3000
    assert 0.8 * RMS < wave.std() < 1.2 * RMS


def test_clipping_is_counted_and_never_wraps(tmp_path: Path) -> None:
    wave = torch.tensor([0.0, 1.0, -1.0, 1.5, -3.0, 0.5, 1.0001])
    assert write_audio(tmp_path / "a.wav", wave, RATE) == 3
    back, _ = read_audio(tmp_path / "a.wav")
    assert (back - wave.clamp(-1, 1)).abs().max() < 1e-4
    assert write_audio(tmp_path / "f.wav", wave, RATE, "FLOAT") == 0
    assert torch.equal(read_audio(tmp_path / "f.wav")[0], wave)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_and_a_batch_of_one(tmp_path: Path, dtype: torch.dtype) -> None:
    wave = torch.linspace(-0.5, 0.5, 100, dtype=dtype, requires_grad=True)
    write_audio(tmp_path / "a.wav", wave[None], RATE, "FLOAT")
    assert torch.equal(read_audio(tmp_path / "a.wav")[0], wave.detach().float())


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = np.full(100, 0.5, np.float32), np.full(100, -0.25, np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    wave, _ = read_audio(tmp_path / "a.wav")
    assert torch.equal(wave, torch.full((100,), 0.125))


def test_read_resamples(tmp_path: Path, speech: torch.Tensor) -> None:
    write_audio(tmp_path / "a.wav", speech, RATE)
    wave, rate = read_audio(tmp_path / "a.wav", 16000)
    assert rate == 16000
    assert len(wave) == 16000
    kept, rate = read_audio(tmp_path / "a.wav", RATE)
    assert rate == RATE
    assert torch.equal(kept, read_audio(tmp_path / "a.wav")[0])


def tone(frequency: float, rate: int, phase: float = 0.0) -> torch.Tensor:
    """0.2 s that fade in and out, so that its spectrum is narrow."""
    time = torch.arange(rate // 5, dtype=torch.float64) / rate
    return (
        torch.sin(torch.pi * time / 0.2) ** 4 * torch.sin(2 * torch.pi * frequency * time + phase)
    ).float()


@given(
    frequency=st.floats(100, 7000),
    phase=st.floats(0, 6.28),
    rates=st.sampled_from([(22050, 16000), (16000, 22050), (22050, 44100), (48000, 16000)]),
)
def test_resampling_a_tone_gives_the_tone(
    frequency: float, phase: float, rates: tuple[int, int]
) -> None:
    result = resample(tone(frequency, rates[0], phase), *rates)
    expected = tone(frequency, rates[1], phase)
    assert abs(len(result) - len(expected)) <= 1
    length = min(len(result), len(expected))
    assert (result[:length] - expected[:length]).abs().max() < 1e-3  # 0.01 dB


def test_resampling_removes_what_would_alias() -> None:
    assert resample(tone(9000, RATE), RATE, 16000).abs().max() < 1e-4


@pytest.mark.parametrize("rate", [0, -16000])
def test_resampling_to_nothing(speech: torch.Tensor, rate: int) -> None:
    with pytest.raises(InputError) as error:
        resample(speech, RATE, rate)
    one_sentence(error, str(rate))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.97])
def test_cut_short_files_are_refused(
    tmp_path: Path, speech: torch.Tensor, name: str, part: float
) -> None:
    path = tmp_path / name
    if path.suffix == ".mp3":
        if "MP3" not in soundfile.available_formats():
            pytest.skip("libsndfile without mp3")
        soundfile.write(path, speech.numpy(), RATE, format="MP3")
    else:
        write_audio(path, speech, RATE)
    read_audio(path)  # whole, it is fine
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InputError) as error:
        read_audio(path)
    one_sentence(error, str(path))


def test_wav_from_a_pipe_is_not_called_cut_short(tmp_path: Path, speech: torch.Tensor) -> None:
    write_audio(tmp_path / "a.wav", speech, RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    for position in (4, content.index(b"data") + 4):
        struct.pack_into("<I", content, position, 0xFFFFFFFF)
    (tmp_path / "pipe.wav").write_bytes(content)
    assert torch.equal(read_audio(tmp_path / "pipe.wav")[0], read_audio(tmp_path / "a.wav")[0])


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.wav", b""), ("a.wav", b"Not a sound. " * 99), ("a.flac", b"fLaC" + bytes(500)),
     ("a.mp3", b"Not a sound. " * 999), ("a.npy", b"\x93NUMPY" + bytes(99))],
)  # fmt: skip
def test_files_that_are_not_audio(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_audio(tmp_path / name)
    one_sentence(error, str(tmp_path / name))


def test_no_file_a_folder_and_no_samples(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_audio(tmp_path / "no.wav")
    one_sentence(error, str(tmp_path / "no.wav"), "no such file")
    with pytest.raises(InputError) as error:
        read_audio(tmp_path)
    one_sentence(error, str(tmp_path), "not a file")
    with pytest.raises(InputError):
        read_audio("a\0b.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(InputError) as error:
        read_audio(tmp_path / "empty.wav")
    one_sentence(error, "no samples")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    samples = np.zeros(100, np.float32)
    samples[50] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(InputError) as error:
        read_audio(tmp_path / "a.wav")
    one_sentence(error, str(tmp_path / "a.wav"), "finite")
    with pytest.raises(InputError) as error:
        write_audio(tmp_path / "b.wav", torch.from_numpy(samples), RATE)
    one_sentence(error, "finite")
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize(
    ("name", "subtype", "told"),
    [("a.flac", "FLOAT", "not FLOAT"), ("a.ogg", "PCM_16", "VORBIS"), ("a.wav", "PCM_8", "PCM_24"),
     ("a.mp3", None, ".flac"), ("a", None, ".wav"), ("a.txt", None, "must end")],
)  # fmt: skip
def test_formats_that_are_not_written(
    tmp_path: Path, speech: torch.Tensor, name: str, subtype: str | None, told: str
) -> None:
    with pytest.raises(InputError) as error:
        write_audio(tmp_path / name, speech, RATE, subtype)
    one_sentence(error, str(tmp_path / name), told)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize(
    "wave",
    [torch.zeros(0), torch.zeros(2, 100), torch.zeros(()), torch.zeros(100, dtype=torch.int16)],
)
def test_waves_that_are_not_written(tmp_path: Path, wave: torch.Tensor) -> None:
    with pytest.raises(InputError) as error:
        write_audio(tmp_path / "a.wav", wave, RATE)
    one_sentence(error, str(tmp_path / "a.wav"))
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("rate", [0, -1, 10**9, 10**30])
def test_sample_rates_that_are_not_written(tmp_path: Path, speech: torch.Tensor, rate: int) -> None:
    with pytest.raises(InputError) as error:
        write_audio(tmp_path / "a.flac", speech, rate)
    one_sentence(error, str(rate))
    assert everything(tmp_path) == {}


@posix
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_full_disk_keeps_the_earlier_file(tmp_path: Path, speech: torch.Tensor, name: str) -> None:
    write_audio(tmp_path / name, speech[:2000], RATE)
    before = everything(tmp_path)
    with files_limited_to(4500), pytest.raises(InputError) as error:
        write_audio(tmp_path / name, speech, RATE)
    one_sentence(error, str(tmp_path / name))
    assert everything(tmp_path) == before
    read_audio(tmp_path / name)
