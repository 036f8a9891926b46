# SPDX-License-Identifier: Apache-2.0
"""``capas bench compiled``: what compiling the hot modules by mypyc buys, in the same run.

The compiled capas is that of another Python (a virtual environment the compiled wheel is installed
in), of the same version; every sample of either is a process of its own.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from capas.bench import sim, sockets
from capas.bench.probe import probe
from capas.bench.report import Report, Row, compiled, interleaved
from capas.bench.scenarios import SCENARIOS
from capas.errors import ConfigurationError

_RIVAL: Final = "interpreted"


def measure(
    python: str, runs: int, seconds: float, quick: bool, progress: Callable[[str], None]
) -> Report:
    """The simulator's scenarios, and asyncio on one host, by ``python`` and by this one.

    Raises ConfigurationError unless ``python`` has a compiled capas, and this one has not.
    """
    if compiled() or probe(__name__, python=python) != [1.0]:
        raise ConfigurationError(
            f"capas is to be interpreted in {sys.executable} and compiled in {python}: make an"
            " environment (python -m venv FOLDER), there CAPAS_COMPILE=1 pip install"
            " 'capas[tools]', and name FOLDER/bin/python"
        )
    report = Report("compiled", "capas compiled by mypyc, beside capas interpreted", _RIVAL)

    def row(key: str, name: str, unit: str, scale: float, more: bool, *words: str) -> None:
        measures = {
            who: partial(probe, *words, python=which)
            for who, which in (("compiled", python), (_RIVAL, sys.executable))
        }
        found = interleaved(runs, measures, lambda text: progress(f"{name}: {text}"))
        samples = {who: [one[0] for one in all] for who, all in found.items()}
        ours = samples.pop("compiled")
        report.rows.append(Row(name, unit, ours, samples, key, scale, more))

    for name in SCENARIOS:
        row(name, name, "s", 1.0, False, sim.__name__, name, "quick" if quick else "full")
    for key, kind in sockets.KINDS.items():
        words = (__name__, key, str(seconds))
        row(key, f"one host: {kind.name}", kind.unit, kind.scale, True, *words)
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
