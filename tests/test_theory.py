"""The chapter of egs/theory: it runs, says what it computes, and is the notebook that is read."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from told import EGS, script

pytest.importorskip("matplotlib")

THEORY = EGS / "theory"


def rendered(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return script(THEORY / "render.py", source, target)


@pytest.fixture(scope="module")
def chapter(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As it comes out today."""
    target = tmp_path_factory.mktemp("theory") / "chapter.ipynb"
    done = rendered(THEORY / "chapter.py", target)
    assert done.returncode == 0, done.stderr
    return json.loads(target.read_text("utf-8"))  # type: ignore[no-any-return]


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def printed(notebook: dict[str, Any]) -> str:
    return "".join(o["text"] for o in outputs(notebook) if o["output_type"] == "stream")


def pictures(notebook: dict[str, Any]) -> list[Image.Image]:
    found = [o["data"].get("image/png") for o in outputs(notebook) if "data" in o]
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found if data]


def test_the_notebook_that_is_read_is_the_script(chapter: dict[str, Any]) -> None:
    read = json.loads((THEORY / "chapter.ipynb").read_text("utf-8"))
    assert [cell["source"] for cell in read["cells"]] == [c["source"] for c in chapter["cells"]]
    assert len(outputs(read)) == len(outputs(chapter))
    assert all(cell["execution_count"] for cell in read["cells"] if cell["cell_type"] == "code")
    # Small enough to be read on the web, and nothing but what this repository may hold.
    assert (THEORY / "chapter.ipynb").stat().st_size < 3_000_000


def test_figures_show_something(chapter: dict[str, Any]) -> None:
    found = pictures(chapter)
    assert len(found) == 9
    for picture in found:
        shades = np.asarray(picture.convert("L"))
        assert min(picture.size) > 200 and 0.02 < (shades < 200).mean() < 0.9
    sounds = [o for o in outputs(chapter) if "data" in o and "audio/ogg" in str(o["data"])]
    assert sum(str(sound["data"]).count("<audio") for sound in sounds) == 7


def test_what_the_chapter_says_is_what_it_found(chapter: dict[str, Any]) -> None:
    text = printed(chapter)
    assert "machine: stationary [0.8333 0.1667], second eigenvalue 0.400" in text
    assert "market: stationary [0.625  0.3125 0.0625]" in text
    difference, error = map(
        float, re.findall(r"of a mean: (\S+) \(standard error (\S+)\)", text)[0]
    )
    assert difference < 4 * error  # the largest of 200
    assert float(re.findall(r"Bayes' rule on a grid: (\S+)", text)[0]) < 1e-5
    roots = dict(re.findall(r"^(\S+) +\d+ +(0\.\d{3}) ", text, re.M))
    assert roots == {
        "diffwave-base": "0.529", "diffwave-large": "0.364", "wavegrad": "0.081", "ddpm": "0.006"
    }  # fmt: skip
    entropy = float(re.findall(r"^entropy (\S+) bits", text, re.M)[0])
    short, dense = map(float, re.findall(r"total +(\S+) bits", text))
    assert entropy < dense < entropy + 0.5 < short - 1.5


def test_terms_have_their_chinese(chapter: dict[str, Any]) -> None:
    prose = "\n".join(c["source"] for c in chapter["cells"] if c["cell_type"] == "markdown")
    for term in (
        "马尔可夫链",
        "平稳分布",
        "前向过程",
        "闭式解",
        "终端分布",
        "后验分布",
        "变分自编码器",
        "逆过程",
    ):
        assert term in prose
    places = re.findall(r"\]\(#([^)]*)\)", prose)
    headings = {h.replace(" ", "-") for h in re.findall(r"^## (.*)$", prose, re.M)}
    assert len(places) == 8 and set(places) == headings


def test_a_cell_that_fails_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# %% [markdown]\n# Text\n# %%\nprint(1)\n# %%\n1 / 0\n")
    done = rendered(tmp_path / "a.py", tmp_path / "a.ipynb")
    assert done.returncode != 0 and "ZeroDivisionError" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.py"]
