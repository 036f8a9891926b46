# SPDX-License-Identifier: Apache-2.0
"""``capas bench sim``: wall time of the scenarios in `capas.bench.scenarios`.

The rival is ns-3, if its user has installed it, in the same run (`capas.bench.ns3`).  Every
sample of capas is a process of its own.
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial

from capas.bench import ns3
from capas.bench.probe import probe
from capas.bench.report import Report, Row, interleaved
from capas.bench.scenarios import QUICK, SCENARIOS

#: Of one sample: wall seconds, goodput in bit/s, bytes of memory, CPU seconds.
_WALL, _GOODPUT, _MEMORY, _CPU = range(4)


def measure(
    runs: int,
    quick: bool,
    only: frozenset[str],
    simulator: ns3.Ns3 | None,
    progress: Callable[[str], None],
) -> Report:
    """All scenarios, or those in ``only``."""
    report = Report("sim", "Simulator: wall seconds of a scenario", "ns-3")
    found: dict[str, dict[str, list[list[float]]]] = {}
    how = "quick" if quick else "full"
    for name in SCENARIOS:
        if only and name not in only:
            continue
        measures = {"capas": partial(probe, "capas.bench.sim", name, how)}
        if simulator is not None:
            measures["ns-3"] = partial(simulator.run, name, quick)
        samples = interleaved(runs, measures, lambda text, name=name: progress(f"{name}: {text}"))  # type: ignore[misc]
        found[name] = samples
        walls = {who: [one[_WALL] for one in all] for who, all in samples.items()}
        report.rows.append(Row(name, "s", walls.pop("capas"), walls, name, more=False))
        report.notes.append(f"{name}: " + "; ".join(map(_facts, samples, samples.values())) + ".")
    report.facts["goodput_bit_s"] = _medians(found, _GOODPUT)
    report.facts["cpu_seconds"] = _medians(found, _CPU)
    if quick:
        report.notes.append("Shortened scenarios (--quick): not comparable with the full ones.")
    report.notes.append(
        "Memory: of the whole process of capas; of ns-3 what a run adds to its libraries."
    )
    ns3.note(simulator, report.notes)
    return report


def _facts(who: str, samples: list[list[float]]) -> str:
    goodput, cpu = (
        statistics.median(one[column] for one in samples) for column in (_GOODPUT, _CPU)
    )
    memory = max(one[_MEMORY] for one in samples)  # a second run in one process adds nothing
    return (
        f"{who} goodput {goodput / 1e6:.2f} Mbit/s, {memory / (1 << 20):.0f} MiB,"
        f" {cpu:.2f} s of CPU time"
    )


def _medians(
    found: dict[str, dict[str, list[list[float]]]], column: int
) -> dict[str, dict[str, float]]:
    return {
        name: {who: statistics.median(one[column] for one in all) for who, all in samples.items()}
        for name, samples in found.items()
    }


def main(words: list[str]) -> int:
    """NAME quick|full: run one scenario and say what came of it."""
    import resource
    import time

    name, how = words
    scenario = (QUICK if how == "quick" else SCENARIOS)[name]
    start, begun = time.perf_counter(), time.process_time()
    goodput, _ = scenario()
    wall, cpu = time.perf_counter() - start, time.process_time() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(f"{wall} {goodput} {memory} {cpu}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
