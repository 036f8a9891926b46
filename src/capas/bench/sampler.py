# SPDX-License-Identifier: Apache-2.0
"""Whose code runs: a profile by a timer of the process's CPU time (``SIGPROF``).

Every millisecond the innermost file of capas or asyncio answers for what runs, so nothing is
slowed down by being watched, as it is by a tracing profiler.  A system call counts for who made it:
reading and writing frames, with the kernel's copying and its own TCP at the other end, is
``devices``.  Compiled modules are not seen: their time counts for their caller.
"""

import json
import signal
from collections import Counter
from types import FrameType
from typing import Final

from capas.host.host import Host

_PERIOD: Final = 0.001  # s of CPU time between samples

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
        if "/asyncio/" in path or path.endswith("/selectors.py"):
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
        self._samples: Counter[str] = Counter()
        self._start: tuple[float, float, int] = (0.0, 0.0, 0)
        signal.signal(signal.SIGPROF, self._sample)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        self._samples[place_of(frame)] += 1

    def _now(self) -> tuple[float, float, int]:
        """(user seconds, system seconds, bytes in and out) so far."""
        import resource  # there is none on Windows

        used = resource.getrusage(resource.RUSAGE_SELF)
        moved = sum(one.stats.rx_bytes + one.stats.tx_bytes for one in self._host.interfaces)
        return used.ru_utime, used.ru_stime, moved

    def begin(self) -> None:
        """Forget, and start."""
        self._samples.clear()
        self._start = self._now()
        signal.setitimer(signal.ITIMER_PROF, _PERIOD, _PERIOD)

    def end(self) -> str:
        """Stop; what was seen, as JSON."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        user, system, moved = (
            end - start for end, start in zip(self._now(), self._start, strict=True)
        )
        seen = {"user": user, "system": system, "bytes": moved, "samples": self._samples}
        return json.dumps(seen)
