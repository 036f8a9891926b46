# SPDX-License-Identifier: Apache-2.0
"""Queues before a line: tail drop, RED (RFC 2309), CoDel (RFC 8289), FQ-CoDel (RFC 8290).

A queue sees frames only: `Queue.enqueue`, `Queue.dequeue`, so that one serves a simulated wire and
a device alike.  ECN marks follow RFC 3168: CE is set on ECT packets where the queue would drop.
Packets come singly; a wire splits super-frames before it offers them to any queue but `DropTail`.

`DropTail` on a wire is not run at all: `TailDropServer` knows on entry when a frame leaves.
"""

import contextlib
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final, final

from capas.base.clock import MS, SECOND
from capas.base.frame import Frame
from capas.base.native import mypyc_attr
from capas.base.rng import Rng
from capas.errors import ConfigurationError
from capas.sim.marking import mark_ce
from capas.sim.rates import ConstantRate, LineRate
from capas.sim.units import Chance, chance, size_bytes

if TYPE_CHECKING:
    from capas.sim.statistics import LinkStatistics

DEFAULT_PACKETS: Final = 1000  # Linux txqueuelen


@mypyc_attr(allow_interpreted_subclasses=True)
class Queue(ABC):
    """Holds packets until the line is free; counts what it drops and marks."""

    statistics: "LinkStatistics | None" = None  # the wire's, if it stands on one
    drops: int = 0
    marks: int = 0

    @abstractmethod
    def enqueue(self, frame: Frame, now: int) -> bool:
        """Take ``frame``; False if it was dropped."""

    @abstractmethod
    def dequeue(self, now: int) -> Frame | None:
        """The next frame to send; None if there is none."""

    @abstractmethod
    def __len__(self) -> int:
        """Frames waiting."""

    def seed(self, rng: Rng) -> None:
        """Give the queue its own random stream (those that draw)."""
        return

    def _drop(self) -> None:
        self.drops += 1
        if self.statistics is not None:
            self.statistics.queue_drops += 1

    def _mark(self) -> None:
        self.marks += 1
        if self.statistics is not None:
            self.statistics.marked += 1


class DropTail(Queue):
    """First in, first out; what does not fit in ``packets`` and ``size`` bytes is dropped."""

    def __init__(self, packets: int = DEFAULT_PACKETS, size: int | str = 0) -> None:
        self.packets: int = packets
        self.size: int = size_bytes(size, "queue")  # 0: no limit in bytes
        self._frames: deque[Frame] = deque()
        self._held: int = 0
        if packets < 0:
            raise ConfigurationError(f"queue: {packets} packets is less than nothing")

    def enqueue(self, frame: Frame, now: int) -> bool:
        """Take one packet, or drop it."""
        held = self._held + len(frame.data)
        if len(self._frames) >= self.packets or (self.size and held > self.size):
            self._drop()
            return False
        self._held = held
        self._frames.append(frame)
        return True

    def dequeue(self, now: int) -> Frame | None:
        """The next packet that is to be sent."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._held -= len(frame.data)
        return frame

    def __len__(self) -> int:
        return len(self._frames)


@final
class TailDropServer:
    """A tail-drop queue and its line, computed instead of run.

    ``free_at`` is when the line has sent everything accepted so far, ``pace`` its bytes/s if they
    are constant, else 0.  Packets whose sending has not
    begun count as waiting; the one being sent does not (as with a Linux qdisc and its device).
    """

    __slots__ = ("_entries", "_held", "_waiting", "free_at", "pace", "queue", "rate")

    def __init__(self, queue: DropTail, rate: LineRate) -> None:
        self.queue: DropTail = queue
        self.rate: LineRate = rate
        self.pace: int = rate.rate if isinstance(rate, ConstantRate) else 0
        self.free_at: int = 0
        # (start of sending, ns per packet, packets, bytes per packet)
        self._entries: deque[tuple[int, int, int, int]] = deque()
        self._waiting: int = 0  # packets of all entries
        self._held: int = 0  # bytes of all entries

    def waiting(self, now: int) -> int:
        """Packets that wait at ``now``."""
        return self._settle(now)[0]

    def _settle(self, now: int) -> tuple[int, int]:
        """(packets, bytes) waiting; forgets entries whose last packet is being sent."""
        entries = self._entries
        while entries:
            start, each, packets, size = entries[0]
            if start > now:
                break
            if start + each * (packets - 1) > now:
                begun = (now - start) // each + 1
                return self._waiting - begun, self._held - begun * size
            entries.popleft()
            self._waiting -= packets
            self._held -= packets * size
        return self._waiting, self._held

    def room(self, packets: int, size: int, now: int) -> int:
        """How many of ``packets`` (together ``size`` bytes) would be accepted."""
        queue = self.queue
        if self.free_at <= now:
            if packets == 1:
                return 1
            room = queue.packets + 1
            held = -(size // packets)  # the first goes to the line at once
        else:
            waiting, held = self._settle(now)
            room = queue.packets - waiting
        if queue.size:
            fits = (queue.size - held) * packets // size if size else packets
            room = min(room, fits)
        return max(0, min(room, packets))

    def offer(self, size: int, now: int) -> int:
        """One packet of ``size`` bytes: when it is out, or -1 if it does not fit."""
        start = self.free_at
        if start <= now:
            end = self.free_at = self.rate.finish(now, size)
            return end
        waiting, held = self._settle(now)
        queue = self.queue
        if waiting >= queue.packets or (queue.size and held + size > queue.size):
            return -1
        end = self.free_at = self.rate.finish(start, size)
        self._entries.append((start, end - start, 1, size))
        self._waiting += 1
        self._held += size
        return end

    def accept(self, packets: int, size: int, now: int) -> int:
        """Send ``packets`` (together ``size`` bytes); returns when the last one is out."""
        start = self.free_at
        if start < now:
            start = now
            if self._entries:  # all of them are out
                self._entries.clear()
                self._waiting = self._held = 0
        pace = self.pace
        end = self.free_at = (
            start + size * SECOND // pace if pace else self.rate.finish(start, size)
        )
        if start > now or packets > 1:
            self._entries.append((start, (end - start) // packets, packets, size // packets))
            self._waiting += packets
            self._held += size // packets * packets
        return end


@final
class Red(Queue):
    """Random early detection (RFC 2309; Floyd and Jacobson 1993, "gentle" above the maximum).

    ``low``, ``high``  packets of average length between which the drop probability rises to ``top``
    ``weight``         of the moving average
    """

    def __init__(
        self,
        packets: int = DEFAULT_PACKETS,
        low: float = 5,
        high: float = 15,
        top: Chance = 0.1,
        weight: float = 0.002,
        ecn: bool = True,
    ) -> None:
        self.packets: int = packets
        self.low: float = low
        self.high: float = high
        self.top: float = chance(top, "RED top")
        self.weight: float = weight
        self.ecn: bool = ecn
        self.average: float = 0.0
        self._frames: deque[Frame] = deque()
        self._since: int = -1  # packets since the last drop or mark
        self._idle_from: int = -1
        self._rng: Rng = Rng(0)
        self.idle_packet: int = MS  # ns a small packet takes, for the decay of an idle queue
        if not 0 < low < high <= packets or not 0 < weight <= 1:
            raise ConfigurationError("RED: 0 < low < high <= packets and 0 < weight <= 1 must hold")

    def seed(self, rng: Rng) -> None:
        """Draw from ``rng`` from now on."""
        self._rng = rng

    def _probability(self) -> float:
        average = self.average
        if average < self.low:
            return 0.0
        if average < self.high:
            return self.top * (average - self.low) / (self.high - self.low)
        if average < 2 * self.high:
            return self.top + (1 - self.top) * (average - self.high) / self.high
        return 1.0

    def enqueue(self, frame: Frame, now: int) -> bool:
        """Take one packet, or drop it."""
        if self._idle_from >= 0:
            steps = (now - self._idle_from) / self.idle_packet
            self.average *= (1 - self.weight) ** steps
            self._idle_from = -1
        self.average += self.weight * (len(self._frames) - self.average)
        probability = self._probability()
        if len(self._frames) >= self.packets:
            return self._refuse(now)
        if probability > 0:
            self._since += 1
            spread = probability / max(probability, 1 - self._since * probability)
            if self._rng.chance(spread):
                self._since = 0
                marked = mark_ce(frame) if self.ecn and probability < 1 else None
                if marked is None:
                    return self._refuse(now)
                self._mark()
                frame = marked
        else:
            self._since = -1
        self._frames.append(frame)
        return True

    def _refuse(self, now: int) -> bool:
        self._since = 0
        self._drop()
        if not self._frames:  # it stays empty, and its average goes on falling (§11)
            self._idle_from = now
        return False

    def dequeue(self, now: int) -> Frame | None:
        """The next packet that is to be sent."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        if not self._frames:
            self._idle_from = now
        return frame

    def __len__(self) -> int:
        return len(self._frames)


def parse_queue(value: object, what: str = "queue") -> Queue:
    """A queue of a number of packets, "64KiB", "codel", "fq_codel", "red", or a `Queue`.

    Anything else is refused here, by name, and not by the type of the argument.
    """
    from capas.sim.codel import CoDel, FqCoDel

    if isinstance(value, Queue):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return DropTail(value)
    if isinstance(value, str):
        kinds: dict[str, type[Queue]] = {
            "codel": CoDel,
            "fq_codel": FqCoDel,
            "red": Red,
            "droptail": DropTail,
        }
        kind = kinds.get(value.lower().replace("-", "_"))
        if kind is not None:
            return kind()
        with contextlib.suppress(ConfigurationError):
            return DropTail(1 << 30, size_bytes(value))
    raise ConfigurationError(
        f"{what}: {value!r} is not a queue; say a number of packets, a size such as '64KiB', "
        "'codel', 'fq_codel', 'red', or a Queue"
    )


__all__ = ["DropTail", "Queue", "Red", "TailDropServer", "parse_queue"]
