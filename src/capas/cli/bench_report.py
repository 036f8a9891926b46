# SPDX-License-Identifier: Apache-2.0
"""What every benchmark returns, and how it is shown: a table, an SVG plot, JSON, Markdown.

A `Report` holds rows; a row compares samples of capas with samples of what a user would use
instead, taken by turns in the same run.  Medians are compared, the spread is minimum to maximum.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

from rich.table import Table

_BAR: Final = 320  # pixels of the longest bar
_LINE: Final = 22
_LEFT: Final = 190


@dataclass(slots=True)
class Row:
    """One thing measured; ``more`` is better unless it is False."""

    name: str
    unit: str
    capas: list[float]
    other: list[float] = field(default_factory=list)
    key: str = ""  # in ``ratios``
    scale: float = 1.0  # from samples to ``unit``
    more: bool = True

    def median(self) -> float:
        """Of capas, in ``unit``."""
        return statistics.median(self.capas) * self.scale

    def other_median(self) -> float | None:
        """Of the other, in ``unit``."""
        return statistics.median(self.other) * self.scale if self.other else None

    def ratio(self) -> float | None:
        """capas divided by the other."""
        other = self.other_median()
        return self.median() / other if other else None


@dataclass(slots=True)
class Report:
    """One benchmark's outcome."""

    name: str
    title: str
    against: str  # what the other column is
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """One object for programs."""
        ratios = {row.key: row.ratio() for row in self.rows if row.key and row.other}
        return {
            "ok": True,
            "benchmark": self.name,
            "machine": machine(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "against": self.against,
            "ratios": ratios,
            "rows": [
                {
                    "name": row.name,
                    "unit": row.unit,
                    "capas": row.median(),
                    "other": row.other_median(),
                    "ratio": row.ratio(),
                }
                for row in self.rows
            ],
            "samples": {
                row.key or row.name: {
                    "capas": [sample * row.scale for sample in row.capas],
                    "other": [sample * row.scale for sample in row.other],
                    "unit": row.unit,
                }
                for row in self.rows
            },
            "notes": self.notes,
            **self.facts,
        }

    def table(self) -> Table:
        """For people."""
        found = Table(title=self.title, title_justify="left")
        found.add_column("what")
        for head in ("capas", "min-max", self.against or "-", "min-max", "ratio"):
            found.add_column(head, justify="right")
        for row in self.rows:
            found.add_row(row.name, *cells(row))
        return found

    def markdown(self, picture: str = "") -> str:
        """A section of docs/performance.md."""
        lines = [f"## {self.title}", ""]
        lines.append(f"| what | capas | min-max | {self.against or '-'} | min-max | ratio |")
        lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
        lines += [f"| {row.name} | {' | '.join(cells(row))} |" for row in self.rows]
        lines.append("")
        if picture:
            lines += [f"![{self.title}]({picture})", ""]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def svg(self) -> str:
        """Two bars a row, each pair to its own scale."""
        height = 40 + len(self.rows) * (2 * _LINE + 10) + 24
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{height}"'
            ' font-family="sans-serif" font-size="12">',
            f'<text x="8" y="20" font-size="14">{escape(self.title)}</text>',
        ]
        y = 40
        for row in self.rows:
            values = [("capas", row.median(), "#2b6cb0")]
            other = row.other_median()
            if other is not None:
                values.append((self.against, other, "#a0aec0"))
            top = max(value for _, value, _ in values) or 1.0
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
        out.append("</svg>")
        return "\n".join(out) + "\n"


def number(value: float) -> str:
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cells(row: Row) -> list[str]:
    """capas, its spread, the other, its spread, the ratio."""

    def spread(samples: Sequence[float]) -> str:
        if len(samples) < 2:
            return ""
        return f"{number(min(samples) * row.scale)}-{number(max(samples) * row.scale)}"

    other, ratio = row.other_median(), row.ratio()
    return [
        f"{number(row.median())} {row.unit}",
        spread(row.capas),
        "" if other is None else f"{number(other)} {row.unit}",
        spread(row.other),
        "" if ratio is None else f"{ratio:.2f}",
    ]


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
    runs: int, measures: Sequence[Callable[[], float]], progress: Callable[[str], None]
) -> list[list[float]]:
    """Each measure ``runs`` times, by turns, so that a slow minute slows all of them."""
    samples: list[list[float]] = [[] for _ in measures]
    for run in range(runs):
        progress(f"run {run + 1} of {runs}")
        for found, measure in zip(samples, measures, strict=True):
            found.append(measure())
    return samples


def to_stderr(text: str) -> None:
    """Progress, where a person looks and a program does not."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
