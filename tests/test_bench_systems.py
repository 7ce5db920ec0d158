"""The vocoders that are compared: published sizes, one interface."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from diffwave.bench.measure import mel_of
from diffwave.bench.result import Setting
from diffwave.bench.systems import INT8, SYSTEMS, System, build, build_systems, precision_of

PARAMETERS = {  # millions, as their papers and repositories say
    "vocos": 13.5,
    "hifigan-v1": 13.92,
    "hifigan-v2": 0.92,
    "hifigan-v3": 1.46,
    "diffwave-base@6": 2.62,
}


def built(name: str) -> System:
    package = SYSTEMS[name][0]
    if package != "diffwave":
        pytest.importorskip(package, reason=f"{package} is not installed: no peer to test")
    return build(name)


@pytest.fixture(scope="module", params=PARAMETERS)
def peer(request: pytest.FixtureRequest) -> System:
    return built(request.param)


def test_peers_have_their_published_size_and_no_weight_norm_left(peer: System) -> None:
    assert peer.parameters / 1e6 == pytest.approx(PARAMETERS[peer.name], abs=0.05)
    keys = peer.module.state_dict().keys()
    assert not [key for key in keys if "parametrizations" in key or key.endswith("weight_g")]


def test_peers_make_a_wave_of_the_right_length_without_subnormal_numbers(peer: System) -> None:
    mel = mel_of(peer, Setting(1, "fp32", 2, 0.05))
    outputs: list[torch.Tensor] = []
    hooks = [
        module.register_forward_hook(lambda *call: outputs.append(call[-1]))
        for module in peer.module.modules()
    ]
    wave, centred = peer.generate(mel), peer.name == "vocos"  # its frames, on the wave's ends
    assert wave.shape == (2, (mel.shape[-1] - centred) * peer.mel.hop_length)
    assert bool(torch.isfinite(wave).all()) and float(wave.std()) > 1e-4
    for hook in hooks:
        hook.remove()
    tiny = torch.finfo(torch.float32).tiny
    sizes = [x.abs() for x in outputs if isinstance(x, torch.Tensor) and x.is_floating_point()]
    assert sizes and not any(bool(((x > 0) & (x < tiny)).any()) for x in sizes)
    first = peer.first_chunk(mel[:1], 3)  # a short call
    assert first.shape == (1, (3 - centred) * peer.mel.hop_length)


def test_ours_shares_its_weights_between_step_counts(tiny_checkpoint: Path) -> None:
    systems, missing = build_systems(["diffwave@1", "diffwave@2"], str(tiny_checkpoint))
    assert missing == []
    assert systems[0].module is systems[1].module
    assert [system.steps for system in systems] == [1, 2]
    assert systems[0].what == f"this project, {tiny_checkpoint}, 1 step"


def test_base_takes_a_batch_one_by_one() -> None:
    system = build("diffwave-base@6")
    mel = mel_of(system, Setting(1, "fp32", 2, 0.02))
    torch.testing.assert_close(system.generate(mel)[1:], system.generate(mel[1:]))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path) -> None:
    for module in [m for m in sys.modules if m.partition(".")[0] == "vocos"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "vocos", None)
    systems, missing = build_systems(["diffwave@1", "vocos"], str(tiny_checkpoint))
    assert [system.name for system in systems] == ["diffwave@1"]
    assert [item.system for item in missing] == ["vocos"]
    assert missing[0].reason.startswith("vocos cannot be imported (")


@pytest.mark.parametrize("name", ["diffwave@1", "vocos"])
def test_int8_is_nearly_the_same_wave_of_the_same_size(name: str, tiny_checkpoint: Path) -> None:
    if name == "vocos":
        pytest.importorskip("vocos", reason="vocos is not installed: no peer to test")
    exact, rounded = (build(name + end, str(tiny_checkpoint)) for end in ("", INT8))
    mel = mel_of(exact, Setting(1, "fp32", 1, 0.2))
    wave, near = exact.generate(mel), rounded.generate(mel)
    assert 0 < float((near - wave).std()) < 0.3 * float(wave.std())
    assert rounded.parameters == exact.parameters
    assert torch.equal(rounded.counted(mel), wave)  # type: ignore[misc]
    assert precision_of(rounded.name) == "int8"
