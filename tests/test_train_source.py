"""Training with a source: the same through memory and disk, repeatable, exported, begun from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from small_run import metrics, small_config, write_clips

from diffwave.base.errors import InputError
from diffwave.checkpoint import load_checkpoint, load_config
from diffwave.data import envelope
from diffwave.data.corpus import load_corpus
from diffwave.data.crops import Crops, Framing
from diffwave.data.prepare import prepare
from diffwave.train.config import TrainConfig
from diffwave.train.loop import train

SMALL = {"source__layers": 1, "source__channels": 16, "data__pitch_share": 0.5, "run__steps": 8}


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(envelope, "BATCHES", 2)
    (tmp_path / "clips").mkdir()
    return write_clips(tmp_path / "clips")


def crops_of(config: TrainConfig) -> Crops:
    model = config.model_config()
    corpus = load_corpus(config.data, Framing(model), progress=False)
    return Crops(corpus.train, model, config.data, 0)


def test_prepared_and_read_sources_are_the_same(clips: Path, tmp_path: Path) -> None:
    read = small_config(clips, tmp_path / "run", data__prepare__level="keep", **SMALL)
    prepare(clips, tmp_path / "corpus", read.data, read.model_config(), progress=False)
    disk = dataclasses.replace(read.data, folder=str(tmp_path / "corpus"), pitch_share=1.0)
    mapped = crops_of(dataclasses.replace(read, data=disk))
    again = crops_of(dataclasses.replace(read, data=disk))
    for clip, other in zip(mapped.clips, crops_of(read).clips, strict=True):
        assert clip.source is not None and other.source is not None
        assert (clip.source[:, 0] > 0).mean() > 0.2
        assert abs(len(clip.source) - len(other.source)) < 50 and clip.polarity == other.polarity
    one, two = mapped.batch(3, 4), again.batch(3, 4, [2, 3])
    assert one.excitation is not None and two.excitation is not None and one.f0 is not None
    assert torch.equal(one.wave[2:], two.wave)
    assert torch.equal(one.excitation.pulses[2:], two.excitation.pulses)
    assert one.excitation.share.shape == (4, 24, 9) and one.f0.shape == (4, 24)


def test_corpora_without_a_source_say_so(clips: Path, tmp_path: Path) -> None:
    plain = small_config(clips, tmp_path / "run")
    prepare(clips, tmp_path / "corpus", plain.data, plain.model_config(), progress=False)
    with pytest.raises(InputError, match="prepared without the source"):
        train(small_config(tmp_path / "corpus", tmp_path / "run", **SMALL))


@pytest.mark.parametrize("network", ["spectral", "waveform"])
def test_models_without_a_source_train_on_a_corpus_that_has_one(
    clips: Path, tmp_path: Path, network: str
) -> None:
    corpus, with_source = tmp_path / "corpus", small_config(clips, tmp_path / "run", **SMALL)
    prepare(clips, corpus, with_source.data, with_source.model_config(), progress=False)
    sizes = {"waveform__channels": 4, "waveform__layers": 2, "run__steps": 2}
    plain = small_config(corpus, tmp_path / "run", network=network, **sizes)
    assert load_config(train(plain, progress_bar=False)).source is None
    assert all((clip.source, clip.polarity) == (None, 1) for clip in crops_of(plain).clips)


def test_a_run_with_a_source(clips: Path, tmp_path: Path) -> None:
    changes = SMALL | {"loss__denoising": 0, "loss__enhancement": 0, "optim__lr": 0.02}
    first = train(small_config(clips, tmp_path / "a", **changes | {"run__steps": 60}))
    losses = list(metrics(tmp_path / "a", "loss").values())
    assert losses[-1] < 0.8 * losses[0]
    assert metrics(tmp_path / "a", "voicing_error")
    # The network next, with the same predictor; a base keeps its source without a setting.
    second = small_config(clips, tmp_path / "b", run__init=first, run__steps=2, loss__source=0)
    model = load_checkpoint(train(second))
    assert model.source is not None and metrics(tmp_path / "b", "loss_validation")
    before = load_checkpoint(first).source
    assert before is not None
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.parameters(), model.source.parameters(), strict=True)
    )
    # And one without a source stays so.
    plain = train(small_config(clips, tmp_path / "c", run__steps=1))
    tuned = train(small_config(clips, tmp_path / "d", **SMALL | {"run__init": plain}))
    assert load_config(tuned).source is None
