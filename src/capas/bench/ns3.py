# SPDX-License-Identifier: Apache-2.0
"""ns-3 as a rival of ``capas bench sim`` and ``memory``, where its user has installed it.

``pip install ns3`` brings compiled libraries, and cppyy, which compiles ``ns3.cc`` when its
process starts (about 20 s, not measured).  That process is this file, run as a script by the Python
that has ns-3, which need not be the one that has capas; so it imports nothing of capas.  It reads a
scenario a line, ``S1 full``, and answers wall seconds, goodput (bit/s; of ``World``: hosts), bytes
of memory, and CPU seconds.
"""

import contextlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final

_SOURCE: Final = Path(__file__).with_suffix(".cc")

#: The calls of ``ns3.cc``, as in `capas.bench.scenarios`; full and quick.
_CALLS: Final[dict[str, tuple[tuple[str, tuple[Any, ...]], tuple[str, tuple[Any, ...]]]]] = {
    "S1": (("S1", (10.0,)), ("S1", (2.0,))),
    "S2": (
        ("Pair", ("1Gbps", "1ms", 500_000_000, 100.0, 0.0)),
        ("Pair", ("1Gbps", "1ms", 50_000_000, 100.0, 0.0)),
    ),
    "S3": (("S3", (10, 10, 10)), ("S3", (2, 3, 3))),
    "S4": (
        ("Pair", ("50Mbps", "40ms", 0, 20.0, 0.01)),
        ("Pair", ("50Mbps", "40ms", 0, 5.0, 0.01)),
    ),
    "World": (("World", (200,)), ("World", (20,))),
}


class Ns3:
    """A process with ns-3 in it, another for each scenario; ends with ``close``.

    ``World`` has another each time: it is weighed, and freed memory would be used again.
    """

    def __init__(self, python: str) -> None:
        self._python = python
        self._name = ""  # of the scenario it has run: ns-3 forgets not all of a former world
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [self._python, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._process = process
        self._line()  # it says when it is ready
        return process

    def _line(self) -> str:
        out: IO[str] | None = self._process.stdout
        assert out is not None
        line = out.readline()
        if not line:
            self.close()
            from capas.errors import CapasError

            raise CapasError("ns-3 ended; run " + __file__ + " by hand to see why")
        return line

    def run(self, name: str, quick: bool) -> list[float]:
        """[wall seconds, goodput in bit/s, bytes, CPU seconds] of a scenario."""
        if self._name and (self._name != name or name == "World"):
            self.close()
            self._process = self._start()
        self._name = name
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name} {'quick' if quick else 'full'}\n")
        self._process.stdin.flush()
        return [float(word) for word in self._line().split()]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@contextlib.contextmanager
def started(python: str | None, progress: Callable[[str], None]) -> Iterator[Ns3 | None]:
    """ns-3 in ``python``, or in this Python if it has it; None if not."""
    if python is None and importlib.util.find_spec("ns") is not None:
        python = sys.executable
    if python is None:
        yield None
        return
    progress("ns-3 starts")
    simulator = Ns3(python)
    try:
        yield simulator
    finally:
        simulator.close()


def note(simulator: Ns3 | None, notes: list[str]) -> None:
    """Say so if there is none."""
    if simulator is None:
        notes.append(
            "Not compared with ns-3, which is not installed: `pip install ns3` on a Python it has"
            " wheels for; `--ns3 PYTHON` names it if it is another."
        )


def main() -> int:
    """Scenarios from standard input."""
    sys.path.remove(str(Path(__file__).parent))  # where a script is: this file is not their `ns3`
    import_module("ns")  # loads the libraries
    cppyy = import_module("cppyy")
    cppyy.cppdef(_SOURCE.read_text())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        name, how = line.split()
        function, arguments = _CALLS[name][how == "quick"]
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _memory("VmRSS")
        begun = time.process_time()
        result = getattr(cppyy.gbl.capas_bench, function)(*arguments)
        cpu = time.process_time() - begun
        grown = max(0, _memory("VmHWM") - before)
        sys.stdout.write(f"{result.wall} {result.goodput} {grown} {cpu}\n")
        sys.stdout.flush()
    return 0


def _memory(name: str) -> int:
    """Bytes, of a line of /proc/self/status."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024


if __name__ == "__main__":
    raise SystemExit(main())
