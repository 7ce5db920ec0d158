"""Audio files: what is written is read, what is damaged is refused, nothing is half written."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from signals import RMS, speech_like
from test_files import files_limited_to, posix
from told import everything, refused

from diffwave.base import audio
from diffwave.base.audio import AUDIO_SUFFIXES, read_audio, resample, write_audio

RATE = 22050
SPEECH = torch.from_numpy(speech_like(1.0, RATE))
STEP = {"16": 2.0**-15, "24": 2.0**-23, "float": 0.0}


@pytest.mark.parametrize(
    ("name", "bits", "subtype"),
    [("a.wav", "16", "PCM_16"), ("A.WAV", "24", "PCM_24"), ("a.wav", "float", "FLOAT"),
     ("a.flac", "16", "PCM_16"), ("a.flac", "24", "PCM_24")],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_written_is_read(
    tmp_path: Path, name: str, bits: str, subtype: str, dtype: torch.dtype
) -> None:
    speech = SPEECH.to(dtype).requires_grad_()
    assert write_audio(tmp_path / name, speech[None], RATE, bits) == 0
    wave, rate = read_audio(tmp_path / name)
    assert (rate, wave.dtype, soundfile.info(tmp_path / name).subtype) == (
        RATE, torch.float32, subtype
    )  # fmt: skip
    torch.testing.assert_close(wave, speech.detach().float(), rtol=0, atol=STEP[bits] * 1.01)


@pytest.mark.parametrize(
    ("name", "subtype", "rate"),
    [("a.ogg", "VORBIS", RATE), ("a.opus", "OPUS", 24000), ("a.mp3", "MPEG_LAYER_III", RATE)],
)
def test_lossy_files_are_close_and_written_in_pieces(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, subtype: str, rate: int
) -> None:
    """Opus knows no 22,050 Hz, so the wave is resampled on the way, without a seam."""
    found, speech = [], torch.from_numpy(speech_like(8.0, RATE))  # longer than a block
    for pieces in ((speech,), speech.split(700)):
        assert write_audio(tmp_path / name, pieces, RATE) == 0
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


def test_minutes_of_ogg(tmp_path: Path) -> None:
    # libsndfile crashes the process if it gets this much in one call
    write_audio(tmp_path / "a.ogg", torch.zeros(3_000_000), 8000)
    assert len(read_audio(tmp_path / "a.ogg")[0]) == 3_000_000


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "IMA_ADPCM", "ULAW"])
def test_wavs_of_telephony(tmp_path: Path, subtype: str) -> None:
    """libsndfile cannot seek in some of them, nor say how long they are."""
    wave = speech_like(1.0, 8000)
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype=subtype)
    back, rate = read_audio(tmp_path / "a.wav")
    assert rate == 8000
    assert 0 <= len(back) - len(wave) < 400  # filled up to a block
    assert 0.5 * RMS < back.std() < 1.5 * RMS


@posix
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_audio(tmp_path / "a\udcff.wav", SPEECH, RATE)
    assert len(read_audio(tmp_path / "a\udcff.wav")[0]) == len(SPEECH)


def test_clipping_is_counted_and_never_wraps(tmp_path: Path) -> None:
    wave = torch.tensor([0.0, 1.0, -1.0, 1.5, -3.0, 0.5, 1.0001])
    assert write_audio(tmp_path / "a.wav", wave, RATE) == 3
    assert (read_audio(tmp_path / "a.wav")[0] - wave.clamp(-1, 1)).abs().max() < 1e-4
    assert write_audio(tmp_path / "a.wav", wave, RATE, "float") == 0
    assert torch.equal(read_audio(tmp_path / "a.wav")[0], wave)


def test_channels_are_averaged_and_the_rate_is_changed(tmp_path: Path) -> None:
    stereo = np.stack([np.full(RATE, 0.5), np.full(RATE, -0.25)], 1)
    soundfile.write(tmp_path / "a.wav", stereo, RATE, subtype="FLOAT")
    wave, rate = read_audio(tmp_path / "a.wav", RATE)
    assert rate == RATE and torch.equal(wave, torch.full((RATE,), 0.125))
    wave, rate = read_audio(tmp_path / "a.wav", 16000)
    assert rate == 16000 and wave.shape == (16000,)


def tone(frequency: float, rate: int, phase: float = 0.0) -> torch.Tensor:
    """0.2 s that fade in and out, so that its spectrum is narrow."""
    time = torch.arange(rate // 5, dtype=torch.float64) / rate
    fade = torch.sin(torch.pi * time / 0.2) ** 4
    return (fade * torch.sin(2 * torch.pi * frequency * time + phase)).float()


def test_resampling_removes_what_would_alias() -> None:
    assert resample(tone(9000, RATE), RATE, 16000).abs().max() < 1e-4
    for rate in (0, -16000):
        with refused(str(rate)):
            resample(tone(100, RATE), RATE, rate)


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_cut_short_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_audio(path, SPEECH, RATE)
    read_audio(path)  # whole, it is fine
    whole = path.read_bytes()
    for part in (0.0, 0.02, 0.5, 0.97):
        path.write_bytes(whole[: int(len(whole) * part)])
        with refused(str(path)):
            read_audio(path)


def wav(*, rate: int = RATE, size: int | None = None) -> bytearray:
    """A wav of a second that claims a rate, and a size in bytes."""
    content = bytearray(44)
    size = size or 2 * RATE
    struct.pack_into("<4sI8sIHHIIHH4sI", content, 0, b"RIFF", size, b"WAVEfmt ",
                     16, 1, 1, rate, 2 * rate % 2**32, 2, 16, b"data", size)  # fmt: skip
    return content + (SPEECH * 2**15).to(torch.int16).numpy().tobytes()


def test_wav_from_a_pipe_is_not_called_cut_short(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(size=0xFFFFFFFF))
    assert len(read_audio(tmp_path / "a.wav")[0]) == RATE


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.wav", b"", "it is empty"),
        ("a.wav", b"Not a sound. " * 99, "not a sound file"),
        ("a\udcff.wav", b"Not a sound. " * 99, r"a\udcff.wav: it is not a sound file"),
        ("a.flac", b"fLaC" + bytes(500), "damaged"),
        ("a.mp3", b"Not a sound. " * 999, "damaged"),
        ("a.npy", b"\x93NUMPY" + bytes(99), "not a sound file"),
        (".", None, "no such file"),
        ("a\0b.wav", None, "no such file"),
        ("a.wav", np.zeros(0), "no samples"),
        ("a.wav", np.full(100, -1e30), "beyond 1e+10"),
        ("a.wav", np.array([0, np.nan]), "not finite"),
        *(("a.wav", bytes(wav(rate=rate)), f"claims a sample rate of {rate} Hz")
          for rate in (1, 3999, 768_001, 2**31 - 1)),
    ],
)  # fmt: skip
def test_what_is_not_read(
    tmp_path: Path, name: str, content: bytes | np.ndarray | None, words: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        soundfile.write(tmp_path / name, content, RATE, subtype="FLOAT")
    with refused("Cannot read ", words):
        read_audio(tmp_path / name, RATE)


def test_what_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_audio(tmp_path / "a.wav", SPEECH, RATE)
    monkeypatch.setattr(audio, "MAX_SAMPLES", RATE)
    read_audio(tmp_path / "a.wav")
    with refused("a.wav: Too many samples at 48000 Hz"):
        read_audio(tmp_path / "a.wav", 48000)
    monkeypatch.setattr(audio, "MAX_SAMPLES", RATE - 1)
    with refused("too long for the memory"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "wave", "rate", "bits", "words"),
    [
        ("a.flac", SPEECH, RATE, "float", "16 or 24 bits, not float"),
        ("a.ogg", SPEECH, RATE, "24", "16 bits, not 24"),
        ("a.wav", SPEECH, RATE, "8", "not 8"),
        ("a.txt", SPEECH, RATE, "16", "must end in .wav"),
        ("a.wav", torch.zeros(0), RATE, "16", "no samples"),
        ("a.wav", torch.zeros(2, 100), RATE, "16", "float32 of the shape [2, 100]"),
        ("a.wav", torch.zeros(100, dtype=torch.int16), RATE, "16", "floating-point"),
        ("a.wav", SPEECH * torch.nan, RATE, "16", "not finite"),
        *(("a.flac", SPEECH, rate, "16", f"{rate} Hz") for rate in (0, -1, 700_001, 10**30)),
    ],
)
def test_what_is_not_written(
    tmp_path: Path, name: str, wave: torch.Tensor, rate: int, bits: str, words: str
) -> None:
    with refused(f"Cannot write {tmp_path / name}: ", words):
        write_audio(tmp_path / name, wave, rate, bits)
    assert everything(tmp_path) == {}


@posix
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_full_disk_keeps_the_earlier_file(tmp_path: Path, name: str) -> None:
    write_audio(tmp_path / name, SPEECH[:2000], RATE)
    before = everything(tmp_path)
    with files_limited_to(4500), refused(str(tmp_path / name)):
        write_audio(tmp_path / name, SPEECH, RATE)
    assert everything(tmp_path) == before
