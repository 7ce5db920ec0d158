"""The interface in types, from which the checks of a query and the OpenAPI document are made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from diffwave.mel import MelConfig
from diffwave.serving.bodies import JSON, NPY, SAFETENSORS
from diffwave.serving.limits import Limits

PROBLEM = "application/problem+json"


class SpeechOptions(BaseModel):
    """Query of a request for speech."""

    model_config = ConfigDict(extra="forbid")

    steps: int | None = Field(None, ge=1, description="Network calls; the voice's own by default.")
    n_iter: int | None = Field(
        None,
        ge=0,
        description="Mel-consistency (Griffin-Lim) iterations; the voice's own by default.",
    )
    seed: int = Field(0, ge=-(2**63), lt=2**63, description="Same seed, same wave.")
    enhance: bool = Field(True, description="Run the mel enhancer, if the voice has one.")
    transpose: float = Field(
        0.0, ge=-24, le=24, description="Semitones; of voices that have a source."
    )
    format: Literal["wav", "pcm"] = Field(
        "wav", description="A wav, or its samples without a header, little-endian."
    )
    bits: Literal["16", "24", "float"] = Field("16", description="Of a sample.")
    stream: bool = Field(
        False, description="Answer in chunks, each as soon as it is generated; the same samples."
    )


class Problem(BaseModel):
    """What is wrong with a request (RFC 9457)."""

    title: str
    status: int
    detail: str = Field(description="One sentence.")


class Voice(BaseModel):
    """The voice that speaks, and what the service takes."""

    checkpoint: str
    sample_rate: int = Field(description="Hz")
    hop_length: int = Field(description="Samples of a frame.")
    n_mels: int = Field(description="Bands of a mel.")
    mel: str = Field(description="Name of the mel convention.")
    steps: int = Field(description="Network calls by default.")
    n_iter: int = Field(description="Mel-consistency iterations by default.")
    can_transpose: bool
    has_enhancer: bool
    max_frames: int
    max_body: int = Field(description="Bytes.")
    max_steps: int
    max_iterations: int


class State(BaseModel):
    """Of the service."""

    status: str


def body_schema(mel: MelConfig, example: list[list[float]]) -> dict[str, Any]:
    """The OpenAPI description of a request's body; `example` is a mel [n_mels, T]."""
    what = (
        f"A mel-spectrogram [{mel.n_mels}, T] of the convention {mel.name!r}, floating point, at "
        "least 2 frames."
    )
    binary = {"type": "string", "format": "binary", "description": what}
    band = {"type": "array", "items": {"type": "number"}, "minItems": 2}
    array = {"type": "array", "items": band, "minItems": mel.n_mels, "maxItems": mel.n_mels}
    return {
        "required": True,
        "description": what,
        "content": {
            NPY: {"schema": binary},
            SAFETENSORS: {"schema": binary},
            JSON: {
                "schema": {"type": "object", "required": ["mel"], "properties": {"mel": array}},
                "examples": {"silence": {"summary": "Two frames", "value": {"mel": example}}},
            },
        },
    }


def answers(sample_rate: int, limits: Limits) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of the answers to a request for speech."""
    speech = {"type": "string", "format": "binary"}
    refusals = {
        400: "The body is torn, or holds no array.",
        408: f"The body did not come within {limits.upload_seconds:g} s.",
        413: f"More than {limits.max_body} bytes or {limits.max_frames} frames.",
        415: "A content type that is none of a mel.",
        422: "No mel of the voice's convention, or an option out of bounds.",
        500: "The service failed; its log says why.",
        503: "No room; Retry-After says when to ask again.",
        504: f"The speech was not there within {limits.generate_seconds:g} s.",
    }
    found: dict[int | str, dict[str, Any]] = {
        200: {
            "description": f"Speech at {sample_rate} Hz, mono.",
            "content": {"audio/wav": {"schema": speech}, "audio/pcm": {"schema": speech}},
            "headers": {
                "X-Sample-Rate": {"description": "Hz", "schema": {"type": "integer"}},
                "X-Samples": {"description": "Their number", "schema": {"type": "integer"}},
            },
        }
    }
    content = {PROBLEM: {"schema": Problem.model_json_schema()}}
    for status, description in refusals.items():
        found[status] = {"description": description, "content": content}
    return found
