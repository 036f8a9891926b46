# SPDX-License-Identifier: Apache-2.0
"""``capas bench tap``: capas over TUN against the kernel over veth, the same peer for both.

The peer is the kernel with one load generator (`capas.bench.load`), the server once the
kernel's sockets in another namespace, once a host of ours with the servers of ``capas up``, once
the Python rival, if it is installed.  Congestion control is CUBIC on all ends.  Without offloads:
frames of 1,500 bytes on both.  Impaired: the load generator sits behind a bad cable
(`capas.bench.cable`), the same for both.  Pinned: round trips measure how fast the machine wakes a
core, so they are taken with the ends on two cores and on one, too.
"""

import contextlib
import json
import os
import shlex
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from capas.bench import lab
from capas.bench.probe import installed
from capas.bench.pytcp import PYTCP
from capas.bench.report import Report, Row, interleaved
from capas.bench.server import CAPAS, KERNEL
from capas.errors import CapasError

_GBIT: Final = 8e-9
_IMPAIRED: Final = 12  # times as long as other samples: a loss is rare


class _Kind(NamedTuple):
    """What is measured, and how it is shown."""

    key: str
    name: str
    kind: str  # of `load`
    family: int = 0  # index into the addresses of a server
    unit: str = "Gbit/s"
    scale: float = _GBIT


#: Rows on a clean wire with offloads.
CLEAN: Final = (
    _Kind("bulk_in", "bulk in, IPv4", "in"),
    _Kind("bulk_out", "bulk out, IPv4", "out"),
    _Kind("bulk_in_6", "bulk in, IPv6", "in", 1),
    _Kind("bulk_out_6", "bulk out, IPv6", "out", 1),
    _Kind("round_trips", "1-byte round trips", "rtt", 0, "/s", 1.0),
    _Kind("crr_1", "connect-request-close, 1 client", "crr1", 0, "/s", 1.0),
    _Kind("crr_32", "connect-request-close, 32 clients", "crr32", 0, "/s", 1.0),
    _Kind("http", "HTTP, uvicorn and starlette", "http", 0, "/s", 1.0),
)
_PLAIN: Final = (
    _Kind("plain_in", "bulk in, no offloads", "in"),
    _Kind("plain_out", "bulk out, no offloads", "out"),
)
_BAD: Final = (
    _Kind("impaired_in", "bulk in, 20 ms, 0.1 % lost, 8 connections", "in8", 0, "Mbit/s", 8e-6),
    _Kind("impaired_out", "bulk out, 20 ms, 0.1 % lost, 8 connections", "out8", 0, "Mbit/s", 8e-6),
)
_PINNED: Final = (
    _Kind("round_trips_2_cores", "1-byte round trips, a core for each end", "rtt", 0, "/s", 1.0),
    _Kind("round_trips_1_core", "1-byte round trips, both ends on one core", "rtt", 0, "/s", 1.0),
)
KEYS: Final = tuple(one.key for one in (*CLEAN, *_PLAIN, *_BAD, *_PINNED))

Take = Callable[[str, str, float], float]  # kind, host, seconds


@dataclass(slots=True)
class _Session:
    """What all rows of one run share."""

    report: Report
    runs: int
    seconds: float
    only: frozenset[str]
    progress: Callable[[str], None]

    def wants(self, kinds: tuple[_Kind, ...]) -> list[_Kind]:
        """Those of ``kinds`` that were asked for."""
        return [one for one in kinds if not self.only or one.key in self.only]

    def row(self, what: _Kind, take: Take, hosts: dict[str, tuple[str, ...]]) -> None:
        """Measure ``what`` by turns on all ``hosts`` (addresses of each family, by name)."""
        samples = interleaved(
            self.runs,
            {
                name: partial(take, what.kind, addresses[what.family], self.seconds)
                for name, addresses in hosts.items()
                if what.family < len(addresses)
            },
            lambda text: self.progress(f"{what.name}: {text}"),
        )
        ours = samples.pop("capas")
        self.report.rows.append(Row(what.name, what.unit, ours, samples, what.key, what.scale))


def measure(
    runs: int, seconds: float, pinned: bool, only: frozenset[str], progress: Callable[[str], None]
) -> Report:
    """All rows, or those whose keys are in ``only``; ``pinned``: a core for each end."""
    lab.enter()
    report = Report("tap", "capas over TUN, the kernel over veth", "kernel")
    session = _Session(report, runs, seconds, only, progress)
    both: dict[str, tuple[str, ...]] = {"capas": CAPAS, "kernel": KERNEL}
    with (
        lab.pinned(apart=True) if pinned else contextlib.nullcontext(),
        lab.kernel_server() as server,
    ):
        with lab.capas_server(), contextlib.ExitStack() as extra:
            every = dict(both)
            take: Take = lab.sample
            if clean := session.wants(CLEAN):
                for name in installed(["pmd-pytcp"], report.notes):
                    take = extra.enter_context(lab.pytcp_server())
                    every[name] = PYTCP
            for what in clean:
                session.row(what, take, both if what.kind == "http" else every)
            if bad := session.wants(_BAD):
                session.seconds *= _IMPAIRED
                with lab.bad_cable() as beyond:
                    for what in bad:
                        session.row(what, beyond, both)
                session.seconds = seconds
        if plain := session.wants(_PLAIN):
            with lab.without_offloads(server) as comparable, lab.capas_server(offload=False):
                for what in plain:
                    session.row(what, lab.sample, both if comparable else {"capas": CAPAS})
    for what in session.wants(_PINNED):
        with lab.pinned(what is _PINNED[0]), lab.kernel_server(), lab.capas_server():
            session.row(what, lab.sample, both)
    _notes(report, pinned)
    return report


def measure_by(python: str, runs: int, quick: bool) -> Report:
    """All rows as ``python`` measures them, with its own capas: another version, say.

    Raises CapasError if it cannot.
    """
    words = [python, "-m", "capas", "bench", "tap", "--json", "--runs", str(runs)]
    done = subprocess.run(
        [*words, *(["--quick"] if quick else [])], stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise CapasError(f"{shlex.join(words)} failed; a Python with capas[tools] is wanted")
    return Report.read(json.loads(done.stdout))


def _notes(report: Report, pinned: bool) -> None:
    notes = report.notes
    notes.append("bulk in: the kernel sends to `discard`; bulk out: it reads from `chargen`.")
    notes.append(
        "CUBIC pinned on both ends; "
        + ("processes pinned to cores." if pinned else "processes not pinned to cores.")
    )
    load = os.getloadavg()[0]
    report.facts["load_average"] = load
    notes.append(f"Load average of the machine at the end: {load:.1f}.")
    missing = [row.key for row in report.rows if not row.others]
    if missing:
        notes.append("`ethtool` is not installed: no comparison for " + ", ".join(missing) + ".")
    bulk = [r for row in report.rows if row.key.startswith("bulk") and (r := row.ratio("kernel"))]
    if bulk:
        report.facts["bulk_ratio_median"] = statistics.median(bulk)
