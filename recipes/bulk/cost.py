"""What 1,000 hours of speech cost on machines for hire, from a measured real-time factor.

    python recipes/bulk/cost.py OUTPUT/summary.json [--prices FILE.csv] [--hours 1000]
    python recipes/bulk/cost.py --rtf 0.032

The real-time factor is that of a worker with one thread while all cores work; a machine with N
virtual cores makes N workers. A core that is slower or faster than that which was measured changes
the cost alike: measure on the machine itself. Prices are an input: a table with the columns
machine, vcpus, price (of an hour), currency, date and source.
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from diffwave.base.errors import InputError, run_script
from diffwave.base.files import read_error, read_json
from diffwave.base.schema import NotNegative, convert
from diffwave.base.text import markdown_table

Word = Annotated[str, Meta(min_length=1)]


@dataclass(frozen=True)
class Machine:
    """What is for hire."""

    machine: Word
    vcpus: Annotated[float, Meta(gt=0, le=1e6)]
    price: NotNegative
    """Of an hour."""
    currency: Word
    date: Word
    source: Word


def read_prices(path: Path) -> list[Machine]:
    """The machines of a table; InputError names the line that is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise read_error(path, error) from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} is no table of prices.") from None
    if not rows:
        raise InputError(f"{path} names no machine.")
    return [convert(row, Machine, f"Line {line} of {path}: ") for line, row in enumerate(rows, 2)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("summary", nargs="?", type=Path)
    parser.add_argument("--rtf", type=float)
    parser.add_argument("--prices", type=Path, default=Path(__file__).with_name("prices.csv"))
    parser.add_argument("--hours", type=float, default=1000.0)
    options = parser.parse_args()
    if (options.summary is None) == (options.rtf is None):
        raise InputError("Give a summary.json or --rtf.")
    rtf = options.rtf
    if options.summary is not None:
        rtf = read_json(options.summary).get("rtf_of_a_worker")
    if not isinstance(rtf, int | float) or not 0 < rtf < math.inf:
        raise InputError(f"A real-time factor is a number above 0, not {rtf}.")
    if not 0 < options.hours < math.inf:
        raise InputError("--hours is a number above 0.")
    rows = []
    for each in read_prices(options.prices):
        # A worker on each of the cores.
        hours = options.hours * rtf / each.vcpus
        price, cost = f"{each.price:g} {each.currency}", f"{hours * each.price:.2f} {each.currency}"
        source = f"{each.source}, {each.date}"
        rows.append((each.machine, f"{each.vcpus:g}", price, f"{hours:.1f}", cost, source))
    speech = f"{options.hours:g} h of speech"
    header = ("machine", "vCPUs", "price of an hour", "hours", speech, "price from")
    print(f"Real-time factor of a worker: {rtf:g}\n")
    print("\n".join(markdown_table(header, rows)))


if __name__ == "__main__":
    run_script(main)
