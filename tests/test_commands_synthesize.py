"""What the commands do with files and folders, called as the command line calls them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from signals import speech_like
from tiny import HOP, random_model, source_config, speech_mel
from told import one_line

from diffwave import cli
from diffwave.checkpoint import save_checkpoint
from diffwave.vocoder import Vocoder

MEL = speech_mel(0.3).numpy()
Synthesize = Callable[..., int]


@pytest.fixture
def synthesize(tiny_checkpoint: Path) -> Synthesize:
    def run(source: object, target: object, *options: str) -> int:
        model = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--steps", "2"]
        return cli.main(["synthesize", str(source), str(target), *model, *options])

    return run


@pytest.fixture
def mels(tmp_path: Path) -> Path:
    """a.npy, deep/er/b.npy, and a file of another kind."""
    folder = tmp_path / "mels"
    (folder / "deep" / "er").mkdir(parents=True)
    np.save(folder / "a.npy", MEL)
    np.save(folder / "deep" / "er" / "b.npy", MEL[:, :10])
    (folder / "notes.txt").write_text("not a mel")
    return folder


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_keeps_its_structure(
    mels: Path, tmp_path: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synthesize(mels, tmp_path / "out") == 0
    assert names(tmp_path / "out") == {"a.wav", "deep/er/b.wav"}
    assert soundfile.info(tmp_path / "out" / "deep/er/b.wav").frames == 10 * HOP
    seconds = (MEL.shape[1] + 10) * HOP / 22050
    captured = capsys.readouterr()
    assert captured.out.startswith(f"2 files in {tmp_path / 'out'}: {seconds:.2f} s of speech in ")
    assert "real-time factor" in captured.out
    assert captured.err == ""


def test_a_file_alone_and_in_a_folder_are_the_same(
    mels: Path, tmp_path: Path, synthesize: Synthesize
) -> None:
    assert synthesize(mels, tmp_path / "out") == 0
    assert synthesize(mels / "a.npy", tmp_path / "alone.wav") == 0
    assert (tmp_path / "alone.wav").read_bytes() == (tmp_path / "out/a.wav").read_bytes()


def test_it_is_the_vocoders_wave(
    mels: Path, tmp_path: Path, synthesize: Synthesize, vocoder: Vocoder
) -> None:
    assert synthesize(mels / "a.npy", tmp_path / "a.wav", "--bits", "float", "--seed", "3") == 0
    wave, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == 22050
    np.testing.assert_array_equal(wave, vocoder(MEL, steps=2, seed=3).numpy())


@pytest.mark.parametrize(
    ("name", "options", "subtype"),
    [
        ("a.wav", (), "PCM_16"),
        ("a.WAV", ("--bits", "16"), "PCM_16"),
        ("a.wav", ("--bits", "24"), "PCM_24"),
        ("a.wav", ("--bits", "float"), "FLOAT"),
        ("a.flac", (), "PCM_16"),
        ("a.flac", ("--bits", "24"), "PCM_24"),
        ("a.ogg", (), "VORBIS"),
    ],
)
def test_sample_formats(
    name: str, options: tuple[str, ...], subtype: str, mels: Path, synthesize: Synthesize
) -> None:
    assert synthesize(mels / "a.npy", mels / name, *options) == 0
    info = soundfile.info(mels / name)
    assert (info.subtype, info.channels, info.samplerate) == (subtype, 1, 22050)
    assert info.frames == MEL.shape[1] * HOP


def test_a_flac_of_floats_is_refused(
    mels: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synthesize(mels / "a.npy", mels / "a.flac", "--bits", "float") == 2
    assert "16 or 24 bits, not float" in capsys.readouterr().err
    assert not (mels / "a.flac").exists()


def test_recordings_are_resampled_and_resynthesised(
    tmp_path: Path, synthesize: Synthesize, vocoder: Vocoder
) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.flac", speech_like(0.5), 22050, subtype="PCM_16")
    soundfile.write(tmp_path / "in" / "b.WAV", speech_like(0.5, 48000), 48000)
    assert synthesize(tmp_path / "in", tmp_path / "out", "--bits", "float") == 0
    for name in ("a", "b"):
        frames = soundfile.info(tmp_path / "out" / f"{name}.wav").frames
        assert frames == round(0.5 * 22050) // HOP * HOP
    wave = torch.from_numpy(soundfile.read(tmp_path / "in" / "a.flac", dtype="float32")[0])
    expected = vocoder(vocoder.mel(wave), steps=2).numpy()
    found = soundfile.read(tmp_path / "out" / "a.wav", dtype="float32")[0]
    np.testing.assert_array_equal(found, expected)


def test_a_batch_of_one_is_one(mels: Path, synthesize: Synthesize) -> None:
    np.save(mels / "c.npy", MEL[None])
    assert synthesize(mels / "c.npy", mels / "c.wav") == 0
    assert synthesize(mels / "a.npy", mels / "a.wav") == 0
    assert (mels / "c.wav").read_bytes() == (mels / "a.wav").read_bytes()


def test_a_batch_of_more_does_not_fit_one_file(
    mels: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(mels / "c.npy", np.stack([MEL, MEL]))
    assert synthesize(mels / "c.npy", mels / "c.wav") == 2
    assert "holds 2 mel-spectrograms" in capsys.readouterr().err


def test_what_can_be_used_is_used(
    mels: Path, tmp_path: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(mels / "broken.npy", MEL.T)
    np.save(mels / "other.npy", MEL[:, :1])
    assert synthesize(mels, tmp_path / "out") == 2
    assert names(tmp_path / "out") == {"a.wav", "deep/er/b.wav"}
    captured = capsys.readouterr()
    first, second, last = captured.err.splitlines()
    assert first.startswith(f"{mels / 'broken.npy'}: ")
    assert second.startswith(f"{mels / 'other.npy'}: ")
    assert last == "diffwave: 2 of 4 files could not be used."
    assert captured.out.startswith("2 files")


def test_no_file_can_be_used(
    tmp_path: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", MEL[0])
    assert synthesize(tmp_path / "in", tmp_path / "out") == 2
    captured = capsys.readouterr()
    assert "1 of 1 files" in captured.err
    assert "real-time factor" not in captured.out  # of nothing
    assert not (tmp_path / "out").exists()


def test_a_subfolder_that_cannot_be_made(
    mels: Path, tmp_path: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_text("a file in the way")
    assert synthesize(mels, tmp_path / "out") == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{mels / 'deep/er/b.npy'}: Cannot write {tmp_path / 'out/deep/er'}")
    assert "1 of 2" in last
    assert (tmp_path / "out" / "a.wav").exists()


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("missing", "out", "no file or folder"),
        ("missing.npy", "out.wav", "no file or folder"),
        ("mels/notes.txt", "out.wav", "is not a mel or recording"),
        ("mels/a.npy", "out.aac", "must end in .wav, .flac"),
        ("mels/a.npy", "out", "must end in"),
        ("mels/a.npy", "mels", "must end in"),
        ("mels/a.npy", "missing/out.wav", "no folder"),
        ("mels/a.npy", "mels/notes.txt/out.wav", "no folder"),
        ("mels", "mels/notes.txt", "must be one too"),
        ("mels", "out/of/reach", "no folder"),
        ("mels", "mels", "mels is the input"),
        ("mels", "mels/../mels", "is the input"),
        ("mels", "link", "is the input"),
        ("mels/a.npy", "soft.wav", "is the input"),
        ("mels/a.npy", "hard.wav", "is the input"),
        ("nothing", "out", "no mel or recording"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(
    source: str,
    target: str,
    words: str,
    mels: Path,
    tmp_path: Path,
    synthesize: Synthesize,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Vocoder, "from_pretrained", lambda *_: pytest.fail("it began to work"))
    (tmp_path / "nothing").mkdir()
    (tmp_path / "link").symlink_to(mels)
    (tmp_path / "soft.wav").symlink_to(mels / "a.npy")
    (tmp_path / "hard.wav").hardlink_to(mels / "a.npy")
    before = names(tmp_path)
    assert synthesize(tmp_path / source, tmp_path / target) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert names(tmp_path) == before


def test_two_of_one_name(
    mels: Path, tmp_path: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(mels / "a.npz", mel=MEL)
    assert synthesize(mels, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"{mels / 'a.npy'} and {mels / 'a.npz'} would both become" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["mels/out", "mels/deep/../out", "link/out"])
def test_results_inside_the_input_folder_are_no_input(
    out: str, mels: Path, tmp_path: Path, synthesize: Synthesize
) -> None:
    (tmp_path / "link").symlink_to(mels)
    for _ in range(2):
        assert synthesize(mels, tmp_path / out) == 0
        assert names(mels / "out") == {"a.wav", "deep/er/b.wav"}


def test_an_input_elsewhere_in_the_tree_is_not_written_over(
    mels: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    """mels/deep to mels: the output of deep/deep/er/b.wav would be the input deep/er/b.wav."""
    (mels / "deep/deep/er").mkdir(parents=True)
    for place in ("deep/er/b.wav", "deep/deep/er/b.wav"):
        soundfile.write(mels / place, speech_like(0.5), 22050)
    (mels / "deep/er/b.npy").unlink()
    before = (mels / "deep/er/b.wav").read_bytes()
    assert synthesize(mels / "deep", mels) == 2
    assert "is the input" in capsys.readouterr().err
    assert (mels / "deep/er/b.wav").read_bytes() == before


def test_hidden_files_are_no_input(mels: Path, tmp_path: Path, synthesize: Synthesize) -> None:
    (mels / "._a.wav").write_bytes(b"of macOS")
    (mels / ".cache").mkdir()
    np.save(mels / ".cache" / "c.npy", MEL)
    assert synthesize(mels, tmp_path / "out") == 0
    assert names(tmp_path / "out") == {"a.wav", "deep/er/b.wav"}


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_a_name_that_is_no_text(
    mels: Path, tmp_path: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(mels / "\udcff.npy", MEL)
    status = synthesize(mels, tmp_path / "out")
    assert {"a.wav", "deep/er/b.wav"} <= names(tmp_path / "out")
    told = capsys.readouterr()
    assert status == 0 or r"\udcff" in told.err


def test_too_little_memory_for_one_file(
    mels: Path,
    tmp_path: Path,
    synthesize: Synthesize,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Vocoder.stream

    def scarce(self: Vocoder, mel: torch.Tensor, **options: object) -> Iterator[torch.Tensor]:
        if mel.shape[-1] > 10:
            raise MemoryError
        return stream(self, mel, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Vocoder, "stream", scarce)
    assert synthesize(mels, tmp_path / "out") == 2
    assert names(tmp_path / "out") == {"deep/er/b.wav"}
    assert "not enough memory" in capsys.readouterr().err


def test_clipping_is_told(
    mels: Path, synthesize: Synthesize, capsys: pytest.CaptureFixture[str], vocoder: Vocoder
) -> None:
    loud = MEL + 4  # 35 dB up
    samples = vocoder(loud, steps=2)
    count = int((samples.abs() > 1).sum())
    assert count > 0
    np.save(mels / "loud.npy", loud)
    assert synthesize(mels / "loud.npy", mels / "loud.wav") == 0
    captured = capsys.readouterr()
    assert captured.err == f"{mels / 'loud.wav'}: {count} samples were clipped at full scale.\n"


def test_chunks_and_steps_and_samplers_reach_the_vocoder(
    mels: Path, synthesize: Synthesize, vocoder: Vocoder
) -> None:
    options = ("--sampler", "ancestral", "--chunk", "10", "--bits", "float", "--steps", "3")
    assert synthesize(mels / "a.npy", mels / "a.wav", *options) == 0
    expected = vocoder(MEL, steps=3, sampler="ancestral", chunk_frames=10)
    found = soundfile.read(mels / "a.wav", dtype="float32")[0]
    np.testing.assert_array_equal(found, expected.numpy())


# --- pitch ---

F0 = np.where(np.arange(MEL.shape[1]) % 9 < 6, 180.0, 0.0)


@pytest.fixture(scope="module")
def source_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small vocoder with a pulse source."""
    folder = tmp_path_factory.mktemp("source") / "tiny-source"
    save_checkpoint(random_model(source_config()), folder)
    return folder


@pytest.fixture
def with_source(synthesize: Synthesize, source_checkpoint: Path) -> Synthesize:
    def run(source: object, target: object, *options: str) -> int:
        model = ("--checkpoint", str(source_checkpoint), "--bits", "float")
        return synthesize(source, target, *model, *options)

    return run


def samples(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def test_pitch_of_a_file_is_followed_and_transposed(
    mels: Path, with_source: Synthesize, source_checkpoint: Path
) -> None:
    np.save(mels / "a-f0.npy", F0)
    (mels / "a-f0.TXT").write_text("".join(f"{hz:g}\n" for hz in F0))
    chosen = Vocoder.from_pretrained(source_checkpoint, "cpu")
    for options, arguments in (
        ((), {}),
        (("--f0", str(mels / "a-f0.npy")), {"f0": F0}),
        (("--f0", str(mels / "a-f0.TXT")), {"f0": F0}),
        (("--transpose", "-3.5"), {"transpose": -3.5}),
        (("--f0", str(mels / "a-f0.npy"), "--transpose", "4"), {"f0": F0, "transpose": 4}),
    ):
        assert with_source(mels / "a.npy", mels / "a.wav", *options) == 0
        expected = chosen(MEL, steps=2, **arguments)
        np.testing.assert_array_equal(samples(mels / "a.wav"), expected.numpy())


def test_pitch_of_a_folder_lies_in_files_of_the_same_names(
    mels: Path,
    tmp_path: Path,
    with_source: Synthesize,
    source_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pitch = tmp_path / "pitch"
    (pitch / "deep" / "er").mkdir(parents=True)
    np.save(pitch / "a.npy", F0)
    arguments = (mels, tmp_path / "out", "--f0", str(pitch))
    assert with_source(*arguments) == 2  # the other one's is missing
    missing, last = capsys.readouterr().err.splitlines()
    assert f"There is no {pitch / 'deep/er/b'}.npy or .txt of its pitch." in missing
    assert last == "diffwave: 1 of 2 files could not be used."
    assert names(tmp_path / "out") == {"a.wav"}
    np.savetxt(pitch / "deep" / "er" / "b.txt", F0[:10])
    assert with_source(*arguments) == 0
    chosen = Vocoder.from_pretrained(source_checkpoint, "cpu")
    for name, frames in (("a", len(F0)), ("deep/er/b", 10)):
        expected = chosen(MEL[:, :frames], steps=2, f0=F0[:frames])
        np.testing.assert_array_equal(samples(tmp_path / f"out/{name}.wav"), expected.numpy())


@pytest.mark.parametrize("options", [("--f0", "f0.npy"), ("--transpose", "2")])
@pytest.mark.parametrize("source", ["a.npy", ""])
def test_a_checkpoint_without_a_source_takes_no_pitch(
    source: str,
    options: tuple[str, str],
    mels: Path,
    tmp_path: Path,
    synthesize: Synthesize,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save(tmp_path / "f0.npy", F0)
    (tmp_path / "f0").mkdir()
    value = options[1].replace("f0.npy", str(tmp_path / ("f0.npy" if source else "f0")))
    target = tmp_path / ("out.wav" if source else "out")
    assert synthesize(mels / source, target, options[0], value) == 2
    one_line(capsys, "This checkpoint has no source")
    assert not target.exists()
    assert synthesize(mels / source, target, "--transpose", "0") == 0


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("f0.npy", F0[:-1], f"one value for each of {len(F0)} frames"),
        ("f0.npy", F0 + 1, "or be 0 where there is no voice"),
        ("f0.npy", np.stack([F0, F0]), "one number for each frame"),
        ("f0.npy", F0 * np.nan, "not finite"),
        ("f0.npy", F0.astype(str), "does not hold an array of numbers"),
        ("f0.txt", "180\nhigh\n", "not a .txt file"),
        ("f0.csv", "180\n", "must end in .npy, .txt"),
        ("f0", None, "must be a folder if the input is one"),
        ("missing.npy", None, "no file or folder"),
    ],
)
def test_a_pitch_that_cannot_be_used(
    file: str,
    content: np.ndarray | str | None,
    words: str,
    mels: Path,
    tmp_path: Path,
    with_source: Synthesize,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "f0").mkdir()
    if isinstance(content, str):
        (tmp_path / file).write_text(content)
    elif content is not None:
        np.save(tmp_path / file, content)
    target = tmp_path / "out.wav"
    assert with_source(mels / "a.npy", target, "--f0", str(tmp_path / file)) == 2
    one_line(capsys, words)
    assert not target.exists()


@pytest.mark.parametrize("semitones", ["25", "nan", "up"])
def test_a_transposition_that_cannot_be(
    semitones: str, mels: Path, with_source: Synthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        with_source(mels / "a.npy", mels / "a.wav", "--transpose", semitones)
    one_line(capsys, "--transpose")


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("restored_threads")
def test_threads(mels: Path, synthesize: Synthesize) -> None:
    torch.set_num_threads(1)
    assert synthesize(mels / "a.npy", mels / "a.wav", "--threads", "2") == 0
    assert torch.get_num_threads() == 2
    assert synthesize(mels / "a.npy", mels / "a.wav") == 0
    assert torch.get_num_threads() == 2


def test_evaluate_a_checkpoint_and_the_folder_it_would_make(
    tmp_path: Path, tiny_checkpoint: Path, synthesize: Synthesize
) -> None:
    """Both ways of scoring hear the same audio."""
    pytest.importorskip("auraloss")
    (tmp_path / "ref").mkdir()
    for seed in range(2):
        path = tmp_path / "ref" / f"LJ00{seed}.wav"
        soundfile.write(path, speech_like(1.0, seed=seed), 22050, subtype="FLOAT")
    model = ["--checkpoint", str(tiny_checkpoint), "--device", "cpu", "--steps", "2"]
    metrics = ["--metrics", "mr_stft"]
    reports = [tmp_path / "a.csv", tmp_path / "b.csv"]
    reference = str(tmp_path / "ref")
    assert cli.main(["evaluate", reference, *model, *metrics, "--save", str(reports[0])]) == 0
    assert synthesize(reference, tmp_path / "out", "--bits", "float") == 0
    arguments = ["evaluate", reference, str(tmp_path / "out"), *metrics, "--save", str(reports[1])]
    assert cli.main(arguments) == 0
    one, other = (report.read_text().splitlines() for report in reports)
    assert len(one) == len(other) >= 3
    for row, same in zip(one[1:3], other[1:3], strict=True):
        for cell, twin in zip(row.split(","), same.split(","), strict=True):
            if cell != twin:
                assert float(cell) == pytest.approx(float(twin), rel=1e-3)
