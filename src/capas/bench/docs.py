# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md, written by ``capas bench all``: figures, plots, and where the time goes."""

import time
from pathlib import Path
from typing import Final

from capas.bench import calls
from capas.bench.report import Report, machine
from capas.bench.where import Shares

_HEAD: Final = """# Performance

Written by `capas bench all docs`; do not edit by hand. Medians of interleaved runs, the spread is
minimum to maximum. Machines differ and are noisy: trust ratios taken in one run.
"""
_WHERE: Final = """## Where the time goes

A host on a TUN device, kept busy by a kernel's load generator; the innermost of our files or of
asyncio's answers for the time, by samples.  `devices` is reading and writing frames: the kernel's
copying, and its own TCP, which works for the other end while we write.
"""
_CALLS: Final = """The same counted, not timed: Python calls of one host per frame of bulk data, its
share of acknowledgements included.  A Python stack pays for calls, hardly for bytes.
"""


def document(directory: Path, reports: list[Report], where: Shares) -> None:
    """Write performance.md and one SVG for each report."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = machine()
    text = [
        _HEAD,
        f"Measured on {time.strftime('%Y-%m-%d', time.gmtime())}: {facts['processor']},"
        f" {facts['cores']} cores, {facts['system']}, {facts['python']}"
        + (", hot modules compiled by mypyc.\n" if facts["compiled"] else ", nothing compiled.\n"),
    ]
    for report in reports:
        picture = f"performance-{report.name}.svg"
        (directory / picture).write_text(report.svg())
        text.append(report.markdown(picture))
    text += [_WHERE, where.markdown(), _CALLS, calls.markdown()]
    (directory / "performance.md").write_text("\n".join(text))
