# SPDX-License-Identifier: Apache-2.0
"""Whose code runs: a profile by samples, which slows nothing down, as a tracing profiler does.

Every millisecond the innermost file of capas or asyncio answers for the CPU time since the sample
before; a sleeper spends none.  (A timer of CPU time would ask at the kernel's ticks only, which are
few, and in step with its own work.)  A system call counts for who made it: reading and writing
frames, with the kernel's copying and its own TCP at the other end, is ``devices``.  Compiled
modules are not seen: their time counts for their caller.
"""

import json
import signal
import time
from collections import Counter
from types import FrameType
from typing import Final

from capas.host.host import Host

_PERIOD: Final = 0.001  # s between samples

#: Rows, from the wire to the program; what is in none of them is "other".
PLACES: Final = (
    "devices",
    "driver",
    "link",
    "internet",
    "transport",
    "host",
    "base, wire",
    "sockets, aio",
    "asyncio",
    "application",
    "other",
)
_PACKAGES: Final = {
    "real": "driver",
    "base": "base, wire",
    "wire": "base, wire",
    "sockets": "sockets, aio",
    "aio": "sockets, aio",
}
_DEVICES: Final = ("real/devices.py", "real/gather.py", "real/pipe.py")


def place_of(frame: FrameType | None) -> str:
    """The row that answers for the code running in ``frame``."""
    while frame is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        if "/asyncio/" in path:
            return "asyncio"
        _, found, inside = path.rpartition("/capas/")
        if found:
            package = inside.partition("/")[0]
            name = "devices" if inside in _DEVICES else _PACKAGES.get(package, package)
            return name if name in PLACES else "other"
        frame = frame.f_back
    return "other"


class Sampler:
    """In the server's process: what ``host`` does between `begin` and `end`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._samples: Counter[str] = Counter()  # ns of CPU time
        self._last: int = 0
        self._start: tuple[float, float, int] = (0.0, 0.0, 0)
        signal.signal(signal.SIGALRM, self._sample)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        now = time.thread_time_ns()  # of the main thread, which handles signals
        if self._last >= 0:
            self._samples[place_of(frame)] += now - self._last
        self._last = now

    def _now(self) -> tuple[float, float, int]:
        """(seconds of CPU time, those in the kernel, bytes in and out) so far."""
        import resource  # there is none on Windows

        moved = sum(one.stats.rx_bytes + one.stats.tx_bytes for one in self._host.interfaces)
        return time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_stime, moved

    def begin(self) -> None:
        """Forget, and start."""
        self._samples.clear()
        self._start = self._now()
        self._last = -1  # only the main thread knows its own time: its first sample begins
        signal.setitimer(signal.ITIMER_REAL, _PERIOD, _PERIOD)

    def end(self) -> str:
        """Stop; what was seen, as JSON."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        spent, system, moved = (
            end - start for end, start in zip(self._now(), self._start, strict=True)
        )
        seen = {"spent": spent, "system": system, "bytes": moved, "samples": self._samples}
        return json.dumps(seen)
