"""Load of a service: how many listeners it serves at a time, in real time.

    pip install locust
    diffwave serve --max-requests 200 &
    python egs/serve_load.py [http://127.0.0.1:8000] [--streams 10,20,30,40] [--seconds 30]

Each listener asks for 2 to 6 s of speech as a stream, hears it from its first sample on, and then
asks for the next. Samples that come after they should have been heard are a gap, and what a
loudspeaker would do: wait for them. The table says for each number of listeners how long they
waited for the first sample, in how many utterances there was a gap, and what a second of speech
cost the service in processor time. It is a locustfile, too: `locust -f egs/serve_load.py`.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import time
from pathlib import Path

import gevent
import numpy as np
from locust import HttpUser, constant, task
from locust.env import Environment

MEL = np.load(Path(__file__).with_name("mel.npy"))
LEAST_FRAMES = 172
RATE = 22050
ASK, FIRST = "utterance", "first samples"


class Listener(HttpUser):
    """Somebody who hears one utterance after another."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Come at any time, not with all others."""
        gevent.sleep(random.uniform(0, 4))

    @task
    def listen(self) -> None:
        """Ask for an utterance and hear it to its end."""
        frames = random.randint(LEAST_FRAMES, MEL.shape[1])
        start = random.randint(0, MEL.shape[1] - frames)
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(MEL[:, start : start + frames]))
        path = f"/v1/speech?stream=true&format=pcm&seed={random.getrandbits(32)}"
        asked, heard_from, received, gaps = time.monotonic(), 0.0, 0, 0
        with self.client.post(
            path, data=file.getvalue(), stream=True, catch_response=True, name=ASK
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"HTTP {answer.status_code}")
                gevent.sleep(float(answer.headers.get("Retry-After", 1)))
                return
            for piece in answer.iter_content(None):
                now = time.monotonic()
                if not received:
                    heard_from = now
                    self._report(1000 * (now - asked))
                elif now > heard_from + received / (2 * RATE):
                    gaps += 1
                    heard_from = now - received / (2 * RATE)
                received += len(piece)
            if received != 2 * 256 * frames:
                answer.failure("cut off")
            elif gaps:
                answer.failure("gap")
            else:
                answer.success()
        gevent.sleep(max(0.0, heard_from + received / (2 * RATE) - time.monotonic()))

    def _report(self, milliseconds: float) -> None:
        self.environment.events.request.fire(
            request_type="POST",
            name=FIRST,
            response_time=milliseconds,
            response_length=0,
            exception=None,
            context={},
        )


def measure(host: str, streams: int, seconds: float) -> str:
    """A row of the table."""
    environment = Environment(user_classes=[Listener], host=host)
    runner = environment.create_local_runner()
    runner.start(streams, spawn_rate=streams)
    gevent.sleep(8)  # all have come, and heard something
    environment.stats.reset_all()
    before = cost(host)
    gevent.sleep(seconds)
    work, speech = (now - then for now, then in zip(cost(host), before, strict=True))
    first, asked = (environment.stats.get(name, "POST") for name in (FIRST, ASK))
    wrong = {error.error: error.occurrences for error in environment.stats.errors.values()}
    cells = [f"{first.get_response_time_percentile(q):.0f}" for q in (0.5, 0.95, 0.99)]
    cells = [f"{streams}", f"{asked.num_requests}", *cells]
    for word in ("gap", "HTTP 503"):
        cells.append(str(sum(n for error, n in wrong.items() if word in str(error))))
    other = sum(wrong.values()) - int(cells[-1]) - int(cells[-2])
    runner.quit()
    return f"| {' | '.join([*cells, str(other), f'{work / max(speech, 1e-9):.3f}'])} |"


def cost(host: str) -> tuple[float, float]:
    """Seconds of processor time that the service has taken, and of speech that it has generated."""
    import requests  # not before locust, whose gevent has to patch ssl first

    text = requests.get(f"{host}/metrics", timeout=60).text
    names = "process_cpu_seconds_total", "diffwave_speech_seconds_total"
    values = dict(line.split(" ")[:2] for line in text.splitlines() if line[:1] != "#")
    return float(values[names[0]]), float(values[names[1]])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("host", nargs="?", default="http://127.0.0.1:8000")
    parser.add_argument("--streams", default="10,20,30,40,50,60", metavar="N,N,..")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    columns = "listeners", "utterances", "median, ms", "95 %", "99 %", "gap", "refused", "failed"
    print(f"| {' | '.join([*columns, 'RTF'])} |")
    print(f"|{'---|' * (len(columns) + 1)}")
    for streams in options.streams.split(","):
        print(measure(options.host, int(streams), options.seconds), flush=True)


if __name__ == "__main__":
    sys.exit(main())
