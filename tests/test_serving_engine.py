"""The queue of a service: who is next, and in which order samples arrive."""

from __future__ import annotations

import threading

import torch
from patience import PATIENCE
from tiny import speech_mel

from diffwave import Vocoder
from diffwave.serving.batch import Utterance
from diffwave.serving.engine import Engine, Job


def test_no_window_of_a_stream_overtakes_the_one_before(vocoder: Vocoder) -> None:
    """Two workers, and a reader who asks for more while the first window is handed over."""
    model = vocoder.model
    utterance = Utterance(model, speech_mel(1.5), model.sampling(1, None, 1), most=8, stream=True)
    engine = Engine(model, workers=2)
    arrived: list[torch.Tensor] = []
    ended, begun = threading.Event(), threading.Event()

    def deliver(item: torch.Tensor | Exception | None) -> None:
        if not isinstance(item, torch.Tensor):
            ended.set()
            return
        engine.read(job)
        if not begun.is_set():
            begun.set()
            ended.wait(1)  # time enough to generate all that follow
        arrived.append(item)

    job = Job(utterance, deliver, 1 / vocoder.sample_rate, stream=True)
    engine.start()
    try:
        engine.submit(job)
        assert ended.wait(PATIENCE)
    finally:
        engine.stop()
    whole = vocoder(speech_mel(1.5), steps=1, n_iter=1)
    assert len(arrived) > 2
    torch.testing.assert_close(
        torch.cat(arrived), whole, rtol=0, atol=1e-5 * float(whole.abs().max())
    )
