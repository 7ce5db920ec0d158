"""The HTTP interface: what is answered, what is refused, and that nothing of the inside leaks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import torch
from patience import until
from serving import npy, samples
from tiny import enhancing_config, random_model, source_config, speech_mel
from told import script

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from fastapi.testclient import TestClient

from diffwave import Vocoder, cli
from diffwave.commands.options import Serve
from diffwave.serving import engine
from diffwave.serving.app import create_app
from diffwave.serving.limits import Limits
from diffwave.serving.schema import SpeechOptions
from diffwave.serving.service import Service

MEL = speech_mel(1.5)
LIMITS = Limits(max_requests=3, max_body=1 << 20, max_frames=3000, max_steps=4, max_iterations=50)
SPEECH, JSON = "/v1/speech", "application/json"


@pytest.fixture(scope="module")
def voice() -> Vocoder:
    return Vocoder(random_model(source_config()), "cpu")


@pytest.fixture(scope="module")
def service(voice: Vocoder) -> Service:
    return Service(voice, LIMITS, workers=2, max_batch=4)


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service, "a voice")) as client:
        yield client


def post(client: TestClient, body: bytes = b"", query: str = "", kind: str = "") -> bytes:
    answer = client.post(SPEECH + query, content=body, headers={"content-type": kind})
    assert answer.status_code == 200, answer.text
    return answer.content


def refused(
    client: TestClient, status: int, *words: str, query: str = "", body: bytes = b""
) -> None:
    answer = client.post(SPEECH + query, content=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail = answer.json()["detail"]
    assert detail.endswith(".") and "\n" not in detail
    for word in words:
        assert word in detail


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("bits", ["16", "24", "float"])
def test_a_wav_is_that_of_the_vocoder(
    client: TestClient, voice: Vocoder, stream: str, bits: str
) -> None:
    query = f"?steps=2&n_iter=3&seed=-4&enhance=false&transpose=2&bits={bits}&stream={stream}"
    answer = client.post(SPEECH + query, content=npy(MEL))
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    assert ("content-length" in answer.headers) == (stream == "false")
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert (file.samplerate, file.channels) == (22050, 1)
        assert file.subtype == {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}[bits]
        wave = file.read(dtype="float32")
    alone = voice(MEL, steps=2, n_iter=3, seed=-4, enhance=False, transpose=2).numpy()
    assert wave.shape == alone.shape and answer.headers["x-samples"] == str(len(alone))
    allowed = {"16": 1.01 / 32768, "24": 2e-5, "float": 1e-5}[bits]
    assert np.abs(wave - alone.clip(-1, 1) if bits != "float" else wave - alone).max() <= allowed


def test_samples_without_a_header_and_a_mel_in_json(client: TestClient, voice: Vocoder) -> None:
    body = json.dumps({"mel": MEL.tolist()}).encode()
    raw = samples(post(client, body, "?format=pcm&bits=float", JSON))
    assert np.abs(raw - voice(MEL).numpy()).max() <= 1e-5


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?steps=0", ("steps", "greater than or equal to 1")),
        ("?steps=5", ("steps is 4 at most", "not 5")),
        ("?n_iter=51", ("n_iter is 50 at most",)),
        ("?steps=two", ("steps", "integer")),
        ("?transpose=99", ("transpose",)),
        ("?transpose=nan", ("transpose",)),
        ("?seed=1e400", ("seed",)),
        (f"?seed={2**63}", ("seed",)),
        ("?format=mp3", ("format", "wav")),
        ("?bits=8", ("bits",)),
        ("?stream=perhaps", ("stream",)),
        ("?speed=2", ("no option 'speed'", "n_iter")),
        ("?steps=1&steps=x%0Ay", ("steps",)),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(
    client: TestClient, query: str, words: tuple[str, ...]
) -> None:
    refused(client, 422, *words, query=query, body=npy(MEL))


def test_a_wrong_body_is_refused_and_gives_its_place_back(
    client: TestClient, service: Service
) -> None:
    for _ in range(2 * LIMITS.max_requests):
        refused(client, 400, "truncated", body=npy(MEL)[:-9])
        refused(client, 413, "1048576 bytes", body=bytes((1 << 20) + 1))
        refused(client, 413, "3001 frames", body=npy(torch.zeros(80, 3001)))
        refused(client, 422, "NaN", body=npy(MEL + float("nan")))
    assert service.taken == 0


def test_a_voice_without_a_source_refuses_a_pitch() -> None:
    plain = Service(Vocoder(random_model(enhancing_config()), "cpu"))
    with TestClient(create_app(plain, "plain")) as client:
        refused(client, 422, "no source", query="?transpose=1", body=npy(MEL))
        assert client.get("/v1/voice").json()["can_transpose"] is False


def test_unknown_paths_and_methods(client: TestClient) -> None:
    for answer, status in ((client.get("/nowhere"), 404), (client.get(SPEECH), 405)):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("secret: /home/x"), 500),
        (MemoryError("secret"), 503),
        (KeyError("secret"), 500),
    ],
)
def test_a_failure_leaks_nothing_and_the_next_request_works(
    client: TestClient,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine, "generate_windows", fail)
        for stream in ("true", "false"):
            answer = client.post(f"{SPEECH}?stream={stream}", content=npy(MEL))
            assert answer.status_code == status
            assert "secret" not in answer.text and type(error).__name__ not in answer.text
    with monkeypatch.context() as patch:  # where no worker catches it
        patch.setattr(service, "utterance", fail)
        answer = client.post(SPEECH, content=npy(MEL))
        assert answer.status_code == 500 and "secret" not in answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert service.taken == 0
    assert client.get("/healthz").json() == {"status": "ok"}
    post(client, npy(MEL))


def test_a_stream_that_fails_half_way_is_cut_off(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:
    generate, calls = engine.generate_windows, []

    def fail_later(*arguments: object) -> object:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("secret")
        return generate(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "generate_windows", fail_later)
    answer = client.post(f"{SPEECH}?stream=true&format=pcm", content=npy(speech_mel(3)))
    assert len(answer.content) < 2 * int(answer.headers["x-samples"])
    assert service.taken == 0


def test_health_voice_and_metrics(client: TestClient, service: Service) -> None:
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    voice = client.get("/v1/voice").json()
    assert voice["sample_rate"] == 22050 and voice["n_mels"] == 80 and voice["can_transpose"]
    service.taken = LIMITS.max_requests
    try:
        assert client.get("/readyz").status_code == 503
        refused(client, 503, "3 places", body=npy(MEL))
        assert int(client.post(SPEECH, content=b"x").headers["retry-after"]) >= 1
    finally:
        service.taken = 0

    def speech_seconds() -> float:
        lines = client.get("/metrics").text.splitlines()
        return float(
            next(x for x in lines if x.startswith("diffwave_speech_seconds_total")).split()[1]
        )

    before = speech_seconds()
    post(client, npy(MEL))
    assert speech_seconds() - before == pytest.approx(MEL.shape[1] * 256 / 22050, abs=1e-6)
    text = client.get("/metrics").text
    assert 'diffwave_requests_total{path="/v1/speech",status="200"}' in text
    assert 'path="other",status="404"' in text and "nowhere" not in text


def test_the_document_describes_what_is_there_and_its_example_is_spoken(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    operation = document["paths"][SPEECH]["post"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"steps", "n_iter", "seed", "enhance", "transpose", "format", "bits", "stream"}
    assert all(p["in"] == "query" and p["description"] for p in operation["parameters"])
    assert {"200", "400", "408", "413", "415", "422", "500", "503", "504"} <= set(
        operation["responses"]
    )
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/x-npy", "application/safetensors", JSON}
    for example in content[JSON]["examples"].values():
        post(client, json.dumps(example["value"]).encode(), "", JSON)
    references = set(json.dumps(document).split("#/components/schemas/")[1:])
    for reference in references:
        assert reference.partition('"')[0] in document["components"]["schemas"]


def test_the_engine_takes_what_is_due_first(voice: Vocoder) -> None:
    """A stream that has been heard to its end comes before one with speech in hand."""
    order: list[str] = []
    waiting = engine.Engine(voice.model)  # whose threads have not been started
    for name, due in (("later", 5.0), ("now", 1.0), ("cancelled", 0.5), ("soon", 2.0)):
        utterance = Service(voice).utterance(MEL, SpeechOptions())
        job = engine.Job(utterance, lambda item, name=name: order.append(name), 1 / 22050)
        job.due = due
        waiting.submit(job)
        if name == "cancelled":
            waiting.cancel(job)
    assert waiting.waiting == 3
    waiting.start()
    until(lambda: len(order) == 6)  # samples and an end of each
    waiting.stop()
    assert order == ["now", "now", "soon", "soon", "later", "later"]


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    block = "import sys; sys.modules['fastapi'] = None; from diffwave.cli import main; "
    code = block + "sys.exit(main(['serve', '--port', '0']))"
    process = script("-c", code)
    assert process.returncode == 2
    assert "pip install 'diffwave[serve]'" in process.stderr and process.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "port"),
        (["--host", "no.such.host.invalid", "--port", "0"], "Cannot listen"),
        (["--host", "198.51.100.1", "--port", "0"], "Cannot listen"),
        (["--checkpoint", "nowhere"], "no checkpoint"),
    ],
)
def test_a_command_line_that_cannot_be(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main(["serve", *arguments])
    except SystemExit as error:
        status = int(error.code or 0)
    captured = capsys.readouterr()
    assert status == 2 and words in captured.err and captured.err.count("\n") == 1


def test_the_limits_of_the_command_line_are_those_of_the_class() -> None:
    options, limits = Serve(), Limits()
    assert options.max_requests == limits.max_requests
    assert options.max_frames == limits.max_frames
    assert options.max_body << 20 == limits.max_body
    assert options.timeout == limits.generate_seconds
    assert options.upload_timeout == limits.upload_seconds
