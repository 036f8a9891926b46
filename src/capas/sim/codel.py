# SPDX-License-Identifier: Apache-2.0
"""Controlled delay: CoDel (RFC 8289) and FQ-CoDel (RFC 8290), with ECN marks.

Times are ns.  The control law is computed in integers (`math.isqrt`), so that it is the same on
every machine.
"""

from collections import deque
from math import isqrt
from typing import Final, final

from capas.base.clock import MS
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.errors import ConfigurationError
from capas.sim.marking import mark_ce
from capas.sim.queues import DEFAULT_PACKETS, Queue
from capas.sim.trains import network_offset
from capas.sim.units import Time, time_ns

_TARGET: Final = 5 * MS  # RFC 8289 §4.3
_INTERVAL: Final = 100 * MS  # RFC 8289 §4.2
_SHIFT: Final = 20


@final
class _Controller:
    """The state machine of RFC 8289 §5 over one FIFO of (arrival, frame)."""

    __slots__ = (
        "_count",
        "_drop_next",
        "_dropping",
        "_first_above",
        "_last_count",
        "frames",
        "held",
        "owner",
    )

    def __init__(self, owner: "CoDel | FqCoDel") -> None:
        self.owner: CoDel | FqCoDel = owner
        self.frames: deque[tuple[int, Frame]] = deque()
        self.held: int = 0  # bytes
        self._first_above: int = 0
        self._drop_next: int = 0
        self._count: int = 0
        self._last_count: int = 0
        self._dropping: bool = False

    def _law(self, start: int) -> int:
        """interval / sqrt(count) after ``start`` (RFC 8289 §5.4)."""
        return start + (self.owner.interval << _SHIFT) // isqrt(self._count << (2 * _SHIFT))

    def _take(self, now: int) -> tuple[Frame | None, bool]:
        """The head, and whether it may be dropped (RFC 8289 §5.5, dodequeue)."""
        if not self.frames:
            self._first_above = 0
            return None, False
        since, frame = self.frames.popleft()
        self.held -= len(frame.data)
        if now - since < self.owner.target or self.held <= self.owner.mtu:
            self._first_above = 0
            return frame, False
        if self._first_above == 0:
            self._first_above = now + self.owner.interval
            return frame, False
        return frame, now >= self._first_above

    def next(self, now: int) -> Frame | None:
        """The next packet that survives (RFC 8289 §5.6, dequeue)."""
        frame, may_drop = self._take(now)
        if frame is None:
            self._dropping = False
            return None
        if self._dropping:
            if not may_drop:
                self._dropping = False
            while self._dropping and now >= self._drop_next:
                self._count += 1
                marked = self.owner.punish(frame)
                if marked is not None:
                    self._drop_next = self._law(self._drop_next)
                    return marked
                frame, may_drop = self._take(now)
                if frame is None or not may_drop:
                    self._dropping = False
                    return frame
                self._drop_next = self._law(self._drop_next)
        elif may_drop:
            marked = self.owner.punish(frame)
            self._dropping = True
            recent = now - self._drop_next < 16 * self.owner.interval
            delta = self._count - self._last_count
            self._count = delta if delta > 1 and recent else 1
            self._last_count = self._count
            self._drop_next = self._law(now)
            frame = marked if marked is not None else self._take(now)[0]
        return frame


@final
class CoDel(Queue):
    """Controlled delay over one FIFO (RFC 8289)."""

    def __init__(
        self,
        packets: int = DEFAULT_PACKETS,
        target: Time = 0.005,
        interval: Time = 0.1,
        ecn: bool = True,
        mtu: int = 1514,
    ) -> None:
        self.packets: int = packets
        self.target: int = time_ns(target, "CoDel target")
        self.interval: int = time_ns(interval, "CoDel interval")
        self.ecn: bool = ecn
        self.mtu: int = mtu  # bytes that may always wait
        self._controller: _Controller = _Controller(self)
        if packets < 1 or not 0 < self.target < self.interval:
            raise ConfigurationError("CoDel: packets >= 1 and 0 < target < interval must hold")

    def punish(self, frame: Frame) -> Frame | None:
        """Mark, or count the drop and answer None."""
        marked = mark_ce(frame) if self.ecn else None
        if marked is None:
            self._drop()
        else:
            self._mark()
        return marked

    def enqueue(self, frame: Frame, now: int) -> bool:
        """Take one packet, or drop it."""
        controller = self._controller
        if len(controller.frames) >= self.packets:
            self._drop()
            return False
        controller.frames.append((now, frame))
        controller.held += len(frame.data)
        return True

    def dequeue(self, now: int) -> Frame | None:
        """The next packet that is to be sent."""
        return self._controller.next(now)

    def __len__(self) -> int:
        return len(self._controller.frames)


@final
class _Flow:
    __slots__ = ("controller", "credit", "listed")

    def __init__(self, controller: _Controller) -> None:
        self.controller: _Controller = controller
        self.credit: int = 0  # bytes, RFC 8290 §4.1
        self.listed: bool = False


@final
class FqCoDel(Queue):
    """Fair queueing by flow, each flow with its own CoDel (RFC 8290)."""

    def __init__(
        self,
        packets: int = 10_240,
        flows: int = 1024,
        target: Time = 0.005,
        interval: Time = 0.1,
        quantum: int = 1514,
        ecn: bool = True,
    ) -> None:
        self.packets: int = packets
        self.target: int = time_ns(target, "FQ-CoDel target")
        self.interval: int = time_ns(interval, "FQ-CoDel interval")
        self.quantum: int = quantum
        self.ecn: bool = ecn
        self.mtu: int = quantum
        self._size: int = flows
        self._key: int = 0
        self._flows: dict[int, _Flow] = {}
        self._new: deque[_Flow] = deque()
        self._old: deque[_Flow] = deque()
        self._held: int = 0  # packets
        if packets < 1 or flows < 1 or quantum < 1 or not 0 < self.target < self.interval:
            raise ConfigurationError(
                "FQ-CoDel: packets, flows, quantum >= 1 and 0 < target < interval must hold"
            )

    def seed(self, rng: Rng) -> None:
        """Draw from ``rng`` from now on."""
        self._key = rng.u32()

    def punish(self, frame: Frame) -> Frame | None:
        """Mark, or count the drop and answer None."""
        marked = mark_ce(frame) if self.ecn else None
        if marked is None:
            self._held -= 1
            self._drop()
        else:
            self._mark()
        return marked

    def _hash(self, frame: Frame) -> int:
        """A bucket by addresses, protocol and ports (RFC 8290 §4.1.1)."""
        data = frame.data
        l3 = network_offset(frame)
        if len(data) < l3 + 24:
            return 0
        if data[l3] >> 4 == 4:
            l4 = l3 + (data[l3] & 15) * 4
            fragment = data[l3 + 6] & 0x3F or data[l3 + 7]
            key = data[l3 + 12 : l3 + 20] + data[l3 + 9 : l3 + 10]
            key += b"" if fragment else data[l4 : l4 + 4]
        elif data[l3] >> 4 == 6:
            key = data[l3 + 8 : l3 + 44] + data[l3 + 6 : l3 + 7]
        else:
            return 0
        value = self._key or 1
        for byte in key:  # FNV-1a with a random start
            value = ((value ^ byte) * 16_777_619) & 0xFFFFFFFF
        return value % self._size

    def enqueue(self, frame: Frame, now: int) -> bool:
        """Take one packet, or drop it."""
        bucket = self._hash(frame)
        flow = self._flows.get(bucket)
        if flow is None:
            flow = self._flows[bucket] = _Flow(_Controller(self))
        flow.controller.frames.append((now, frame))
        flow.controller.held += len(frame.data)
        self._held += 1
        if not flow.listed:
            flow.listed = True
            flow.credit = self.quantum
            self._new.append(flow)
        if self._held > self.packets:
            return self._drop_from_fattest() is not frame
        return True

    def _drop_from_fattest(self) -> Frame:
        """Drop the head of the flow with most bytes (RFC 8290 §4.1.3)."""
        fattest = max(self._flows.values(), key=lambda flow: flow.controller.held).controller
        _, frame = fattest.frames.popleft()
        fattest.held -= len(frame.data)
        self._held -= 1
        self._drop()
        return frame

    def dequeue(self, now: int) -> Frame | None:
        """The next packet that is to be sent."""
        while self._new or self._old:
            fresh = bool(self._new)
            queue = self._new if fresh else self._old
            flow = queue[0]
            if flow.credit <= 0:
                flow.credit += self.quantum
                queue.popleft()
                self._old.append(flow)
                continue
            frame = flow.controller.next(now)
            if frame is None:
                queue.popleft()
                if fresh and self._old:
                    self._old.append(flow)  # not at once forgotten: no starving of the old
                else:
                    flow.listed = False
                continue
            self._held -= 1
            flow.credit -= len(frame.data)
            return frame
        return None

    def __len__(self) -> int:
        return self._held
