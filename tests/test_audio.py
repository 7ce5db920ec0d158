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
from test_files import everything, files_limited_to, posix, refused

from diffwave.audio import SUBTYPES, read, read_audio, resample, subtype_of, write_audio
from diffwave.errors import InputError

RATE = 22050
LOSSLESS = [("a.wav", None), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"),
            ("a.flac", None), ("a.flac", "PCM_24"), ("A.WAV", "PCM_16")]  # fmt: skip
STEP = {"PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "FLOAT": 0.0}


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    return torch.from_numpy(speech_like(1.0, RATE))


@pytest.mark.parametrize(("name", "subtype"), LOSSLESS)
def test_what_is_written_is_read(
    tmp_path: Path, speech: torch.Tensor, name: str, subtype: str | None
) -> None:
    assert write_audio(tmp_path / name, speech, RATE, subtype) == 0
    subtype = subtype or "PCM_16"
    wave, rate = read_audio(tmp_path / name)
    assert rate == RATE
    assert wave.dtype == torch.float32
    assert wave.shape == speech.shape
    assert (wave - speech).abs().max() <= STEP[subtype] * 1.01
    assert soundfile.info(tmp_path / name).subtype == subtype


@pytest.mark.parametrize(
    ("name", "subtype", "rate"),
    [("a.ogg", "VORBIS", RATE), ("a.opus", "OPUS", 24000), ("a.mp3", "MPEG_LAYER_III", RATE)],
)
def test_lossy_files_are_close_and_written_in_pieces(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, subtype: str, rate: int
) -> None:
    """Opus knows no 22,050 Hz, so the wave is resampled on the way, without a seam."""
    if name[1:] not in "".join(SUBTYPES):
        pytest.skip(f"this libsndfile writes no {name}")
    found, speech = [], torch.from_numpy(speech_like(8.0, RATE))  # longer than a block
    for pieces in ((speech,), speech.split(700)):
        assert write_audio(tmp_path / name, pieces, RATE, subtype_of(name, "16")) == 0
        info = soundfile.info(tmp_path / name)
        assert (info.subtype, info.samplerate) == (subtype, rate)
        wave, _ = read_audio(tmp_path / name, RATE)
        assert abs(len(wave) - len(speech)) <= 1
        found.append(wave[: len(speech)])
    with soundfile.SoundFile(tmp_path / name) as file:  # in one call
        assert torch.equal(torch.from_numpy(file.read(dtype="float32")), read_audio(file.name)[0])
    assert capfd.readouterr().err == ""
    assert (found[0] - found[1]).abs().max() < 1e-3
    assert (found[0] - speech[: len(found[0])]).pow(2).mean().sqrt() < 0.5 * RMS
    with refused(f"holds {subtype}, not PCM_24"):
        write_audio(tmp_path / name, speech, RATE, subtype_of(name, "24"))


def test_minutes_of_ogg(tmp_path: Path) -> None:
    # libsndfile crashes the process if it gets this much in one call
    write_audio(tmp_path / "a.ogg", torch.zeros(3_000_000), 8000)
    assert len(read_audio(tmp_path / "a.ogg")[0]) == 3_000_000


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "IMA_ADPCM", "ULAW"])
def test_wavs_of_telephony(tmp_path: Path, subtype: str) -> None:
    """libsndfile cannot seek in some of them, nor say how long they are."""
    wave = torch.from_numpy(speech_like(1.0, 8000))
    soundfile.write(tmp_path / "a.wav", wave.numpy(), 8000, subtype=subtype)
    back, rate = read_audio(tmp_path / "a.wav")
    assert rate == 8000
    assert 0 <= len(back) - len(wave) < 400  # filled up to a block
    assert 0.5 * RMS < back.std() < 1.5 * RMS


def with_rate(path: Path, rate: int) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 24, rate)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("rate", [1, 3999, 768_001, 2**31 - 1])
def test_absurd_rates_are_refused(tmp_path: Path, speech: torch.Tensor, rate: int) -> None:
    write_audio(tmp_path / "a.wav", speech, RATE)
    with pytest.raises(InputError, match=f"claims a sample rate of {rate} Hz"):
        read_audio(with_rate(tmp_path / "a.wav", rate), RATE)


def test_what_is_too_long_is_refused(
    tmp_path: Path, speech: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_audio(tmp_path / "a.wav", speech, RATE)
    monkeypatch.setattr(read, "MAX_SAMPLES", RATE)
    read_audio(tmp_path / "a.wav")
    with pytest.raises(InputError, match=r"Cannot read .*a.wav: Too many samples at 48000 Hz"):
        read_audio(tmp_path / "a.wav", 48000)
    monkeypatch.setattr(read, "MAX_SAMPLES", RATE - 1)
    with pytest.raises(InputError, match="too long for the memory"):
        read_audio(tmp_path / "a.wav")


def test_no_memory_for_a_file(
    tmp_path: Path, speech: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_audio(tmp_path / "a.wav", speech, RATE)

    def refuse(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(soundfile.SoundFile, "read", refuse)
    with pytest.raises(InputError, match="too long for the memory"):
        read_audio(tmp_path / "a.wav")


@posix
def test_names_that_are_not_utf8(tmp_path: Path, speech: torch.Tensor) -> None:
    path = tmp_path / "a\udcff.wav"
    write_audio(path, speech, RATE)
    assert len(read_audio(path)[0]) == len(speech)
    path.write_bytes(b"no audio")
    with pytest.raises(InputError, match=r"a\\udcff.wav: it is not a sound file"):
        read_audio(path)


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
    for rate in (0, -16000):
        with refused(str(rate)):
            resample(tone(100, RATE), RATE, rate)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.97])
def test_cut_short_files_are_refused(
    tmp_path: Path, speech: torch.Tensor, name: str, part: float
) -> None:
    path = tmp_path / name
    if path.suffix not in SUBTYPES:
        pytest.skip(f"this libsndfile writes no {name}")
    write_audio(path, speech, RATE)
    read_audio(path)  # whole, it is fine
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with refused(str(path)):
        read_audio(path)


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
    with refused(str(tmp_path / name)):
        read_audio(tmp_path / name)


def test_no_file_a_folder_and_no_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    for name, words in (
        ("no.wav", "no such file"),
        (".", "not a file"),
        ("a\0b.wav", "null"),
        ("empty.wav", "no samples"),
    ):
        with refused(words):
            read_audio(tmp_path / name)


def test_values_that_are_no_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(100, -1e30), RATE, subtype="FLOAT")
    with refused("beyond 1e+10"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    samples = np.zeros(100, np.float32)
    samples[50] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with refused(str(tmp_path / "a.wav"), "finite"):
        read_audio(tmp_path / "a.wav")
    with refused("finite"):
        write_audio(tmp_path / "b.wav", torch.from_numpy(samples), RATE)
    assert not (tmp_path / "b.wav").exists()


def test_what_is_not_written(tmp_path: Path, speech: torch.Tensor) -> None:
    for name, subtype, words in [
        ("a.flac", "FLOAT", "not FLOAT"), ("a.ogg", "PCM_16", "VORBIS"),
        ("a.wav", "PCM_8", "PCM_24"), ("a", None, ".wav"), ("a.txt", None, "must end"),
    ]:  # fmt: skip
        with refused(str(tmp_path / name), words):
            write_audio(tmp_path / name, speech, RATE, subtype)
    for shape in ((0,), (2, 100), ()):
        with refused(str(tmp_path / "a.wav")):
            write_audio(tmp_path / "a.wav", torch.zeros(shape), RATE)
    with refused("floating-point"):
        write_audio(tmp_path / "a.wav", torch.zeros(100, dtype=torch.int16), RATE)
    for rate in (0, -1, 10**9, 10**30):
        with refused(str(rate)):
            write_audio(tmp_path / "a.flac", speech, rate)
    assert everything(tmp_path) == {}


@posix
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_full_disk_keeps_the_earlier_file(tmp_path: Path, speech: torch.Tensor, name: str) -> None:
    write_audio(tmp_path / name, speech[:2000], RATE)
    before = everything(tmp_path)
    with files_limited_to(4500), refused(str(tmp_path / name)):
        write_audio(tmp_path / name, speech, RATE)
    assert everything(tmp_path) == before
    read_audio(tmp_path / name)
