# SPDX-License-Identifier: Apache-2.0
"""Time: units, clocks, and a scheduler of timers.

All times are ``int`` nanoseconds.  Nothing here reads a clock by itself: a driver owns the
clock and hands ``now`` down as an argument.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from heapq import heappop, heappush
from typing import Final, final

from capas.base.native import mypyc_attr

NS: Final = 1
US: Final = 1_000
MS: Final = 1_000_000
SECOND: Final = 1_000_000_000

#: "No deadline".  The largest small int of mypyc: no Optional, no None test.
NEVER: Final = (1 << 62) - 1

_MANY: Final = 512  # entries of a heap from which on what is not due soon is kept apart
_SOON: Final = 50 * MS


@mypyc_attr(allow_interpreted_subclasses=True)
class Clock(ABC):
    """Where a driver gets ``now`` from."""

    @abstractmethod
    def now(self) -> int:
        """The current time in ns; never runs backwards."""


@final
class ManualClock(Clock):
    """A clock moved by hand: tests, and the base of virtual time."""

    __slots__ = ("time",)

    def __init__(self, time: int = 0) -> None:
        self.time: int = time

    def now(self) -> int:
        """What it was set to."""
        return self.time


@mypyc_attr(allow_interpreted_subclasses=True)
class Timer:
    """Something that fires at a time: subclass and override `fire`.

    ``deadline`` is when it should fire (NEVER: disarmed).  ``queued`` is the time of its live heap
    entry and belongs to the `Scheduler`.
    """

    __slots__ = ("deadline", "queued")

    def __init__(self) -> None:
        self.deadline: int = NEVER
        self.queued: int = NEVER

    def fire(self, now: int) -> None:
        """Do the work that was due; ``deadline`` is NEVER by now and may be set again."""
        raise NotImplementedError


@final
class Scheduler:
    """A lazy heap of timers, ordered by (time, insertion number).

    Moving a timer later costs one attribute write: its stale entry is pushed again when it comes
    up.  Only an earlier deadline costs a heap push.

    In a large world nearly all entries are timeouts that never come true: `run` keeps what is due
    from a `_horizon` on in a heap of its own, so that frames come and go by one of some dozens that
    stays in the processor's cache.  The horizon moves on when nothing before it is left, and back
    when there are more than `_most`.

    ``interrupted``  somebody has to do something before time goes on; ends `run`
    """

    __slots__ = ("_far", "_heap", "_horizon", "_most", "_seq", "interrupted")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._far: list[tuple[int, int, Timer]] | None = None  # due at the horizon or later
        self._horizon: int = NEVER
        self._most: int = _MANY
        self._seq: int = 0
        self.interrupted: bool = False

    def at(self, when: int, timer: Timer) -> None:
        """Arm ``timer`` for ``when``, replacing its earlier deadline if it had one."""
        timer.deadline = when
        if when < timer.queued:
            timer.queued = when
            self._seq += 1
            entry = (when, self._seq, timer)
            if when < self._horizon:
                heappush(self._heap, entry)
            elif self._far is not None:
                heappush(self._far, entry)

    def cancel(self, timer: Timer) -> None:
        """Disarm; the heap entry dies when it comes up."""
        timer.deadline = NEVER

    def next_deadline(self) -> int:
        """When `run_due` should be called next; NEVER if nothing is armed."""
        heap = self._heap
        while heap or (self._far and self._approach()):
            when, _, timer = heap[0]
            if timer.queued == when:
                deadline = timer.deadline
                if deadline == when:
                    return when
                heappop(heap)
                timer.queued = NEVER
                if deadline != NEVER:
                    self.at(deadline, timer)
            else:
                heappop(heap)
        return NEVER

    def run_due(self, now: int) -> int:
        """Fire all timers whose deadline is <= ``now``, in order; return how many fired."""
        fired = 0
        heap = self._heap
        while (
            (heap or (self._far and self._approach()))
            and heap[0][0] <= now
            and self.next_deadline() <= now
        ):
            timer = heappop(heap)[2]
            timer.deadline = timer.queued = NEVER
            timer.fire(now)
            fired += 1
        return fired

    def run(self, clock: ManualClock, limit: int, most: int) -> int:
        """Go to the earliest deadline, fire what is due then, and so on; how many were looked at.

        Until nothing is due by ``limit``; until somebody is to act (`interrupted`, and then all
        that is due at the same time has fired); or, so that a caller can tell whether time goes on
        at all, until ``most`` have fired that concern nobody.
        """
        # The loop of every simulation: what `next_deadline` and `run_due` do, in a third of the
        # time that calling them takes.
        heap = self._heap
        if len(heap) > self._most:
            self._part()
        for seen in range(most):
            if not (heap or (self._far and self._approach())) or heap[0][0] > limit:
                return seen
            when, _, timer = heappop(heap)
            if timer.queued != when:
                continue
            timer.queued = NEVER
            if timer.deadline != when:
                if timer.deadline != NEVER:
                    self.at(timer.deadline, timer)
                continue
            timer.deadline = NEVER
            if when > clock.time:
                clock.time = when
            timer.fire(clock.time)
            if self.interrupted:
                if not heap or heap[0][0] <= clock.time:
                    self.run_due(clock.time)
                return seen + 1
        return most

    def _part(self) -> None:
        """Keep what is not due soon apart."""
        heap = self._heap
        heap.sort()  # a sorted list is a heap
        horizon = self._horizon = heap[0][0] + _SOON
        near = bisect_left(heap, horizon, key=_time)
        self._far = sorted((self._far or []) + heap[near:])
        del heap[near:]
        self._most = max(_MANY, 2 * near)

    def _approach(self) -> bool:
        """Nothing is due before the horizon: move it on; True."""
        heap, far = self._heap, self._far
        assert far
        horizon = self._horizon = far[0][0] + _SOON
        while far and far[0][0] < horizon:
            heap.append(heappop(far))  # in order, so it stays a heap
        if not far:
            self._far = None
            self._horizon = NEVER
        return True


def _time(entry: tuple[int, int, Timer]) -> int:
    return entry[0]
