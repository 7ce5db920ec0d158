"""What the pages link to exists: files, pictures and headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from told import ROOT

FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
ABSOLUTE = re.compile(r"[a-z][a-z+.-]*:")


def pages() -> list[Path]:
    """The project's own pages, not those of runs and environments that lie in the checkout."""
    places = ("docs", "egs", "recipes", "pretrained")
    below = [page for place in places for page in (ROOT / place).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *(p for p in below if "node_modules" not in p.parts)])


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def dead(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    lost = []
    for link in (first or second for first, second in LINK.findall(prose(page))):
        if ABSOLUTE.match(link):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        target = target / "README.md" if anchor and target.is_dir() else target
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    return lost


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert dead(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "# A `b`, c\n[a](#a-b-c) [b](#b) ![c](c.png) [d](page.md#a-b-c) [e](https://e/e)\n"
    page.write_text(text + "```\n[f](f)\n```\n")
    assert dead(page) == ["#b", "c.png"]
