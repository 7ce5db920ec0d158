"""egs/web without a browser: the vocoder in JavaScript beside NumPy's, and the builder."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from patience import PATIENCE
from signals import speech_like
from tiny import speech_mel
from told import one_line
from web_page import WEB, load_builder

from diffwave.base.audio import resample
from diffwave.chain.noise import noise_samples
from diffwave.dsp.consistency import match_bands
from diffwave.dsp.source import pulse_times, pulse_train, shaped_source
from diffwave.dsp.stft import ShortTimeFourier, hann_windows
from diffwave.mel import MelSpectrogram, preset

NODE = shutil.which("node")


class STFT(ShortTimeFourier):
    """The transform of arrays."""

    def __init__(self, n_fft: int, hop_length: int) -> None:
        self.n_fft, self.hop_length = n_fft, hop_length
        windows = (window.astype(np.float32) for window in hann_windows(n_fft))
        self.window, self.synthesis_window = windows


needs_node = pytest.mark.skipif(NODE is None, reason="there is no node")


def in_node(folder: Path, body: str, **arrays: Any) -> Any:
    """What JavaScript returns of arrays, which it sees as `given.NAME`, { shape, data }.

    `body` ends in a return; modules of the runtime are awaited as `load("NAME.js")`.
    """
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array))
    script = f"""
        import {{ readFileSync }} from "node:fs";
        const load = (name) => import(`{(WEB / "site" / "runtime").as_uri()}/${{name}}`);
        const {"{ readNpy }"} = await load("npy.js");
        const given = {{}};
        for (const name of {json.dumps(list(arrays))}) {{
            const bytes = readFileSync(`${{process.argv[2]}}/${{name}}.npy`);
            given[name] = readNpy(new Uint8Array(bytes).buffer);
        }}
        const result = await (async () => {{ {body} }})();
        const plain = (key, value) => ArrayBuffer.isView(value) ? Array.from(value) : value;
        process.stdout.write(JSON.stringify(result, plain));
    """
    path = folder / "script.mjs"
    path.write_text(script, encoding="utf-8")
    assert NODE is not None
    done = subprocess.run([NODE, path, folder], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(folder: Path, body: str, **arrays: Any) -> str:
    """The sentence of the InputError that JavaScript throws."""
    found = in_node(
        folder,
        f"""
        const {{ InputError }} = await load("errors.js");
        try {{ {body} }} catch (error) {{
            if (error instanceof InputError) return error.message;
            throw error;
        }}
        throw new Error("nothing was refused");
        """,
        **arrays,
    )
    assert found.endswith(".") and "\n" not in found
    return str(found)


@needs_node
@pytest.mark.parametrize("size", [8, 64, 128, 1024, 2048])
def test_the_transform_and_its_inverse(size: int, tmp_path: Path) -> None:
    x = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    re, im, back = in_node(
        tmp_path,
        """
        const { RealFFT } = await load("fft.js");
        const { data } = given.x;
        const fft = new RealFFT(data.length);
        const [re, im] = [0, 0].map(() => new Float64Array(data.length / 2 + 1));
        const back = new Float64Array(data.length);
        fft.forward(data, re, im);
        fft.inverse(re, im, back);
        return [re, im, back];
        """,
        x=x,
    )
    np.testing.assert_allclose(np.array(re) + 1j * np.array(im), np.fft.rfft(x), atol=1e-11)
    np.testing.assert_allclose(back, x, atol=1e-13)


@needs_node
@pytest.mark.parametrize(
    ("seed", "stream", "start", "length"),
    [
        (0, 0, -384, 200_000),
        (-5, 3, 8191, 2),
        ((1 << 70) + 12345678901234567890, 1, -40_000, 90_000),
    ],
)
def test_noise_is_that_of_python(
    seed: int, stream: int, start: int, length: int, tmp_path: Path
) -> None:
    found = in_node(
        tmp_path,
        f"""
        const {{ noiseSamples }} = await load("noise.js");
        return noiseSamples({seed}n, {stream}, {start}, {length});
        """,
    )
    wanted = noise_samples(seed, stream, start, length)
    # Bit by bit, but for the logarithms in the tails, which no library rounds the same way.
    np.testing.assert_array_max_ulp(np.array(found, np.float32), wanted, 1)
    middle = np.abs(wanted) < 3.65
    np.testing.assert_array_equal(np.array(found, np.float32)[middle], wanted[middle])


@needs_node
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files(dtype: str, order: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 5)) * 1e-3
    values[0, 0, :2] = [6e-8, -65504]  # the smallest and the largest half
    array = np.asarray(values.astype(dtype), order=order)  # type: ignore[call-overload]
    found = in_node(tmp_path, "return given.x", x=array)
    assert found["shape"] == [2, 3, 5]
    wanted = array.astype(np.float32).ravel()
    np.testing.assert_array_equal(np.array(found["data"], np.float32), wanted)


def npy_bytes(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


BAD_NPY = {
    b"": "not a .npy",
    b"RIFF....WAVE": "not a .npy",
    b"\x93NUMPY\x01\x00": "cut off",
    npy_bytes(np.zeros((80, 9)))[:40]: "cut off",
    npy_bytes(np.zeros((80, 9), np.float32))[:-1]: "of 720 numbers it holds 719",
    npy_bytes(np.zeros((80, 9), np.int32)): "floating-point numbers",
    npy_bytes(np.zeros((80, 9), np.complex64)): "not of the type c8",
    npy_bytes(np.zeros(3, [("a", "<f4")])): "floating-point numbers",
    npy_bytes(np.zeros(3)).replace(b"'descr'", b"'DESCR'"): "header cannot be read",
}


@needs_node
@pytest.mark.parametrize("bad", BAD_NPY, ids=list(BAD_NPY.values()))
def test_bad_npy_files_are_refused_in_a_sentence(bad: bytes, tmp_path: Path) -> None:
    sentence = refusal(tmp_path, f"readNpy(new Uint8Array({list(bad)}).buffer);")
    assert BAD_NPY[bad] in sentence


@needs_node
def test_npy_format_2(tmp_path: Path) -> None:
    data = npy_bytes(np.arange(6.0).reshape(2, 3), (2, 0))
    found = in_node(tmp_path, f"return readNpy(new Uint8Array({list(data)}).buffer);")
    assert found == {"shape": [2, 3], "data": [0, 1, 2, 3, 4, 5]}


CHECK = "return (await load('mel.js')).checkedMel(given.mel, {config});"


def config_text(name: str) -> str:
    config = preset(name)
    return json.dumps({field: getattr(config, field) for field in config.__dataclass_fields__})


@needs_node
@pytest.mark.parametrize(
    "turn", [lambda m: m, lambda m: m.T, lambda m: m[None], lambda m: m.T[None]]
)
def test_either_layout_of_a_mel(turn: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    mel = speech_mel(0.3).numpy()
    check = CHECK.format(config=config_text("hifigan"))
    found = in_node(tmp_path, check, mel=turn(mel))
    np.testing.assert_array_equal(np.array(found, np.float32), mel.ravel())


BAD_MELS = {
    "must have the shape": np.zeros((81, 9)),
    "not [2, 80, 9]": np.zeros((2, 80, 9)),
    "2 frames": np.zeros((80, 1)),
    "NaN": np.full((80, 9), np.nan),
    "do not fit the convention hifigan (-13.0 to 4.9)": np.full((80, 9), -40.0),
    "minutes": np.zeros((80, 60_000), np.float16),
}


@needs_node
@pytest.mark.parametrize("words", BAD_MELS)
def test_what_is_no_mel_is_refused_in_a_sentence(words: str, tmp_path: Path) -> None:
    check = CHECK.format(config=config_text("hifigan"))
    assert words in refusal(tmp_path, check, mel=BAD_MELS[words])


@needs_node
@pytest.mark.parametrize("convention", ["hifigan", "lmnt", "coqui"])
def test_the_mel_of_a_wave(convention: str, tmp_path: Path) -> None:
    config = preset(convention)
    frontend = MelSpectrogram(config)
    samples = speech_like(1.0, config.sample_rate)
    found = in_node(
        tmp_path,
        f"""
        const {{ melSpectrogram }} = await load("mel.js");
        return melSpectrogram(given.wave.data, {config_text(convention)}, given.filters.data);
        """,
        wave=samples,
        filters=frontend.unit_filterbank.numpy(),
    )
    import torch

    wanted = frontend(torch.from_numpy(samples)).numpy()
    np.testing.assert_allclose(np.reshape(found, wanted.shape), wanted, atol=1e-3)


@needs_node
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_resampled_recordings_have_the_same_mel(rate: int, tmp_path: Path) -> None:
    import torch

    samples = speech_like(1.0, rate)
    found = in_node(
        tmp_path,
        f"return (await load('resample.js')).resampled(given.wave.data, {rate}, 22050);",
        wave=samples,
    )
    wanted = resample(torch.from_numpy(samples), rate, 22050)
    assert abs(len(found) - len(wanted)) <= 1
    frontend = MelSpectrogram(preset("hifigan"))
    ours = frontend(torch.tensor(found)).numpy()
    theirs = frontend(wanted).numpy()
    # At the ends either resampler rings; near the top of its bandwidth each falls in its own way.
    frames, bands = slice(2, min(ours.shape[1], theirs.shape[1]) - 2), 80 if rate > 16_000 else 74
    np.testing.assert_allclose(ours[:bands, frames], theirs[:bands, frames], atol=1e-3)


@needs_node
def test_rates_that_files_state(tmp_path: Path) -> None:
    files = {}
    for suffix, subtype, rate in (
        ("wav", "PCM_16", 11_025), ("wav", "FLOAT", 44_100), ("flac", "PCM_16", 22_050),
        ("ogg", "VORBIS", 32_000), ("ogg", "OPUS", 16_000),
    ):  # fmt: skip
        path = tmp_path / f"{subtype}-{rate}.{suffix}"
        soundfile.write(path, np.zeros(4000), rate, subtype=subtype)
        files[str(path)] = 48_000 if subtype == "OPUS" else rate  # which Opus always decodes to
    (tmp_path / "other.mp3").write_bytes(b"ID3 and so on")
    files[str(tmp_path / "other.mp3")] = None
    found = in_node(
        tmp_path,
        f"""
        const {{ statedRate }} = await load("resample.js");
        return {json.dumps(list(files))}.map(
            (path) => statedRate(new Uint8Array(readFileSync(path)).buffer));
        """,
    )
    assert found == list(files.values())


@needs_node
def test_pulses_are_those_of_python(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    f0 = np.exp(rng.normal(5, 0.2, 300)).astype(np.float32)
    voiced = rng.random(300) > 0.3
    times, heights, train = in_node(
        tmp_path,
        """
        const { pulseTimes, pulseTrain } = await load("source.js");
        const pulses = pulseTimes(given.f0.data, given.voiced.data, 22050, 256, 128);
        return [pulses.times, pulses.heights, pulseTrain(pulses, 1000, 20000)];
        """,
        f0=f0,
        voiced=voiced.astype(np.float32),
    )
    wanted = pulse_times(f0, voiced, 22050, 256, 128)
    np.testing.assert_allclose(times, wanted.times, atol=1e-6)
    np.testing.assert_allclose(heights, wanted.heights, atol=1e-6)
    np.testing.assert_allclose(train, pulse_train(wanted, 1000, 20000), atol=1e-5)


@needs_node
@pytest.mark.parametrize("name", ["ddim", "ancestral", "dpm-solver++"])
def test_samplers_are_those_of_python(name: str, tmp_path: Path) -> None:
    from diffwave.chain.angles import alpha_bar_of
    from diffwave.chain.samplers import SAMPLERS, sample

    u = [1.0, 0.8, 0.5, 0.2]
    rng = np.random.default_rng(2)
    x = rng.standard_normal(64).astype(np.float32)
    noises = rng.standard_normal((4, 64)).astype(np.float32)
    found = in_node(
        tmp_path,
        f"""
        const {{ SAMPLERS, sample, alphaBarOf, angleOf, x0FromV }} = await load("chain.js");
        const denoise = async (x, bar) => x0FromV(x, x.map((y) => Math.sin(y + angleOf(bar))), bar);
        const noise = (i) => given.noises.data.subarray(64 * i, 64 * i + 64);
        const levels = {u}.map(alphaBarOf);
        return sample(SAMPLERS["{name}"], denoise, given.x.data, levels, noise);
        """,
        x=x,
        noises=noises,
    )

    def denoise(x: np.ndarray, bar: float) -> np.ndarray:
        from diffwave.chain.angles import angle_of
        from diffwave.chain.gaussian import x0_from_v

        return x0_from_v(x, np.sin(x + np.float32(angle_of(np.asarray(bar)))), bar)

    wanted = sample(
        SAMPLERS[name], denoise, x, alpha_bar_of(np.array(u)), noise=lambda i: noises[i]
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@needs_node
def test_the_source_is_shaped_as_in_python(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    spectrum = rng.standard_normal((2, 7, 513)).astype(np.float32)
    share = rng.uniform(-0.2, 1.2, (7, 4)).astype(np.float32)
    weights = rng.uniform(0, 0.5, (4, 512)).astype(np.float32)
    log_envelope = np.cumsum(rng.normal(0, 0.1, (7, 512)), axis=1).astype(np.float32)
    mean, deviation = in_node(
        tmp_path,
        """
        const { RealFFT } = await load("fft.js");
        const { shapedSource } = await load("source.js");
        const [re, im] = [0, 7 * 513].map((at) => given.spectrum.data.subarray(at, at + 7 * 513));
        const { share, weights, log_envelope } = given;
        const found = shapedSource(
            new RealFFT(1024), { re, im }, share.data, weights.data, log_envelope.data, 0.1);
        return [found.mean, found.deviation];
        """,
        spectrum=spectrum,
        share=share,
        weights=weights,
        log_envelope=log_envelope,
    )
    pulses = (spectrum[0] + 1j * spectrum[1])[None]
    wanted = shaped_source(pulses, (share @ weights)[None], log_envelope[None], 0.1)
    np.testing.assert_allclose(np.reshape(mean, (1, 7, 2, 512)), wanted[0], atol=2e-4)
    np.testing.assert_allclose(np.reshape(deviation, (1, 7, 1, 512)), wanted[1], rtol=1e-5)


@needs_node
@pytest.mark.parametrize("n_iter", [0, 1, 6])
def test_iterations_are_those_of_python(n_iter: int, tmp_path: Path) -> None:
    stft, rng = STFT(1024, 256), np.random.default_rng(4)
    filters = MelSpectrogram(preset("hifigan")).unit_filterbank.numpy()
    spectrum = rng.standard_normal((2, 9, 513)).astype(np.float32)
    wanted = rng.normal(1, 2, (9, 80)).astype(np.float32)
    ends = (1e-5, np.inf)
    found = in_node(
        tmp_path,
        f"""
        const {{ STFT }} = await load("stft.js");
        const {{ Bands, MelConsistency }} = await load("consistency.js");
        const [re, im] = [0, 9 * 513].map((at) => given.spectrum.data.subarray(at, at + 9 * 513));
        const bands = new Bands(given.filters.data, 80, given.ends.data);
        const iterations = new MelConsistency(
            new STFT(1024, 256), bands, {{ re, im }}, given.wanted.data, 0.87);
        for (let i = 0; i < {n_iter}; i++) iterations.iterate();
        return iterations.signal;
        """,
        spectrum=spectrum,
        filters=filters,
        wanted=wanted,
        ends=np.array(ends),
    )
    start = (spectrum[0] + 1j * spectrum[1])[None]
    matched = match_bands(start, wanted[None], ends, filters, stft, n_iter, 0.87)
    signal = stft.inverse(matched)[0]
    np.testing.assert_allclose(found, signal, atol=1e-4 * np.abs(signal).max())


@needs_node
def test_wav_files(tmp_path: Path) -> None:
    data = in_node(
        tmp_path,
        """
        const { wavBytes } = await load("wav.js");
        return new Uint8Array(wavBytes(Float32Array.of(0, 0.5, -1, 3, -3), 22050));
        """,
    )
    with wave.open(io.BytesIO(bytes(data))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22050)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert samples.tolist() == [0, 16384, -32767, 32767, -32767]


# The builder.


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return load_builder()


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that says it is onnxruntime-web of the version that the page needs."""
    folder = tmp_path / "ort"
    monkeypatch.setenv("DIFFWAVE_ORT_WEB", str(folder))
    (folder / "dist").mkdir(parents=True)
    pinned = json.loads((WEB / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    (folder / "package.json").write_text(json.dumps({"version": pinned}))
    for name in ("ort.wasm.min.mjs", "ort.webgpu.min.mjs"):
        (folder / "dist" / name).write_text("export {};")
    for name in ("", ".asyncify"):
        for suffix in ("mjs", "wasm"):
            (folder / "dist" / f"ort-wasm-simd-threaded{name}.{suffix}").write_text("")
    return folder


def test_what_is_built(builder: ModuleType, web_voice: Path, runtime: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    assert builder.main([str(page), "--voice", str(web_voice / "graphs")]) == 0
    assert {path.name for path in (page / "voice").iterdir()} == {
        *("onnx.json", "filters.npy", "ends.npy", "share_weights.npy"),
        *("condition.onnx", "enhancer.onnx", "source.onnx", "step.onnx"),
    }
    # Whatever a module or the page names is there.
    for path in (*page.glob("*.js"), *page.glob("runtime/*.js")):
        for name in re.findall(r'from "(\./.*?)"', path.read_text()):
            assert (path.parent / name).is_file(), (path, name)
    for name in re.findall(r'(?:src|href)="(.*?)"', (page / "index.html").read_text()):
        assert name.startswith("data:") or (page / name).is_file(), name


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("package.json", '{"version": "1.2.3"}', "onnxruntime-web 1.2.3, and the page needs"),
        ("package.json", None, "Cannot read"),
        ("dist/ort.wasm.min.mjs", None, "ort.wasm.min.mjs: No such file"),
        (None, None, "none-such"),
    ],
)
def test_another_runtime_and_no_voice_are_refused_in_a_sentence(
    name: str | None,
    content: str | None,
    words: str,
    builder: ModuleType,
    runtime: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name is not None:
        (runtime / name).unlink()
        if content is not None:
            (runtime / name).write_text(content)
    assert builder.main([str(tmp_path / "page"), "--voice", str(tmp_path / "none-such")]) == 2
    one_line(capsys, "build.py: ", words)
    assert list(tmp_path.iterdir()) == [runtime]  # nothing half-written


def test_the_lock_has_a_checksum_of_every_package() -> None:
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert packages["node_modules/onnxruntime-web"]["version"] == wanted["onnxruntime-web"]
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
