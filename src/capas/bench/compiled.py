# SPDX-License-Identifier: Apache-2.0
"""``capas bench compiled``: what compiling the hot modules by mypyc buys, in the same run.

The compiled capas is that of another Python (a virtual environment the compiled wheel is installed
in), of the same version; every sample of either is a process of its own: of the simulator's
scenarios, of asyncio on one host, and of a server over TUN, with the kernel over veth beside it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from capas.bench import lab, sim, sockets, tap
from capas.bench.probe import probe
from capas.bench.report import Report, Row, compiled, interleaved
from capas.bench.scenarios import SCENARIOS
from capas.bench.server import CAPAS, KERNEL
from capas.errors import ConfigurationError, DeviceError

_RIVAL: Final = "interpreted"
_TUN: Final = {f"tun_{one.key}": one for one in tap.CLEAN}
KEYS: Final = (*SCENARIOS, *sockets.KINDS, *_TUN)


@dataclass(slots=True)
class _Session:
    """What all rows of one run share."""

    report: Report
    pythons: dict[str, str]  # of compiled and interpreted
    runs: int
    seconds: float
    progress: Callable[[str], None]

    def row(self, row: Row, measures: dict[str, Callable[[], float]]) -> None:
        """Measure by turns; ``measures`` has "compiled", which is shown as capas."""
        told = self.progress
        row.others = interleaved(self.runs, measures, lambda text: told(f"{row.name}: {text}"))
        row.capas = row.others.pop("compiled")
        self.report.rows.append(row)

    def probe(self, row: Row, *words: str) -> None:
        """By both Pythons: the number that ``-m words`` prints."""

        def take(python: str) -> float:
            return probe(*words, python=python)[0]

        self.row(row, {who: partial(take, python) for who, python in self.pythons.items()})

    def tun(self, keys: list[str]) -> None:
        """A server over TUN by both Pythons, and the kernel's over veth."""
        try:
            lab.enter()
        except DeviceError as error:
            self.report.notes.append(f"Nothing measured over TUN: {error}.")
            return

        def take(kind: str, address: str, python: str) -> float:
            with lab.capas_server(python=python):
                return lab.sample(kind, address, self.seconds)

        with lab.kernel_server():
            for key in keys:
                one = _TUN[key]
                measures: dict[str, Callable[[], float]] = {
                    who: partial(take, one.kind, CAPAS[one.family], python)
                    for who, python in self.pythons.items()
                }
                measures["kernel"] = partial(lab.sample, one.kind, KERNEL[one.family], self.seconds)
                self.row(Row(f"TUN: {one.name}", one.unit, key=key, scale=one.scale), measures)


def measure(
    python: str,
    runs: int,
    seconds: float,
    quick: bool,
    only: frozenset[str],
    progress: Callable[[str], None],
) -> Report:
    """All of `KEYS`, or those in ``only``, by ``python`` and by this one.

    Raises ConfigurationError unless ``python`` has a compiled capas, and this one has not.
    """
    if compiled() or probe(__name__, python=python) != [1.0]:
        raise ConfigurationError(
            f"capas is to be interpreted in {sys.executable} and compiled in {python}: make an"
            " environment (python -m venv FOLDER), there CAPAS_COMPILE=1 pip install"
            " 'capas[tools]', and name FOLDER/bin/python"
        )
    report = Report("compiled", "capas compiled by mypyc, beside capas interpreted", _RIVAL)
    pythons = {"compiled": python, _RIVAL: sys.executable}
    session = _Session(report, pythons, runs, seconds, progress)
    wanted = [key for key in KEYS if not only or key in only]
    for key in wanted:
        if key in SCENARIOS:
            row = Row(key, "s", key=key, more=False)
            session.probe(row, sim.__name__, key, "quick" if quick else "full")
        elif key in sockets.KINDS:
            kind = sockets.KINDS[key]
            row = Row(f"one host: {kind.name}", kind.unit, key=key, scale=kind.scale)
            session.probe(row, __name__, key, str(seconds))
    if tun := [key for key in wanted if key in _TUN]:
        session.tun(tun)  # last, for it changes namespace
    report.notes.append("The column capas is the compiled one; S1 to S4 are wall seconds.")
    return report


def main(words: list[str]) -> int:
    """KEY SECONDS: one sample of `sockets`; nothing: whether this Python's capas is compiled.

    Here and not there: what is ``__main__`` has a world's clocks while one runs.
    """
    if words:
        kind = sockets.KINDS[words[0]]
        found = sockets.on_capas(kind.program, float(words[1]))
    else:
        found = float(compiled())
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
