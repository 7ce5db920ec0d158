"""What a benchmark found, and its JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import dacite

from diffwave.bench.machine import Machine
from diffwave.bench.measure import Spread
from diffwave.bench.plan import Effort, Setting
from diffwave.errors import InputError
from diffwave.files import atomic_path, read_json

FORMAT = 1
YARDSTICKS = ("hifigan-v1", "vocos")
"""Systems that every other is compared with."""
METHOD = (
    "Real-time factor: wall time over duration of the sound, all items of a batch counted. Within "
    "a setting the systems run in turn, round after round, each round beginning with another; a "
    "run that is not counted comes before each turn (torch.utils.benchmark). Median, minimum and "
    "quartiles are over the runs; a ratio is one of medians. Cores busy: processor time over wall "
    "time. bf16 is torch.autocast, which converts the weights in every call. The first chunk is "
    "half a second of sound: ours from stream(), whose chunks join without a seam because each has "
    "the context that it depends on; the others from a call for half a second alone. Cold start is "
    "a new process, files in the page cache, from its start until its wav is written; the peak is "
    "that process's resident memory, libraries included. GMAC are counted by "
    "torch.utils.flop_counter: matrix products and convolutions, no Fourier transforms. Peers have "
    "random weights, of a size at which no activation is a subnormal number."
)


@dataclass(frozen=True)
class Cost:
    """What does not depend on a setting, or is measured at the centre only."""

    system: str
    what: str
    library: str
    sample_rate: int
    parameters: int
    gmac_per_second: float
    """Per second of sound."""
    first_chunk_ms: Spread | None = None
    cold_start_s: Spread | None = None
    peak_mib: Spread | None = None


@dataclass(frozen=True)
class Timing:
    """The real-time factor of one system in one setting."""

    system: str
    setting: Setting
    rtf: Spread
    cores: float
    """How many cores were at work, on average."""


@dataclass(frozen=True)
class LeftOut:
    """What was to be measured and was not."""

    system: str
    what: str
    reason: str


@dataclass(frozen=True)
class Quality:
    """A score of a system, measured elsewhere: mean and 95 % interval over `n` utterances."""

    metric: str
    mean: float
    low: float | None
    high: float | None
    n: int
    source: str
    """The report that it stands in."""


@dataclass(frozen=True)
class Result:
    """Everything that one benchmark found."""

    machine: Machine
    versions: tuple[str, ...]
    effort: Effort
    costs: tuple[Cost, ...]
    timings: tuple[Timing, ...]
    """Those at the centre come first."""
    left_out: tuple[LeftOut, ...] = ()
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    """Systems whose library is not here, and why."""
    quality: dict[str, Quality] = dataclasses.field(default_factory=dict)

    def ratio(self, timing: Timing, yardstick: str) -> float | None:
        """Median over that of another system in the same setting; below 1 is faster."""
        for other in self.timings:
            if (other.system, other.setting) == (yardstick, timing.setting):
                return timing.rtf.median / other.rtf.median
        return None

    def to_json(self) -> str:
        """Everything, with the ratios beside the absolutes."""
        data = dataclasses.asdict(self)
        for timing, entry in zip(self.timings, data["timings"], strict=True):
            entry["ratio_to"] = {name: self.ratio(timing, name) for name in YARDSTICKS}
        document = {"format": FORMAT, "method": METHOD, **data}
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON, whole or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """The result of an earlier benchmark; InputError when the file does not hold one."""
        data = read_json(path)
        if data.get("format") != FORMAT or "timings" not in data:
            raise InputError(f"{os.fspath(path)} is not a result of `diffwave bench`.")
        try:
            return dacite.from_dict(cls, data, dacite.Config(cast=[tuple, float]))
        except (dacite.DaciteError, TypeError, ValueError) as error:
            raise InputError(f"{os.fspath(path)} is damaged: {error}.") from None


def read_quality(path: str | os.PathLike[str], system: str, metric: str = "pesq") -> Quality:
    """A system's score from a report of `diffwave evaluate`.

    Args:
        path: JSON, of one system under whatever name, or of several, by name.
        system: the name to look for among several.
        metric: a name in `diffwave.eval.metrics.METRICS`.

    Raises:
        InputError: no such file or score.
    """
    name, score = os.fspath(path), None
    if isinstance(metrics := read_json(path).get("metrics"), dict):
        score = metrics.get(metric)
    if isinstance(score, dict) and isinstance(several := score.get("systems"), dict):
        if system not in several:
            raise InputError(f"{name} has no system {system!r}; it has {', '.join(several)}.")
        score = several[system]
    try:
        mean, (low, high), n = score["mean"], score["interval"], score["n"]  # type: ignore[index]
        return Quality(metric, float(mean), low, high, int(n), Path(name).name)
    except (TypeError, KeyError, ValueError):
        raise InputError(
            f"{name} is not a JSON report of `diffwave evaluate` with the metric {metric}."
        ) from None
