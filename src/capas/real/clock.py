# SPDX-License-Identifier: Apache-2.0
"""The clock of real time.

The machine's monotonic clock, in ns, moved by a random offset: what a host shows of its time (TCP
timestamps, RFC 7323 §7.1) must not tell how long the machine has been up.
"""

import os
import time
from typing import final

from capas.base.clock import SECOND, Clock

_OFFSET_BITS = 50  # about 13 days; sums stay far below NEVER


@final
class MonotonicClock(Clock):
    """``time.monotonic_ns`` plus an offset drawn once.

    ``offset``  ns; None draws one from the operating system's randomness
    """

    __slots__ = ("_read", "offset")

    def __init__(self, offset: int | None = None) -> None:
        if offset is None:
            offset = SECOND + (int.from_bytes(os.urandom(8), "big") >> (64 - _OFFSET_BITS))
        self.offset: int = offset
        self._read = time.monotonic_ns

    def now(self) -> int:
        """Monotonic ns plus the offset."""
        return self._read() + self.offset

    def epoch(self) -> int:
        """What to add to `now` to get ns since the Unix epoch (for captures)."""
        return time.time_ns() - self.now()
