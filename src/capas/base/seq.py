# SPDX-License-Identifier: Apache-2.0
"""Sequence numbers: order modulo 2**32 (RFC 9293 §3.4) and sets of ranges of them.

A comparison is only meaningful for numbers less than 2**31 apart, which the window guarantees.
"""

from bisect import bisect_left, bisect_right
from typing import Final, final

M32: Final = 0xFFFFFFFF
_HALF: Final = 1 << 31


def lt(a: int, b: int) -> bool:
    """a < b modulo 2**32."""
    return ((a - b) & M32) >= _HALF


def le(a: int, b: int) -> bool:
    """a <= b modulo 2**32."""
    return ((b - a) & M32) < _HALF


def gt(a: int, b: int) -> bool:
    """a > b modulo 2**32."""
    return ((b - a) & M32) >= _HALF


def ge(a: int, b: int) -> bool:
    """a >= b modulo 2**32."""
    return ((a - b) & M32) < _HALF


def diff(a: int, b: int) -> int:
    """a - b as a signed number in [-2**31, 2**31)."""
    return ((a - b + _HALF) & M32) - _HALF


def max_seq(a: int, b: int) -> int:
    """The later of the two."""
    return b if lt(a, b) else a


@final
class RangeSet:
    """A sorted set of disjoint half-open ranges of plain (unwrapped) integers.

    Callers unwrap sequence numbers against a base first; adjacent ranges merge.  ``starts`` and
    ``ends`` are parallel lists and may be read, not written, by others.
    """

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def __len__(self) -> int:
        return len(self.starts)

    def total(self) -> int:
        """How many integers the set holds."""
        return sum(self.ends) - sum(self.starts)

    def add(self, start: int, end: int) -> int:
        """Add [start, end); return how many integers were new."""
        if end <= start:
            return 0
        starts, ends = self.starts, self.ends
        low = bisect_left(ends, start)  # first range that ends at or after start: it may merge
        high = bisect_right(starts, end)  # first range that starts after end
        if low == high:
            starts.insert(low, start)
            ends.insert(low, end)
            return end - start
        new_start = min(start, starts[low])
        new_end = max(end, ends[high - 1])
        held = sum(ends[low:high]) - sum(starts[low:high])
        starts[low:high] = [new_start]
        ends[low:high] = [new_end]
        return new_end - new_start - held

    def remove_below(self, limit: int) -> int:
        """Forget everything below ``limit``; return how many integers went."""
        starts, ends = self.starts, self.ends
        count = bisect_right(ends, limit)
        gone = sum(ends[:count]) - sum(starts[:count])
        if count:
            del starts[:count]
            del ends[:count]
        if starts and starts[0] < limit:
            gone += limit - starts[0]
            starts[0] = limit
        return gone

    def contains(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is in the set."""
        i = bisect_right(self.starts, start) - 1
        return i >= 0 and end <= self.ends[i]

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any of [start, end) is in the set."""
        i = bisect_right(self.ends, start)
        return i < len(self.starts) and self.starts[i] < end

    def crowded(self, count: int, total: int) -> int:
        """The highest start with ``count`` ranges, or over ``total`` in all, from it on; or -1."""
        starts, ends = self.starts, self.ends
        above = 0
        for i in range(len(starts) - 1, -1, -1):
            above += ends[i] - starts[i]
            if above > total or len(starts) - i >= count:
                return starts[i]
        return -1

    def clear(self) -> None:
        """Forget all."""
        self.starts.clear()
        self.ends.clear()
