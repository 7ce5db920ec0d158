"""What became of a folder of recordings: for a program to read, and for a person."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffwave.data.recording import Recording, Remark
from diffwave.data.shards import TRAIN, VALIDATION, Entry

EXAMPLES = 10
"""Remarks of one kind that the readable report gives in full."""


@dataclass
class CorpusReport:
    """Counts and hours, and every file about which there is something to say."""

    sample_rate: int
    files: int = 0
    """Audio files that were found."""
    hours_found: float = 0.0
    """Of those that could be read."""
    clips: dict[str, int] = field(default_factory=dict)
    """By split, "train" and "validation"."""
    hours: dict[str, float] = field(default_factory=dict)
    """By split."""
    rejected: dict[str, Remark] = field(default_factory=dict)
    """By file, relative to the folder of the audio."""
    remarks: dict[str, list[Remark]] = field(default_factory=dict)
    """Of files that were used; by file."""
    notes: list[str] = field(default_factory=list)
    """About the corpus as a whole."""
    settings: dict[str, Any] = field(default_factory=dict)
    """`data.prepare`."""

    def add(self, recording: Recording) -> None:
        """Take in a file."""
        self.files += 1
        self.hours_found += recording.seconds / 3600
        if recording.rejected is not None:
            self.rejected[recording.file] = recording.rejected
        elif recording.remarks:
            self.remarks[recording.file] = recording.remarks

    def count_clips(self, entries: Iterable[Entry]) -> None:
        """Take in the finished clips."""
        self.clips, self.hours = {TRAIN: 0, VALIDATION: 0}, {TRAIN: 0.0, VALIDATION: 0.0}
        for entry in entries:
            self.clips[entry.split] += 1
            self.hours[entry.split] += entry.length / self.sample_rate / 3600

    def rejected_by_kind(self) -> str:
        """Such as "2 silent, 1 unreadable"."""
        return _counted(self.rejected.values())

    def summary(self) -> list[str]:
        """The report in a few lines."""
        lines = [
            f"{self.files} files, {self.hours_found:.2f} hours",
            *(
                f"{split}: {self.clips[split]} clips, {self.hours[split]:.2f} hours"
                for split in self.clips
            ),
            f"rejected: {len(self.rejected)} files"
            + (f" ({self.rejected_by_kind()})" if self.rejected else ""),
        ]
        if self.remarks:
            remarks = [remark for each in self.remarks.values() for remark in each]
            lines.append(f"used, but: {_counted(remarks)}")
        return lines + self.notes

    def save(self, folder: Path) -> None:
        """Write report.json and report.md."""
        data = dataclasses.asdict(self)
        (folder / "report.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
        (folder / "report.md").write_text(self.to_markdown(), encoding="utf-8")

    def to_markdown(self) -> str:
        """A page to read; every rejected file is in it."""
        lines = ["# Prepared corpus", "", f"Samples at {self.sample_rate} Hz, 16 bit, mono.", ""]
        lines += [f"- {line}" for line in self.summary()]
        if self.rejected:
            lines += ["", "## Rejected", ""]
            lines += [f"- {it.kind}: {it.sentence}" for it in self.rejected.values()]
        by_kind: dict[str, list[str]] = {}
        for remarks in self.remarks.values():
            for remark in remarks:
                by_kind.setdefault(remark.kind, []).append(remark.sentence)
        for kind, sentences in by_kind.items():
            lines += ["", f"## Used, but {kind}", ""]
            lines += [f"- {sentence}" for sentence in sentences[:EXAMPLES]]
            if len(sentences) > EXAMPLES:
                lines.append(f"- and {len(sentences) - EXAMPLES} more, in report.json")
        return "\n".join(lines) + "\n"


def _counted(remarks: Iterable[Remark]) -> str:
    counts = Counter(remark.kind for remark in remarks)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
