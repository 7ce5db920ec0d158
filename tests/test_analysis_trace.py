"""What `synthesize --trace` shows of the reverse chain, and that it changes nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tiny import random_model, source_config, speech_mel, waveform_config
from told import process

from diffwave.analysis import trace as traces
from diffwave.analysis.trace import Trace, save
from diffwave.base.errors import InputError
from diffwave.checkpoint import save_checkpoint
from diffwave.model import ModelConfig
from diffwave.vocoder import Vocoder

MEL = speech_mel(0.4)


def traced(config: ModelConfig, **options: object) -> tuple[Vocoder, Trace, torch.Tensor]:
    vocoder = Vocoder(random_model(config), "cpu")
    trace = Trace(22050, int(options.get("n_iter", 0)))  # type: ignore[call-overload]
    pieces = trace.kept(vocoder.stream(MEL, steps=3, watch=trace.watch, **options))  # type: ignore[arg-type]
    return vocoder, trace, torch.cat(list(pieces))


@pytest.mark.parametrize("config", [source_config, waveform_config])
def test_watching_changes_nothing_and_chunks_meet(config: Callable[[], ModelConfig]) -> None:
    vocoder, whole, wave = traced(config(), sampler="ancestral")
    assert torch.equal(wave, vocoder(MEL, steps=3, sampler="ancestral"))
    assert torch.equal(whole.result, wave)
    _, chunked, _ = traced(config(), sampler="ancestral", chunk_frames=13)
    assert len(whole.steps) == len(chunked.steps) == 3
    for one, other in zip(whole.steps, chunked.steps, strict=True):
        assert one.alpha_bar == other.alpha_bar
        assert one.state.shape == wave.shape
        torch.testing.assert_close(one.state, other.state, rtol=0, atol=1e-4)
        torch.testing.assert_close(one.estimate, other.estimate, rtol=0, atol=1e-4)
    # Without iterations the last estimate is what is heard.
    torch.testing.assert_close(whole.steps[-1].estimate, wave, rtol=0, atol=1e-6)


def test_the_states_are_those_of_the_chain() -> None:
    """On samples with unit noise for a prior, x_t is the sampler's own x."""
    vocoder, trace, _ = traced(waveform_config())
    seen: list[torch.Tensor] = []
    vocoder(MEL, steps=3, callback=lambda i, level, x, x_0: seen.append(x[0]))
    for visited, x in zip(trace.steps, seen, strict=True):
        assert torch.equal(visited.state, x)
    levels = vocoder.model.denoiser.levels(vocoder.model.sampling(3)).tolist()
    assert [visited.alpha_bar for visited in trace.steps] == levels


def test_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MOST_FRAMES", 2)
    _, trace, wave = traced(source_config(), n_iter=2)
    save(trace, tmp_path, "deep/a")
    steps = [f"{i}-{what}" for i in (1, 2, 3) for what in ("state", "estimate")]
    assert {path.name for path in tmp_path.iterdir()} == {*steps, "result", "deep"}
    for step in (*steps, "result"):
        samples, rate = soundfile.read(tmp_path / step / "deep" / "a.wav", dtype="float32")
        assert (len(samples), rate) == (len(wave), 22050)
        assert 0 < np.abs(samples).max() < 1  # nothing is clipped
        assert Image.open(tmp_path / step / "deep" / "a.png").size[0] > 10
    # The state is noisier than the result, and no louder.
    states = [soundfile.read(tmp_path / f"{i}-state" / "deep" / "a.wav")[0] for i in (1, 3)]
    result = soundfile.read(tmp_path / "result" / "deep" / "a.wav")[0]
    assert all(np.std(state) < 1.01 * np.std(result) for state in states)
    with Image.open(tmp_path / "deep" / "a.gif") as strip:
        assert strip.n_frames == 3  # type: ignore[attr-defined]  # two steps and the result
    noted = json.loads((tmp_path / "deep" / "a.json").read_text())
    assert [step["alpha_bar"] for step in noted["steps"]] == [s.alpha_bar for s in trace.steps]
    assert noted["steps"][0]["snr_db"] is None  # pure noise
    assert noted["n_iter"] == 2


def test_a_silent_result_and_too_long_a_trace(tmp_path: Path) -> None:
    trace = Trace(22050, 0)
    trace.watch(0, 0.0, torch.randn(1, 4000), torch.zeros(1, 4000))
    trace.result = torch.zeros(4000)
    save(trace, tmp_path, "a")
    noise = soundfile.read(tmp_path / "1-state" / "a.wav")[0]
    assert 0 < np.abs(noise).max() <= 1
    with pytest.raises(InputError, match="10000 steps of this mel would take 80 GB"):
        traces.check_size(10_000, 1_000_000)


def test_the_command(tmp_path: Path) -> None:
    save_checkpoint(random_model(waveform_config()), tmp_path / "voice")
    np.save(tmp_path / "a.npy", MEL[:, :12].numpy())

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        common = ["--checkpoint", "voice", "--device", "cpu", "--steps", "2", "--threads", "1"]
        return process("synthesize", *words, *common, cwd=tmp_path)

    done = run("a.npy", "a.wav", "--trace", "way")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "way" / "2-estimate" / "a.wav").is_file()
    assert (tmp_path / "way" / "result" / "a.wav").read_bytes() != b""
    assert (tmp_path / "way" / "a.gif").read_bytes()[:3] == b"GIF"
    for words, sentence in (
        (("a.npy", "b.wav", "--trace", "no/such/way"), "there is no folder no/such"),
        (("a.npy", "b.wav", "--trace", "a.npy"), "exists and is not a folder"),
        (("a.npy", "b.wav", "--trace", "w2", "--low-latency"), "is of whole mels"),
        ((".", "../out", "--trace", "./w2"), "lies in the input"),
    ):
        refused = run(*words)
        assert refused.returncode == 2 and refused.stdout == ""
        assert sentence in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "b.wav").exists() and not (tmp_path / "w2").exists()
