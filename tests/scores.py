"""Made-up scores for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from diffwave.eval.scores import COLUMNS, FACTS, Scores


def made_up(systems: Mapping[str, Mapping[str, Sequence[float]]], **changes: Any) -> Scores:
    """{system: {metric: one value for each of the utterances s0, s1...}}.

    A metric is shorter where the system lacks the last utterances; "extra_ms" may be among them.
    """
    rows = []
    for system, metrics in systems.items():
        count = max(map(len, metrics.values()))
        columns = {name: [2.0 if name == "seconds" else 0.0] * count for name in FACTS} | metrics
        rows += [
            (system, f"s{i}", metric, value)
            for metric, values in columns.items()
            for i, value in enumerate(values)
        ]
    notes = {system: [] for system in systems}
    return Scores(pd.DataFrame(rows, columns=COLUMNS), **{"notes": notes, **changes})
