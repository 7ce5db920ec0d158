"""A made-up result of a benchmark, for the tests of what is done with one."""

from __future__ import annotations

from diffwave.bench.machine import Machine
from diffwave.bench.measure import Spread
from diffwave.bench.plan import Effort, Setting
from diffwave.bench.result import Cost, LeftOut, Quality, Result, Timing

CENTRE = Setting(1, "fp32", 1, 1)
BF16 = Setting(1, "bf16", 1, 1)
IDLE = Machine("A Processor", 2, 24.0, "Linux x86_64", False, 0.1)


def around(middle: float) -> Spread:
    return Spread.of([0.9 * middle, middle, 1.2 * middle])


def made_up(machine: Machine = IDLE) -> Result:
    """Two systems of ours, V1 twice as fast as the first, Vocos missing, scores of one."""
    return Result(
        machine=machine,
        versions=("python 3.11", "torch 2"),
        effort=Effort("test", (CENTRE, BF16)),
        costs=(
            Cost("diffwave@1", "ours, 1 step", "diffwave 0", 22050, 11_000_000, 0.9),
            Cost(
                *("diffwave@2", "ours, 2 steps", "diffwave 0", 22050, 11_000_000, 1.6),
                *(around(25.0), around(2.0), Spread.of([700.0])),
            ),
            Cost("hifigan-v1", "V1", "transformers 5", 22050, 13_920_000, 30.0),
        ),
        timings=(
            Timing("diffwave@1", CENTRE, around(0.08), 1.0),
            Timing("diffwave@2", CENTRE, around(0.16), 1.0),
            Timing("hifigan-v1", CENTRE, around(0.04), 1.0),
            Timing("diffwave@1", BF16, around(0.02), 0.5),
        ),
        left_out=(LeftOut("hifigan-v1", "cold start and memory", "it was tired"),),
        missing={"vocos": "vocos cannot be imported (no module)"},
        quality={"diffwave@2": Quality("pesq", 3.05, 2.98, 3.12, 16, "two.json")},
    )
