# SPDX-License-Identifier: Apache-2.0
"""``capas bench tap``: capas over TUN against the kernel over veth, the same peer for both.

The peer is the kernel with one load generator (`capas.cli.bench_load`), the server once the
kernel's sockets in another namespace, once a host of ours with the servers of ``capas up``.
Congestion control is CUBIC on all ends.
"""

import os
import statistics
from collections.abc import Callable
from functools import partial
from typing import Final

from capas.cli import bench_lab as lab
from capas.cli.bench_report import Report, Row, interleaved

_GBIT: Final = 8e-9
#: key, name, kind, family index, unit, scale
_ROWS: Final = (
    ("bulk_in", "bulk in, IPv4", "in", 0, "Gbit/s", _GBIT),
    ("bulk_out", "bulk out, IPv4", "out", 0, "Gbit/s", _GBIT),
    ("bulk_in_6", "bulk in, IPv6", "in", 1, "Gbit/s", _GBIT),
    ("bulk_out_6", "bulk out, IPv6", "out", 1, "Gbit/s", _GBIT),
    ("round_trips", "1-byte round trips", "rtt", 0, "/s", 1.0),
    ("crr_1", "connect-request-close, 1 client", "crr1", 0, "/s", 1.0),
    ("crr_32", "connect-request-close, 32 clients", "crr32", 0, "/s", 1.0),
    ("http", "HTTP, uvicorn and starlette", "http", 0, "/s", 1.0),
)


def measure(
    runs: int, seconds: float, pinned: bool, only: frozenset[str], progress: Callable[[str], None]
) -> Report:
    """All rows, or those whose keys are in ``only``."""
    lab.enter()
    if pinned:
        lab.pin()
    report = Report("tap", "capas over TUN, the kernel over veth", "kernel")
    with lab.kernel_server() as kernel:
        with lab.capas_server() as ours:
            for key, name, kind, family, unit, scale in _ROWS:
                if only and key not in only:
                    continue
                samples = interleaved(
                    runs,
                    {
                        "capas": partial(lab.sample, kind, ours[family], seconds),
                        "kernel": partial(lab.sample, kind, kernel[family], seconds),
                    },
                    lambda text, name=name: progress(f"{name}: {text}"),  # type: ignore[misc]
                )
                report.rows.append(Row(name, unit, samples.pop("capas"), samples, key, scale))
        if not only or "plain" in only:
            _plain(report, kernel, runs, seconds, progress)
    _notes(report, pinned)
    return report


def _plain(
    report: Report,
    kernel: tuple[str, str],
    runs: int,
    seconds: float,
    progress: Callable[[str], None],
) -> None:
    """Frames of 1,500 bytes, no offloads, on both."""
    comparable = lab.set_veth_offloads(False)
    with lab.capas_server(offload=False) as ours:
        for key, name, kind in (
            ("plain_in", "bulk in, no offloads", "in"),
            ("plain_out", "bulk out, no offloads", "out"),
        ):
            measures = {"capas": partial(lab.sample, kind, ours[0], seconds)}
            if comparable:
                measures["kernel"] = partial(lab.sample, kind, kernel[0], seconds)
            samples = interleaved(
                runs,
                measures,
                lambda text, name=name: progress(f"{name}: {text}"),  # type: ignore[misc]
            )
            report.rows.append(Row(name, "Gbit/s", samples.pop("capas"), samples, key, _GBIT))
    lab.set_veth_offloads(True)


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
