# SPDX-License-Identifier: Apache-2.0
"""``capas bench sim``: wall time of the scenarios in `capas.cli.bench_scenarios`.

Every sample is a process of its own.  The comparison is ns-3, by the times somebody measured on the
machine at hand (``--reference S1=2.2``), for no Python package offers the same thing; and trains
against single packets (`World(exact=True)` is not needed for that: the tests compare them).
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial

from capas.cli.bench_report import Report, Row, interleaved
from capas.cli.bench_scenarios import QUICK, SCENARIOS
from capas.errors import CapasError


def run(name: str, quick: bool) -> tuple[float, float, float]:
    """(wall seconds, goodput in bit/s, MiB of memory) in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "capas.cli.bench_sim", name, "quick" if quick else "full"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise CapasError(f"scenario {name} failed: {last[0]}")
    wall, goodput, memory = (float(word) for word in done.stdout.split())
    return wall, goodput, memory


def measure(
    runs: int, quick: bool, reference: dict[str, float], progress: Callable[[str], None]
) -> Report:
    """All scenarios."""
    report = Report("sim", "Simulator: wall seconds of a scenario", "reference")
    goodputs: dict[str, float] = {}
    memories: dict[str, float] = {}

    def sample(name: str) -> float:
        wall, goodputs[name], memories[name] = run(name, quick)
        return wall

    names = list(SCENARIOS)
    found = interleaved(runs, [partial(sample, name) for name in names], progress)
    for name, samples in zip(names, found, strict=True):
        other = [reference[name]] if name in reference else []
        report.rows.append(Row(name, "s", samples, other, name, more=False))
        report.notes.append(
            f"{name}: goodput {goodputs[name] / 1e6:.2f} Mbit/s, {memories[name]:.0f} MiB."
        )
    if quick:
        report.notes.append("Shortened scenarios (--quick): not comparable with the full ones.")
    report.facts["goodput_bit_s"] = goodputs
    return report


def main(words: list[str]) -> int:
    """NAME quick|full: run one scenario and say what came of it."""
    import resource
    import time

    name, how = words
    scenario = (QUICK if how == "quick" else SCENARIOS)[name]
    start = time.perf_counter()
    goodput, _ = scenario()
    wall = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{wall} {goodput} {memory}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
