"""The mel in the body of a request: taken as it is, or refused in one sentence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from serving import npy
from tiny import speech_mel

pytest.importorskip("fastapi")

from diffwave.mel import preset
from diffwave.serving.bodies import JSON, NPY, SAFETENSORS, mel_of_body
from diffwave.serving.errors import Refusal

CONFIG = preset("hifigan")
MEL = speech_mel(0.5)


def read(body: bytes, kind: str = "", most: int = 10_000) -> torch.Tensor:
    return mel_of_body(body, kind, CONFIG, most)


def refusal(body: bytes, kind: str = "", most: int = 10_000) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(body, kind, most)
    sentence = str(caught.value)
    assert sentence.endswith(".") and len(sentence) < 400 and "\n" not in sentence
    return caught.value


BODIES = {
    NPY: npy(MEL),
    SAFETENSORS: save({"mel": MEL, "other": torch.zeros(3)}),
    JSON: json.dumps({"mel": MEL.tolist()}).encode(),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_mel_is_read_by_its_content_type_or_by_its_first_bytes(kind: str) -> None:
    for told in (kind, kind.upper() + "; charset=utf-8", "", "application/octet-stream"):
        assert torch.equal(read(BODIES[kind], told), MEL)


@pytest.mark.parametrize(
    "array",
    [
        MEL.double(),
        MEL.numpy().astype(">f4"),
        np.asfortranarray(MEL),
        MEL[None],
        MEL.numpy()[:, ::2],
    ],
    ids=["float64", "big-endian", "by columns", "batch of one", "strided"],
)
def test_other_layouts_of_the_same_numbers(array: Any) -> None:
    expected = torch.from_numpy(np.asarray(array, dtype="<f4"))
    assert torch.equal(read(npy(array)), expected.reshape(80, -1))


def pickled() -> bytes:
    return npy(np.array([{"a": 1}], dtype=object), allow_pickle=True)


def claiming(shape: tuple[int, ...]) -> bytes:
    """A .npy whose header claims a shape, with a few bytes."""
    whole = npy(np.zeros((80, 2), np.float32))
    old, new = b"(80, 2)", str(shape).encode()
    padding = len(new) - len(old)
    return whole.replace(old + b", }" + b" " * padding, new + b", }")


NAN, NOTHING = MEL.clone(), torch.zeros(80, 0)
NAN[3, 4] = float("nan")


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"", "", 400, "empty"),
        (npy(MEL)[:-100], NPY, 400, "truncated"),
        (npy(MEL)[:40], NPY, 400, "header"),
        (npy(MEL) + b"more", NPY, 400, "goes on"),
        (pickled(), NPY, 400, "Python objects"),
        (claiming((80, 10**12)), NPY, 400, "truncated"),
        (b"\x93NUMPY\x01\x00\x76\x00{" + b"(" * 117, NPY, 400, "header"),
        (npy(np.array([["a"]])), NPY, 400, "not hold an array of numbers"),
        (npy(MEL.numpy() + 0j), NPY, 400, "not hold an array of numbers"),
        (npy(NAN), NPY, 422, "NaN"),
        (npy(NOTHING), NPY, 422, "empty"),
        (npy(np.float32(3)), NPY, 422, "shape"),
        (npy(MEL[:79]), NPY, 422, "79 mel bands"),
        (npy(MEL.T), NPY, 422, "transposed"),
        (npy(torch.stack([MEL, MEL])), NPY, 422, "2 mel-spectrograms"),
        (npy(MEL.int()), NPY, 422, "floating point"),
        (npy(MEL[:, :1]), NPY, 422, "single frame"),
        (npy(MEL * 20), NPY, 422, "do not fit"),
        (npy(torch.zeros(80, 10_001)), NPY, 413, "10001 frames"),
        (npy(torch.zeros(10_001, 80)), NPY, 413, "10001 frames"),
        (BODIES[SAFETENSORS][:-5], SAFETENSORS, 400, "no whole"),
        (b"\xff" * 64, "", 400, "no whole"),
        (save({"a": MEL, "b": MEL + 1}), SAFETENSORS, 400, "call the mel 'mel'"),
        (b'{"mel": [[1, 2], [3', JSON, 400, "no JSON"),
        (b'{"mel": [[NaN]]}', JSON, 400, "no JSON"),
        (b'{"mel": "text"}', JSON, 400, "Expected `array`"),
        (b"[1, 2]", JSON, 400, "Expected `object`"),
        (b"[" * 100_000, JSON, 400, "JSON"),
        (b'{"mel": [[1, 2], [3]]}', JSON, 400, "different numbers"),
        (b'{"mel": []}', JSON, 422, "shape"),
        (b'{"mel": [[1e300, 1]]}', JSON, 422, ""),
        (npy(MEL), "audio/wav", 415, "audio/wav"),
    ],
)  # fmt: skip
def test_what_is_no_mel_is_refused(body: bytes, kind: str, status: int, words: str) -> None:
    found = refusal(body, kind)
    assert found.status == status and words in str(found)


@settings(max_examples=300)
@given(
    kind=st.sampled_from([NPY, SAFETENSORS, JSON]),
    at=st.floats(0, 1),
    new=st.binary(max_size=12),
    cut=st.integers(0, 12),
    told=st.booleans(),
)
def test_damage_is_refused_or_read_and_never_fails(
    kind: str, at: float, new: bytes, cut: int, told: bool
) -> None:
    body = BODIES[kind]
    # Most damage to the header, which is where it matters.
    place = int(at**8 * len(body))
    body = body[:place] + new + body[place + cut :]
    try:
        found = len(read(body, kind if told else ""))  # bands
    except Refusal as error:
        found = int(error.status)
    assert found == 80 or 400 <= found < 500
