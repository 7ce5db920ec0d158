from __future__ import annotations

from pathlib import Path

import pytest
import torch
from signals import speech_like

from diffwave.audio import read_audio, write_audio
from diffwave.errors import InputError
from diffwave.eval.pairs import audio_files, folder_pairs, listed, resynthesis_pairs

RATE = 22050


def test_resynthesis_pairs_read_and_call(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_audio(
            tmp_path / f"s{seed}.wav", torch.from_numpy(speech_like(1.0, 16000, seed)), 16000
        )
    files = list(audio_files(tmp_path).values())
    pairs = list(resynthesis_pairs(files, lambda wave: 0.5 * wave[:-100], RATE))
    assert [pair.name for pair in pairs] == ["s0", "s1"]
    assert [pair.reference_file for pair in pairs] == files
    for pair in pairs:
        assert len(pair.reference) == RATE == pair.sample_rate
        assert torch.equal(pair.generated, 0.5 * pair.reference[:-100])
        assert pair.generated_file is None


def test_what_is_generated_can_be_kept_to_listen_to(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_audio(tmp_path / "a.flac", torch.from_numpy(speech_like(1.0, RATE)), RATE)
    (pair,) = resynthesis_pairs([tmp_path / "a.flac"], torch.neg, RATE, tmp_path / "out")
    assert pair.generated_file == tmp_path / "out" / "a.wav"
    wave, rate = read_audio(pair.generated_file)
    assert rate == RATE
    torch.testing.assert_close(wave, pair.generated, atol=1e-4, rtol=0)


def test_folder_pairs_match_names_and_rates(tmp_path: Path) -> None:
    (tmp_path / "ref").mkdir()
    (tmp_path / "gen").mkdir()
    wave = torch.from_numpy(speech_like(1.0, RATE))
    for name in ("a.flac", "b.wav", "c.wav"):
        write_audio(tmp_path / "ref" / name, wave, RATE)
    write_audio(tmp_path / "gen" / "b.ogg", torch.from_numpy(speech_like(1.0, 44100)), 44100)
    write_audio(tmp_path / "gen" / "a.wav", wave, RATE)
    (tmp_path / "gen" / "notes.txt").write_text("not audio")
    pairs, names, unmatched = folder_pairs(tmp_path / "ref", tmp_path / "gen")
    read = list(pairs)
    assert names == ["a", "b"]
    assert [p.reference_file for p in read] == [tmp_path / "ref" / n for n in ("a.flac", "b.wav")]
    assert [p.generated_file for p in read] == [tmp_path / "gen" / n for n in ("a.wav", "b.ogg")]
    assert [p.name for p in read] == ["a", "b"]
    assert unmatched == ["c"]
    assert all(p.sample_rate == RATE and len(p.generated) == RATE for p in read)

    pairs, names, unmatched = folder_pairs(tmp_path / "ref", tmp_path / "gen", "[bc].*")
    assert (names, [p.name for p in pairs], unmatched) == (["b"], ["b"], ["c"])

    write_audio(tmp_path / "gen" / "d.wav", wave, RATE)
    with pytest.raises(InputError, match=r"d\.wav has no recording"):
        folder_pairs(tmp_path / "ref", tmp_path / "gen")


def test_folders_that_do_not_help(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        audio_files(tmp_path / "no")
    with pytest.raises(InputError, match="holds no audio"):
        audio_files(tmp_path)
    for name in ("a.wav", "a.flac"):
        write_audio(tmp_path / name, torch.zeros(10), RATE)
    with pytest.raises(InputError, match="the same name"):
        audio_files(tmp_path)


def test_a_pattern_that_nothing_matches_is_told(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", torch.zeros(10), RATE)
    assert list(audio_files(tmp_path, "a*")) == ["a"]
    with pytest.raises(InputError, match=r"matches 'b\*'\.$"):
        audio_files(tmp_path, "b*")


def test_long_lists_are_cut_short() -> None:
    assert listed(["a"]) == "a"
    assert listed(list("abcde")) == "a, b, c, d, e"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
