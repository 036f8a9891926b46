# SPDX-License-Identifier: Apache-2.0
"""A line behind a queue that decides on leaving (CoDel, RED): it is run, packet by packet."""

from typing import TYPE_CHECKING, final

from capas.base.clock import Timer
from capas.base.frame import Frame
from capas.sim.queues import Queue
from capas.sim.rates import LineRate

if TYPE_CHECKING:
    from capas.sim.direction import Direction


@final
class Service(Timer):
    """Takes frames out of a queue that decides on leaving, one at a time."""

    __slots__ = ("_busy", "_direction", "_frame", "queue", "rate")

    def __init__(self, direction: "Direction", queue: Queue, rate: LineRate) -> None:
        super().__init__()
        self._direction: Direction = direction
        self._busy: bool = False
        self._frame: Frame | None = None
        self.queue: Queue = queue
        self.rate: LineRate = rate

    def offer(self, frame: Frame, now: int) -> None:
        """Queue one packet; start on it if nothing else is on the wire."""
        self.queue.enqueue(frame, now)
        if not self._busy:
            self._next(now)

    def fire(self, now: int) -> None:
        """The time has come."""
        frame = self._frame
        self._next(now)
        if frame is not None:
            self._direction.through(frame, 1, now, 0, 0)

    def _next(self, now: int) -> None:
        frame = self.queue.dequeue(now)
        self._frame = frame
        self._busy = frame is not None
        if frame is not None:
            direction = self._direction
            end = self.rate.finish(now, direction.wire_bytes(frame, 1, 0))
            direction.scheduler.at(end, self)
