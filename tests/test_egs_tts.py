"""Text to speech (egs/tts): phonemes, the acoustic model, and the command as its user starts it."""

from __future__ import annotations

import io
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from told import EGS, ROOT, script

from diffwave.base.audio import read_audio
from diffwave.base.errors import InputError
from diffwave.mel import check_mel, preset
from diffwave.vocoder import bundled

sys.path.insert(0, str(EGS / "tts"))
pytest.importorskip("transformers")
acoustic = pytest.importorskip("acoustic")
phonemes = pytest.importorskip("phonemes")
speak = pytest.importorskip("speak")
spelling = pytest.importorskip("spelling")

SMALL = {
    "hidden_size": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_linear_units": 16,
    "decoder_linear_units": 16,
    "speech_decoder_postnet_layers": 2,
    "speech_decoder_postnet_units": 8,
    "pitch_predictor_channels": 8,
    "energy_predictor_channels": 8,
    "duration_predictor_channels": 8,
}
SOUNDS = "h ə l ˈoʊ w ˈɜː d θ ɪ s z t ɛ"  # noqa: RUF001
SYMBOLS = [*phonemes.SPECIAL, *SOUNDS.split()]


def model_of(seed: int = 0) -> object:
    torch.manual_seed(seed)
    model = acoustic.build(len(SYMBOLS), 2, **SMALL).eval()
    for layer in model.speech_decoder_postnet.layers:  # it begins as the identity
        torch.nn.init.normal_(layer.batch_norm.weight)
    return model


def voices() -> object:
    one = {"pitch": [5.3, 0.2], "energy": [-5.0, 1.0]}
    return acoustic.Voices(SYMBOLS, ["a", "b"], {"a": one, "b": one})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("acoustic")
    model = model_of()
    with torch.no_grad():  # so that what it says is a mel of the convention
        model.speech_decoder_postnet.feat_out.weight *= 0.2
        model.speech_decoder_postnet.layers[-1].batch_norm.weight *= 0.2
    acoustic.save(folder, model, voices())
    return folder


def texts(*counts: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    tokens = torch.zeros(len(counts), max(counts), dtype=torch.long)
    for row, count in enumerate(counts):
        tokens[row, :count] = torch.randint(8, len(SYMBOLS), (count,))
    return tokens, torch.tensor(counts)


def test_the_same_mel_as_the_library_predicts() -> None:
    model = model_of()
    model.duration_predictor.linear.bias.data.fill_(1.5)
    tokens, counts = texts(11)
    with torch.inference_mode():
        theirs = model(tokens, speaker_ids=torch.tensor([[1]]), return_dict=True)
        ours = acoustic.predict(
            model, tokens, counts, torch.tensor([1]), theirs.duration_outputs, beyond=(0, 0)
        )
    assert int(theirs.duration_outputs.sum()) > 20
    torch.testing.assert_close(
        ours.mel.transpose(1, 2), theirs.spectrogram * acoustic.MEL_STD + acoustic.MEL_MEAN
    )
    torch.testing.assert_close(ours.pitch, theirs.pitch_outputs[..., 0])


def test_padding_changes_nothing() -> None:
    model = model_of()
    tokens, counts = texts(11, 4)
    durations = torch.tensor([[2] * 11, [3, 0, 4, 1] + [0] * 7])
    pitch, energy = torch.randn(2, 11), torch.randn(2, 11)
    with torch.inference_mode():
        both = acoustic.predict(
            model, tokens, counts, torch.tensor([0, 1]), durations, pitch, energy
        )
        one = acoustic.predict(
            model, tokens[1:, :4], counts[1:], torch.tensor([1]), durations[1:, :4],
            pitch[1:, :4], energy[1:, :4],
        )  # fmt: skip
    assert both.frames.tolist() == [22, 8]
    for name in ("coarse", "mel"):
        padded, alone = getattr(both, name)[1, :, :8], getattr(one, name)[0]
        torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        both.log_durations[1, :4], one.log_durations[0], atol=1e-5, rtol=1e-5
    )


def test_durations_keep_their_sum() -> None:
    exact = torch.full((1, 40), 2.4)
    whole = acoustic.whole_frames(exact, torch.ones(1, 40, dtype=torch.bool))
    assert int(whole.sum()) == 96 and set(whole[0].tolist()) == {2, 3}
    slow = acoustic.whole_frames(exact, torch.ones(1, 40, dtype=torch.bool), rate=0.5)
    assert int(slow.sum()) == 192
    silent = acoustic.whole_frames(exact * 0, torch.ones(1, 40, dtype=torch.bool))
    assert int(silent.sum()) == 1


def test_phonemes_and_pauses() -> None:
    pytest.importorskip("espeakng_loader")
    found = phonemes.phonemes("Hello, Mr. Smith: is 3.5 so small? Yes.")
    assert found[0] == phonemes.START and found[-1] == phonemes.END
    assert found.count(",") == 2 and found.count("?") == 1 and found.count(".") == 1
    assert found[1] == "h" and phonemes.SPACE in found
    assert not any(a == b == phonemes.SPACE for a, b in itertools.pairwise(found))
    for nothing in ("", "  ", "?!", "\u2014"):
        with pytest.raises(InputError, match="holds no word"):
            phonemes.phonemes(nothing)


def test_an_unknown_symbol_is_read_as_the_nearest_known() -> None:
    numbers = {symbol: number for number, symbol in enumerate(SYMBOLS)}
    stress, length = phonemes.STRESS, phonemes.LONG
    assert phonemes.encode([f"{stress[0]}l", f"l{length}", "lz", "?"], SYMBOLS) == [
        numbers["l"], numbers["l"], numbers["l"], numbers["z"], numbers["?"],
    ]  # fmt: skip
    assert phonemes.encode(["\u4e2d"], SYMBOLS) == []


def test_long_texts_are_spoken_in_pieces() -> None:
    text = "One two. " + "three, four " * 60 + "x" * 700 + ". Five"
    pieces = speak.clauses(text)
    assert max(map(len, pieces)) <= speak.LONGEST
    assert re.sub(r"\s", "", "".join(pieces)) == re.sub(r"\s", "", text)


def test_neither_titles_nor_initials_end_a_sentence_and_blank_lines_do() -> None:
    text = "Mr. Smith met Dr. Jones. J. R. R. Tolkien wrote.\nThen 5 came\n \nup"
    assert speak.clauses(text) == [
        "Mr. Smith met Dr. Jones.", "J. R. R. Tolkien wrote.", "Then 5 came", "up",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Cats vs. dogs, e.g. Tom, i.e. him", "Cats versus dogs, for example Tom, that is him"),
        ("At 5 p.m. they left. It was 6 p.m.", "At 5 PM they left. It was 6 PM."),
        ("Ham, etc. They ate, etc., all day", "Ham, et cetera. They ate, et cetera, all day"),
        ("No. 5 of vol. 2, pp. 3-5; no. Go.", "number 5 of volume 2, pages 3 to 5; no. Go."),
        ("$1, $1.05, €20, £7.50.", "1 dollar, 1 dollar 5 cents, 20 euros, 7 pounds 50 pence."),
        ("$1,000.00, $0.125, $2.5 million", "1,000 dollars, 0.125 dollars, 2.5 million dollars"),
        ("the '60s, 1990s, 90s", "the sixties, 19 nineties, nineties"),
        ("1914\u20131918, 555-1234-99, A1-2", "1914 to 1918, 555-1234-99, A1-2"),
        ("so\u00adft \u200bbell\x07s", "soft bell s"),
        ("naïve π", "naïve π"),
    ],
)  # fmt: skip
def test_a_text_is_read_aloud(written: str, spoken: str) -> None:
    assert " ".join(spelling.read_aloud(written).split()) == spoken
    assert spelling.read_aloud(spoken) == spoken


@pytest.mark.parametrize("letter", "жעم日ア한म𠀀\udce9")
def test_letters_of_other_scripts_are_refused(letter: str) -> None:
    with pytest.raises(
        InputError, match=re.escape(f"must be English; the letter {letter!r} is not")
    ):
        spelling.read_aloud(f"One {letter}.")


def test_a_slower_rate_takes_longer_and_speakers_differ(checkpoint: Path) -> None:
    pytest.importorskip("espeakng_loader")
    model, voices = acoustic.load(checkpoint)
    text = "Hello world, hello."
    normal, slow = (speak.text_to_mel(model, voices, text, rate=rate) for rate in (1.0, 0.5))
    assert slow.shape[1] == pytest.approx(2 * normal.shape[1], abs=2)
    other = speak.text_to_mel(model, voices, text, "b")
    assert other.shape != normal.shape or not torch.allclose(other, normal)
    torch.testing.assert_close(speak.text_to_mel(model, voices, text, "a"), normal)
    with pytest.raises(InputError, match="no speaker 'c'; there are a, b"):
        speak.text_to_mel(model, voices, text, "c")
    with pytest.raises(InputError, match=r"from 0.5 to 2, not 5"):
        speak.text_to_mel(model, voices, text, rate=5)


def test_a_checkpoint_is_what_was_saved(checkpoint: Path) -> None:
    model, there = acoustic.load(checkpoint)
    assert there == voices() and not model.training
    expected = model_of().state_dict()
    for name, value in expected.items():
        if "postnet" in name:
            continue
        torch.testing.assert_close(model.state_dict()[name], value, atol=2e-3, rtol=2e-3)
    assert (checkpoint / "model.safetensors").stat().st_mode & 0o044
    # It lies beside the vocoders, and must not be taken for one.
    assert not (checkpoint / "config.json").exists()
    assert "tts-22k" not in bundled()


def command(*arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    return script(EGS / "tts" / "speak.py", *arguments, **settings)


def test_it_speaks(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    out, mel = tmp_path / "out.wav", tmp_path / "mel.npy"
    options = ["--speaker", "b", "--model", checkpoint, "--mel", mel]
    spoken = command("-", out, *options, input="Hello.")
    assert (spoken.returncode, spoken.stderr) == (0, "")
    wave, rate = read_audio(out)
    assert rate == 22050 and len(wave) == 256 * np.load(mel).shape[1] > 0
    assert spoken.stdout == f"{out}: {len(wave) / rate:.1f} s of speech\n"


def test_bad_input_is_one_sentence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader")
    (tmp_path / "empty").mkdir()
    out, model = tmp_path / "out.wav", ["--model", str(checkpoint)]
    for arguments, message in [
        (["", str(out), *model], "holds no word"),
        (["?!", str(out), "--model", "none"], "holds no word"),  # before anything is loaded
        (["мир", str(out), *model], "must be English"),
        (["-", str(out), *model], "not UTF-8"),
        (["Hello", str(tmp_path / "none" / "out.wav"), *model], "there is no folder"),
        (["Hello", str(tmp_path / "out.txt"), *model], "the name must end in"),
        (["Hello", str(out), "--mel", str(tmp_path / "mel.txt"), *model], "must end in .npy"),
        (["Hello", str(out), "--speaker", "c", *model], "no speaker 'c'"),
        (["Hello", str(out), "--voice", "none", *model], "no checkpoint 'none'"),
        (["Hello", str(out), "--model", str(tmp_path / "empty")], "holds no acoustic model"),
    ]:
        monkeypatch.setattr(sys, "argv", ["speak.py", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9")))
        with pytest.raises(InputError, match=message) as caught:
            speak.main()
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


@pytest.mark.parametrize("package", ["transformers", "espeakng_loader"])
def test_a_missing_package_is_named(checkpoint: Path, tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text("raise ImportError('it is not there')\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    refused = command(
        "Hello.", tmp_path / "o.wav", "--model", checkpoint, environment={"PYTHONPATH": path}
    )
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
    assert "it is not there" in refused.stderr and "pip install -e '.[tts]'" in refused.stderr


def test_the_bundled_model_says_every_text() -> None:
    pytest.importorskip("espeakng_loader")
    model, voices = acoustic.load(speak.MODEL)
    assert voices.speakers == ["ljspeech", "kathleen"]
    convention = preset("hifigan")
    for speaker in voices.speakers:
        mel = speak.text_to_mel(model, voices, "Speech is noise until somebody listens.", speaker)
        assert 1.5 < mel.shape[1] * 256 / 22050 < 4.5
        assert check_mel(mel, convention).shape == (1, *mel.shape)  # it is a mel of the convention
        assert mel.mean(0).max() - mel.mean(0).min() > 2  # nepers: there is speech, and silence
    again = speak.text_to_mel(model, voices, "Speech is noise until somebody listens.", speaker)
    torch.testing.assert_close(again, mel)
