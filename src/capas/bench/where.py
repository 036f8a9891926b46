# SPDX-License-Identifier: Apache-2.0
"""Where the time goes: a profile of a host on a TUN device, per frame, exchange and connection.

Taken by `capas.bench.sampler` in the server's process while a load generator keeps it busy.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table

from capas.bench import lab
from capas.bench.sampler import PLACES
from capas.bench.server import CAPAS

_SUPER: Final = 65_536  # bytes: what one super-frame holds at most
_PLAIN: Final = 1_500


@dataclass(slots=True)
class Shares:
    """Microseconds of CPU time by place, for each kind of unit."""

    columns: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, seen: dict[str, Any], units: float) -> None:
        """``units`` of ``name`` (frames, exchanges, connections) cost what was ``seen``."""
        if units <= 0:
            return
        spent = seen["spent"] * 1e6 / units
        samples = seen["samples"] or {"other": 1}
        every = sum(samples.values())
        column = {place: n / every * spent for place, n in samples.items()}
        column["together"] = spent
        column["in the kernel"] = min(spent, seen["system"] * 1e6 / units)
        self.columns[name] = column

    def cells(self) -> list[list[str]]:
        """A heading, and a row for each place that took time."""
        rows = [["us of CPU time for one", *self.columns]]
        for place in (*PLACES, "together", "in the kernel"):
            found = [column.get(place, 0.0) for column in self.columns.values()]
            if any(found):
                rows.append([place, *(f"{value:.1f}" for value in found)])
        return rows

    def table(self) -> Table:
        """For people."""
        head, *rows = self.cells()
        found = Table(title="Where the time goes, capas on TUN", title_justify="left")
        for name in head:
            found.add_column(name, justify="left" if name is head[0] else "right")
        for row in rows:
            found.add_row(*row)
        return found

    def markdown(self) -> str:
        """For docs/performance.md."""
        head, *rows = (f"| {' | '.join(row)} |" for row in self.cells())
        return "\n".join([head, "| --- |" + " ---: |" * len(self.columns), *rows]) + "\n"

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {"ok": True, "benchmark": "where", "microseconds": self.columns}


def measure(seconds: float, progress: Callable[[str], None]) -> Shares:
    """Per super-frame, per plain frame, per 1-byte exchange, per connection.

    The caller is in the laboratory (`lab.enter`).
    """
    shares = Shares()

    def take(server: lab.Server, name: str, kind: str, size: int = 0) -> None:
        progress(f"where the time goes: {name}")
        server.tell("begin")
        server.expect("done")
        rate = lab.sample(kind, CAPAS[0], seconds)
        server.tell("end")
        seen = json.loads(server.hear())
        shares.add(name, seen, seen["bytes"] / size if size else rate * seconds)

    with lab.capas_server() as server:
        take(server, "super-frame in", "in", _SUPER)
        take(server, "super-frame out", "out", _SUPER)
        take(server, "1-byte exchange", "rtt")
        take(server, "connection, one of 32", "crr32")
    with lab.capas_server(offload=False) as server:
        take(server, "1,500 bytes in", "in", _PLAIN)
        take(server, "1,500 bytes out", "out", _PLAIN)
    return shares
