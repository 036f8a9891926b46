# SPDX-License-Identifier: Apache-2.0
"""``capas bench sim``: wall time of the scenarios in `capas.cli.bench_scenarios`.

Every sample is a process of its own.  The comparison is ns-3, by the times somebody measured on the
machine at hand (``--reference S1=2.2``), for no Python package offers the same thing.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from capas.cli.bench_report import Report, Row, interleaved
from capas.cli.bench_scenarios import QUICK, SCENARIOS
from capas.errors import CapasError


def run(name: str, quick: bool) -> tuple[float, float, float, float]:
    """(wall seconds, goodput in bit/s, MiB of memory, CPU seconds) in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "capas.cli.bench_sim", name, "quick" if quick else "full"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise CapasError(f"scenario {name} failed: {last[0]}")
    wall, goodput, memory, cpu = (float(word) for word in done.stdout.split())
    return wall, goodput, memory, cpu


def measure(
    runs: int, quick: bool, reference: dict[str, float], progress: Callable[[str], None]
) -> Report:
    """All scenarios."""
    report = Report("sim", "Simulator: wall seconds of a scenario", "reference")
    goodputs: dict[str, float] = {}
    memories: dict[str, float] = {}
    cpus: dict[str, list[float]] = {name: [] for name in SCENARIOS}

    def sample(name: str) -> float:
        wall, goodputs[name], memories[name], cpu = run(name, quick)
        cpus[name].append(cpu)
        return wall

    names = list(SCENARIOS)
    found = interleaved(runs, [partial(sample, name) for name in names], progress)
    for name, samples in zip(names, found, strict=True):
        other = [reference[name]] if name in reference else []
        report.rows.append(Row(name, "s", samples, other, name, more=False))
        report.notes.append(
            f"{name}: goodput {goodputs[name] / 1e6:.2f} Mbit/s, {memories[name]:.0f} MiB,"
            f" {statistics.median(cpus[name]):.2f} s of CPU time."
        )
    if quick:
        report.notes.append("Shortened scenarios (--quick): not comparable with the full ones.")
    report.facts["goodput_bit_s"] = goodputs
    report.facts["cpu_seconds"] = cpus
    return report


def main(words: list[str]) -> int:
    """NAME quick|full: run one scenario and say what came of it."""
    import resource
    import time

    name, how = words
    scenario = (QUICK if how == "quick" else SCENARIOS)[name]
    start, begun = time.perf_counter(), time.process_time()
    goodput, _ = scenario()
    wall, cpu = time.perf_counter() - start, time.process_time() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{wall} {goodput} {memory} {cpu}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
