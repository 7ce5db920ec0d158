"""The report of a prepared corpus, for a program and for a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffwave.data.recording import Recording, Remark
from diffwave.data.report import EXAMPLES, CorpusReport
from diffwave.data.shards import Entry


@pytest.fixture
def report() -> CorpusReport:
    """40 good files of half an hour, 12 of them stereo, and three that are not good."""
    report = CorpusReport(16000)
    for i in range(40):
        stereo = [Remark("more than one channel", f"{i}.wav has 2 channels.")] if i < 12 else []
        report.add(Recording(f"{i}.wav", 1800.0, remarks=stereo))
    report.add(Recording("x.wav", 3600.0, rejected=Remark("silent", "x.wav is silent.")))
    report.add(Recording("y.wav", rejected=Remark("unreadable", "Cannot read y.wav.")))
    report.add(Recording("z\udcff.wav", rejected=Remark("unreadable", "Cannot read z\udcff.wav.")))
    split = ["validation"] * 2 + ["train"] * 38
    report.count_clips([Entry(str(i), "", s, 0, 0, 16000 * 900) for i, s in enumerate(split)])
    report.notes.append("A note.")
    return report


def test_counts(report: CorpusReport) -> None:
    assert report.summary() == [
        "43 files, 21.00 hours",
        "train: 38 clips, 9.50 hours",
        "validation: 2 clips, 0.50 hours",
        "rejected: 3 files (2 unreadable, 1 silent)",
        "used, but: 12 more than one channel",
        "A note.",
    ]


def test_the_files_name_all_that_was_rejected(report: CorpusReport, tmp_path: Path) -> None:
    report.save(tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["rejected"]["x.wav"] == {"kind": "silent", "sentence": "x.wav is silent."}
    assert len(data["rejected"]) == 3
    assert len(data["remarks"]) == 12
    assert data["hours"] == {"train": 9.5, "validation": 0.5}
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    for sentence in ("silent: x.wav is silent.", "Cannot read y.wav.", "Cannot read z\\udcff.wav."):
        assert sentence in page
    assert page.count("has 2 channels") == EXAMPLES
    assert "and 2 more, in report.json" in page
