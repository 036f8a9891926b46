# SPDX-License-Identifier: Apache-2.0
"""What every benchmark returns, and how it is shown: a table, an SVG plot, JSON, Markdown.

A `Report` holds rows; a row compares samples of capas with samples of its rivals, what a user
would use instead, taken by turns in the same run.  Medians are compared; the spread in brackets is
minimum to maximum.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final, Self, TypeVar

from rich.table import Table

T = TypeVar("T")

_BAR: Final = 300  # pixels of the longest bar
_LINE: Final = 22
_LEFT: Final = 270


@dataclass(slots=True)
class Row:
    """One thing measured; ``more`` is better unless it is False."""

    name: str
    unit: str
    capas: list[float] = field(default_factory=list)
    others: dict[str, list[float]] = field(default_factory=dict)  # samples by rival's name
    key: str = ""  # in ``ratios``
    scale: float = 1.0  # from samples to ``unit``
    more: bool = True

    def median(self, rival: str = "") -> float | None:
        """Of ``rival``, or of capas, in ``unit``."""
        samples = self.others.get(rival, []) if rival else self.capas
        return statistics.median(samples) * self.scale if samples else None

    def ratio(self, rival: str) -> float | None:
        """capas divided by ``rival``."""
        ours, other = self.median(), self.median(rival)
        return ours / other if ours is not None and other else None


@dataclass(slots=True)
class Report:
    """One benchmark's outcome; ``ratios`` are to ``against``, the first of its rivals."""

    name: str
    title: str
    against: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def rivals(self) -> list[str]:
        """Who was measured beside capas."""
        found = dict.fromkeys(name for row in self.rows for name in row.others)
        return sorted(found, key=lambda name: name != self.against)

    def json(self) -> dict[str, Any]:
        """One object for programs."""
        return {
            "ok": True,
            "benchmark": self.name,
            "title": self.title,
            "machine": machine(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "against": self.against,
            "ratios": {
                row.key: ratio
                for row in self.rows
                if row.key and (ratio := row.ratio(self.against)) is not None
            },
            "rows": [
                {
                    "key": row.key,
                    "name": row.name,
                    "unit": row.unit,
                    "more_is_better": row.more,
                    "capas": row.median(),
                    "others": {name: row.median(name) for name in row.others},
                    "ratios": {name: row.ratio(name) for name in row.others},
                }
                for row in self.rows
            ],
            "samples": {
                row.key or row.name: {
                    "unit": row.unit,
                    **{
                        name: [sample * row.scale for sample in samples]
                        for name, samples in {"capas": row.capas, **row.others}.items()
                    },
                }
                for row in self.rows
            },
            "notes": self.notes,
            **self.facts,
        }

    @classmethod
    def read(cls, found: dict[str, Any]) -> Self:
        """The report that wrote ``found`` by `json`, its samples scaled; another Python's, too."""
        python = found["machine"]["python"]
        report = cls(
            f"{found['benchmark']}-{python.rpartition(' ')[2]}",
            f"{found['title']}: {python}",
            found["against"],
            notes=found["notes"],
        )
        for row in found["rows"]:
            samples = dict(found["samples"][row["key"] or row["name"]])
            unit, ours = samples.pop("unit"), samples.pop("capas")
            more = row["more_is_better"]
            report.rows.append(Row(row["name"], unit, ours, samples, row["key"], more=more))
        return report

    def table(self) -> Table:
        """For people."""
        how = "the hot modules compiled" if compiled() else "nothing compiled"
        found = Table(title=self.title, title_justify="left", caption=how, caption_justify="left")
        for head in self._heads():
            found.add_column(head, justify="left" if head == "what" else "right")
        for row in self.rows:
            found.add_row(*self._cells(row))
        return found

    def markdown(self, picture: str = "") -> str:
        """A section of docs/performance.md."""
        heads = self._heads()
        lines = [f"## {self.title}", "", f"| {' | '.join(heads)} |"]
        lines.append("| --- |" + " ---: |" * (len(heads) - 1))
        lines += [f"| {' | '.join(self._cells(row))} |" for row in self.rows]
        lines.append("")
        if picture:
            lines += [f"![{self.title}]({picture})", ""]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def _heads(self) -> list[str]:
        return ["what", "capas", *(cell for name in self.rivals() for cell in (name, "ratio"))]

    def _cells(self, row: Row) -> list[str]:
        found = [row.name, cell(row, row.capas)]
        for name in self.rivals():
            ratio = row.ratio(name)
            found.append(cell(row, row.others.get(name, [])))
            found.append("" if ratio is None else f"{ratio:.2f}")
        return found

    def svg(self) -> str:
        """A bar for each of those measured, every row to its own scale."""
        out = []
        y = 40
        for row in self.rows:
            bars = [("capas", row.median(), "#2b6cb0")]
            bars += [(name, row.median(name), "#a0aec0") for name in row.others]
            values = [(name, value, colour) for name, value, colour in bars if value is not None]
            top = max((value for _, value, _ in values), default=0.0) or 1.0
            out.append(f'<text x="8" y="{y + 15}">{escape(row.name)}</text>')
            for name, value, colour in values:
                width = max(1, round(value / top * _BAR))
                out.append(
                    f'<rect x="{_LEFT}" y="{y}" width="{width}" height="{_LINE - 4}"'
                    f' fill="{colour}"/><text x="{_LEFT + width + 6}" y="{y + 14}">'
                    f"{escape(name)} {number(value)} {escape(row.unit)}</text>"
                )
                y += _LINE
            y += 10
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{y + 8}"'
            ' font-family="sans-serif" font-size="12">',
            f'<text x="8" y="20" font-size="14">{escape(self.title)}</text>',
        )
        return "\n".join((*head, *out, "</svg>")) + "\n"


def number(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cell(row: Row, samples: Sequence[float]) -> str:
    """Median and spread; empty without samples."""
    if not samples:
        return ""
    middle = f"{number(statistics.median(samples) * row.scale)} {row.unit}"
    if len(samples) < 2:
        return middle
    low, high = number(min(samples) * row.scale), number(max(samples) * row.scale)
    return f"{middle} ({low}-{high})"


def machine() -> dict[str, Any]:
    """Where this was measured."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            models = [line.partition(":")[2].strip() for line in file if "model name" in line]
        name = models[0] if models else name
    except OSError:
        pass
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiled": compiled(),
    }


def compiled() -> bool:
    """Whether the hot modules are compiled."""
    import capas.transport.tcp.connection as hot

    return not (hot.__file__ or "").endswith(".py")


def interleaved(
    runs: int, measures: Mapping[str, Callable[[], T]], progress: Callable[[str], None]
) -> dict[str, list[T]]:
    """Each measure ``runs`` times, by turns, so that a slow minute slows all of them."""
    samples: dict[str, list[T]] = {who: [] for who in measures}
    for run in range(runs):
        for who, measure in measures.items():
            progress(f"run {run + 1} of {runs}, {who}")
            samples[who].append(measure())
    return samples


def to_stderr(text: str) -> None:
    """Progress, where a person looks and a program does not."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
