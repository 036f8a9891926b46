# SPDX-License-Identifier: Apache-2.0
"""A windowed maximum in constant space (Kathleen Nichols' filter, as in Linux lib/win_minmax.c).

Keeps the best, second best and third best value of a sliding window, each later than the one
before.  Time is any growing int: nanoseconds, or round trips.  A windowed minimum is the maximum
of negated values.
"""

from typing import final


@final
class WindowedMax:
    """The largest value seen within the last ``window`` units of time, approximately.

    ``value`` is the current estimate, ``empty`` before the first sample.
    """

    __slots__ = ("_t0", "_t1", "_t2", "_v1", "_v2", "_valid", "value", "window")

    def __init__(self, window: int, empty: int = 0) -> None:
        self.window: int = window
        self.value: int = empty
        self._valid: bool = False
        self._t0: int = 0
        self._v1: int = empty
        self._t1: int = 0
        self._v2: int = empty
        self._t2: int = 0

    def reset(self, now: int, value: int) -> int:
        """Forget all but ``value``."""
        self._valid = True
        self.value = self._v1 = self._v2 = value
        self._t0 = self._t1 = self._t2 = now
        return value

    def update(self, now: int, value: int) -> int:
        """Add a sample; return the new estimate."""
        if not self._valid or value >= self.value or now - self._t2 > self.window:
            self._valid = True  # as `reset`
            self.value = self._v1 = self._v2 = value
            self._t0 = self._t1 = self._t2 = now
            return value
        if value >= self._v1:
            self._v1 = self._v2 = value
            self._t1 = self._t2 = now
        elif value >= self._v2:
            self._v2 = value
            self._t2 = now
        age = now - self._t0
        if age > self.window:
            # The best has left the window: promote the others, perhaps twice.
            self.value, self._t0 = self._v1, self._t1
            self._v1, self._t1 = self._v2, self._t2
            self._v2, self._t2 = value, now
            if now - self._t0 > self.window:
                self.value, self._t0 = self._v1, self._t1
                self._v1, self._t1 = self._v2, self._t2
                self._v2, self._t2 = value, now
        elif self._t1 == self._t0 and age > self.window // 4:
            self._v1 = self._v2 = value
            self._t1 = self._t2 = now
        elif self._t2 == self._t1 and age > self.window // 2:
            self._v2 = value
            self._t2 = now
        return self.value
