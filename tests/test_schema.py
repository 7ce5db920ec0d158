"""Values are checked by the types of fields, wherever they come from, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from msgspec import Meta

from diffwave.base.errors import InputError
from diffwave.base.schema import AtLeastOne, Share, check_fields, convert, strictly


@dataclass(frozen=True)
class Inner:
    size: AtLeastOne = 3
    dilations: Annotated[tuple[AtLeastOne, ...], Meta(min_length=1)] = (1,)

    def __post_init__(self) -> None:
        check_fields(self, "The inner's ")
        if self.size == 13:
            raise InputError("Thirteen is no size.")


@dataclass(frozen=True)
class Outer:
    kind: Literal["a", "b"]
    one: Inner = Inner()
    several: tuple[Inner, ...] = ()
    maybe: Inner | None = None
    share: Share | None = None


def test_from_a_mapping() -> None:
    values: Any = {"kind": "a", "one": {"size": 4, "dilations": [2, 4]}, "several": [{}, {}]}
    expected = Outer("a", Inner(4, (2, 4)), (Inner(), Inner()))
    assert strictly(Outer, values, "it") == expected
    assert strictly(Outer, {**values, "one": expected.one}, "it") == expected  # made already


def test_numbers_of_numpy_and_lists_are_taken() -> None:
    made = Inner(np.int64(4), [np.int32(2), 4])  # type: ignore[arg-type]
    assert made == Inner(4, (2, 4)) and type(made.size) is int
    assert convert(np.float32(0.5), Share, "It") == 0.5


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([], "The settings of it must be a mapping, not []."),
        ({}, "The setting 'kind' of it is missing."),
        ({"kind": "a", "two": 1}, "Unknown setting 'two' of it; known are kind, one, several, "),
        ({"kind": "a", "one": {"sise": 1}}, "Unknown setting 'sise' of one; known are size, "),
        ({"kind": "a", "several": [{"x": 1}]}, "Unknown setting 'x' of several; known are"),
        ({"kind": "a", "maybe": {"x": 1}}, "Unknown setting 'x' of maybe; known are"),
        ({"kind": "c"}, "In the settings of it, kind must be one of a, b, not 'c'."),
        ({"kind": "a", "one": 5}, "one must be a mapping, not 5."),
        ({"kind": "a", "one": {"size": "3"}}, "one.size must be an integer, not '3'."),
        ({"kind": "a", "one": {"size": 3.0}}, "one.size must be an integer, not 3.0."),
        ({"kind": "a", "one": {"size": 13}}, "Thirteen is no size."),
        (
            {"kind": "a", "several": [{}, {"dilations": [1, 0]}]},
            "several[1].dilations[1] must be an integer of at least 1, not 0.",
        ),
        ({"kind": "a", "one": {"dilations": []}}, "must be a list of length at least 1, not []."),
        ({"kind": "a", "share": float("nan")}, "share must be "),
        ({"kind": "a\0"}, "kind must not hold a zero byte."),
        ({"kind": "a", "share": 10**400}, "share must be "),
    ],
)
def test_what_is_wrong_is_named(values: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        strictly(Outer, values, "it")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"size": 0}, "The inner's size must be an integer of at least 1, not 0."),
        ({"size": True}, "The inner's size must be an integer, not True."),
        ({"dilations": (1, "a")}, "The inner's dilations[1] must be an integer, not 'a'."),
    ],
)
def test_of_a_caller_too(arguments: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Inner(**arguments)
    assert str(caught.value) == sentence
