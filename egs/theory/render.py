"""A script of cells as an executed notebook: text, numbers, figures and sounds.

    python egs/theory/render.py egs/theory/chapter.py egs/theory/chapter.ipynb

Cells begin with `# %%`, text with `# %% [markdown]`, as editors and Jupytext understand them. What
a cell prints is kept, every figure of matplotlib that it leaves open, and whatever it gives to
`show(html)`. A cell that fails ends the run, and nothing is written.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from diffwave.base.files import atomic_path


def cells_of(source: str) -> list[tuple[str, str]]:
    """("markdown" or "code", text) of every cell; what comes before the first is no part of it."""
    found = []
    for head, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", source, re.M):
        if "[markdown]" in head:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.splitlines())
            found.append(("markdown", text.strip()))
        else:
            found.append(("code", body.strip()))
    return found


def outputs_of(code: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell; what it printed, drew and showed, as a notebook stores it."""
    shown: list[dict[str, Any]] = []
    names["show"] = lambda html: shown.append({"text/html": html})
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "<cell>", "exec"), names)
    outputs: list[dict[str, Any]] = []
    if text := printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    for number in plt.get_fignums():
        stream = io.BytesIO()
        plt.figure(number).savefig(stream, format="png", dpi=90, bbox_inches="tight")
        shown.insert(0, {"image/png": base64.b64encode(stream.getvalue()).decode()})
    plt.close("all")
    return outputs + [
        {"output_type": "display_data", "metadata": {}, "data": data} for data in shown
    ]


def notebook(source: str) -> dict[str, Any]:
    """The executed notebook (nbformat 4.5)."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells: list[dict[str, Any]] = []
    count = 0
    for number, (kind, text) in enumerate(cells_of(source)):
        cell: dict[str, Any] = {"id": f"cell-{number}", "cell_type": kind, "metadata": {}}
        cell["source"] = text
        if kind == "code":
            count += 1
            cell |= {"execution_count": count, "outputs": outputs_of(text, names)}
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "cells": cells,
    }


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: render.py CHAPTER.py CHAPTER.ipynb")
    made = notebook(Path(sys.argv[1]).read_text("utf-8"))
    with atomic_path(sys.argv[2]) as path:
        path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", "utf-8")
