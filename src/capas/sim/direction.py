# SPDX-License-Identifier: Apache-2.0
"""One direction of a simulated wire.

A `Direction` is queue -> rate -> stages -> delivery.  Rules see a frame as it enters, before the
queue; from there on its fate is computed at once: with a tail-drop queue the time a frame leaves
the queue is known on entry, so a frame costs one event, its delivery.  Active queue management
decides on leaving and has a service timer of its own (`Service`).

A super-frame is a train of n packets (IEEE 802.3 framing each).  It takes the time of n packets and
n draws of every stage; if all of them survive untouched it arrives whole, when its last packet
does; on a line so slow that this takes more than `TRAIN_TIME` it arrives in pieces.  If not all
survive it is split, and each packet has its own time and fate.

Budget: 3 calls and 1 us for a packet to enter, 1 call to leave, beside the scheduler's event.
"""

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, Protocol, final

from capas.base.clock import NEVER, SECOND, US, ManualClock, Scheduler, Timer
from capas.base.frame import Frame
from capas.link.link import FrameSink, Shortcut
from capas.link.offload import split
from capas.sim.queues import DropTail, Queue, TailDropServer
from capas.sim.rates import LineRate
from capas.sim.service import Service
from capas.sim.stage import Stage
from capas.sim.statistics import LinkStatistics
from capas.sim.trains import ETHERNET_MINIMUM, network_offset, packets_of

if TYPE_CHECKING:
    from capas.sim.rules import Rule

#: ns of a train that may arrive at once: 64 KiB at 1 Gbit/s.  A receiver gathers no longer either,
#: and acknowledgements that stand for more of a slow line make bursts that starve other flows.
TRAIN_TIME: Final = 600 * US
FLIGHT_LIMIT: Final = 1 << 20  # frames under way in one direction; more are dropped

PASS: Final = -1  # verdicts of rules; a time >= 0 means "deliver in that many ns"
DROP: Final = -2
TAKEN: Final = -3  # the rule keeps the frame and will `enter` it again, or not

UP: Final = 0  # conditions of a `Station`
PAUSED: Final = 1
DOWN: Final = 2


class Station(Protocol):
    """What stands behind a port: it is told that frames arrived, or takes them while it sleeps."""

    __slots__ = ()

    touched: bool
    condition: int

    def touch(self) -> None:
        """Something was delivered: advance and flush before the instant ends."""

    def hold(self, sink: FrameSink, frame: Frame) -> bool:
        """Keep a frame that arrived while paused; False if there is no room."""


class End(Protocol):
    """Where a direction delivers."""

    __slots__ = ()

    sink: FrameSink | None
    shortcut: Shortcut | None
    station: Station | None


@final
class Direction(Timer):
    """One direction of a wire; it is itself the timer of its deliveries."""

    __slots__ = (
        "_fifo",
        "_heap",
        "_latency",
        "_plain",
        "_queue",
        "_rate",
        "_seq",
        "_server",
        "_service",
        "clock",
        "end",
        "exact",
        "name",
        "overhead",
        "rules",
        "scheduler",
        "settings",
        "stages",
        "statistics",
    )

    def __init__(
        self,
        name: str,
        clock: ManualClock,
        scheduler: Scheduler,
        end: "End",
        *,
        overhead: int = 0,
        exact: bool = False,
    ) -> None:
        super().__init__()
        self.name: str = name
        self.clock: ManualClock = clock
        self.scheduler: Scheduler = scheduler
        self.end: End = end  # where it delivers
        self.overhead: int = overhead  # bytes per packet beside the frame's own
        self.exact: bool = exact
        self.rules: list[Rule] = []
        self.stages: list[Stage] = []
        self.statistics: LinkStatistics = LinkStatistics()
        self.settings: object = None  # what it was built from, kept for its builder
        self._rate: LineRate | None = None
        self._queue: Queue = DropTail()
        self._server: TailDropServer | None = None
        self._service: Service | None = None
        self._fifo: deque[tuple[int, Frame]] = deque()  # what is on the wire, by time of arrival
        self._heap: list[tuple[int, int, Frame]] = []  # what overtakes the last of the fifo
        self._latency: int = 0  # ns that all stages together take, -1: it depends on the packet
        self._plain: bool = not overhead  # no more than a tail-drop queue, a line and a delay
        self._seq: int = 0  # of the heap's entries

    # -- set-up ---------------------------------------------------------------------------------

    @property
    def rate(self) -> LineRate | None:
        """The line rate; None: no serialisation time, and no queue."""
        return self._rate

    @property
    def queue(self) -> Queue:
        """The queue before the line."""
        return self._queue

    def configure(self, rate: LineRate | None, queue: Queue) -> None:
        """Set line rate and queue; what already waits in a tail-drop queue keeps its times."""
        self._rate = rate
        self._queue = queue
        queue.statistics = self.statistics
        self._server = None
        if self._service is not None and self._service.queue is queue and rate is not None:
            self._service.rate = rate
            return
        self._service = None
        if rate is not None:
            if isinstance(queue, DropTail):
                self._server = TailDropServer(queue, rate)
            else:
                self._service = Service(self, queue, rate)
        self._plain = self._latency >= 0 and self._service is None and not self.overhead

    def set_stages(self, stages: "list[Stage]") -> None:
        """Put the stages in their order; frames already past keep their times."""
        self.stages = stages
        times = [stage.constant for stage in stages]
        self._latency = -1 if min(times, default=0) < 0 else sum(times)
        self._plain = self._latency >= 0 and self._service is None and not self.overhead
        for index, stage in enumerate(stages):
            stage.bind(self, index)

    def in_flight(self) -> int:
        """Frames that are on the wire or in its queue."""
        waiting = len(self._queue) if self._service is not None else 0
        return len(self._fifo) + len(self._heap) + waiting

    def frames(self) -> list[Frame]:
        """The frames that will still arrive, past queue and line."""
        return [frame for _, frame in self._fifo] + [frame for _, _, frame in self._heap]

    # -- a frame goes in ------------------------------------------------------------------------

    def wire_bytes(self, frame: Frame, packets: int, header: int) -> int:
        """What the line carries for a frame: repeated headers and framing included."""
        size = len(frame.data) + (packets - 1) * header
        if self.overhead:
            size = max(size, ETHERNET_MINIMUM) + packets * self.overhead
        return size

    def push(self, frame: Frame) -> None:
        """A port sends ``frame`` now."""
        now = self.clock.time
        if frame.gso_size or self.rules or not self._plain:
            self._look_at(frame, now)
            return
        # One packet that only the line delays: what `enter` does, without its calls.
        size = len(frame.data)
        statistics = self.statistics
        statistics.frames += 1
        statistics.packets += 1
        statistics.bytes += size
        when = now
        if (server := self._server) is not None:
            if server.free_at <= now and server.pace:
                when = server.free_at = now + size * SECOND // server.pace
            elif (when := server.offer(size, now)) < 0:
                statistics.queue_drops += 1
                return
        when += self._latency
        fifo = self._fifo
        if fifo and (when < fifo[-1][0] or len(fifo) >= FLIGHT_LIMIT):
            self._arrive(frame, when)
            return
        fifo.append((when, frame))
        if when < self.deadline:
            self.scheduler.at(when, self)

    def _look_at(self, frame: Frame, now: int) -> None:
        """Any frame, on any wire."""
        packets, header = packets_of(frame) if frame.gso_size else (1, 0)
        if packets > 1 and self.exact:
            for part in self._split(frame):
                self._ruled(part, 1, 0, now, 0)
        elif self.rules:
            self._ruled(frame, packets, header, now, 0)
        else:
            self.enter(frame, packets, header, now)

    def _split(self, frame: Frame, size: int = 0) -> list[Frame]:
        """The packets of a super-frame, or shorter super-frames of ``size`` bytes of payload."""
        self.statistics.splits += 1
        return split(frame, network_offset(frame), size)

    def _ruled(self, frame: Frame, packets: int, header: int, now: int, first: int) -> None:
        """Ask the rules from number ``first`` on; the first answer that is not PASS counts."""
        rules = self.rules
        for index in range(first, len(rules)):
            rule = rules[index]
            if packets > 1 and not rule.trains:
                for part in self._split(frame):
                    self._ruled(part, 1, 0, now, index)
                return
            verdict = rule.judge(self, frame, now)
            if verdict == PASS:
                continue
            if verdict == DROP:
                self.statistics.rule_drops += packets
            elif verdict >= 0:
                statistics = self.statistics
                statistics.frames += 1
                statistics.packets += packets
                statistics.bytes += self.wire_bytes(frame, packets, header)
                self._arrive(frame, now + verdict)
            return
        self.enter(frame, packets, header, now)

    def enter(self, frame: Frame, packets: int, header: int, now: int) -> None:
        """Past the rules: into the queue, and through the stages if it is known when it leaves."""
        size = len(frame.data) + (packets - 1) * header
        if self.overhead:
            size = self.wire_bytes(frame, packets, header)
        statistics = self.statistics
        statistics.frames += 1
        statistics.packets += packets
        statistics.bytes += size
        server = self._server
        each = 0
        if server is not None:
            if packets == 1:
                end = server.offer(size, now)
                if end < 0:
                    statistics.queue_drops += 1
                    return
            elif (taken := server.room(packets, size, now)) < packets:
                statistics.queue_drops += packets - taken
                if taken:
                    for part in self._split(frame)[:taken]:
                        end = server.accept(1, self.wire_bytes(part, 1, 0), now)
                        self.through(part, 1, end, 0, 0)
                return
            else:
                start = max(server.free_at, now)
                end = server.accept(packets, size, now)
                each = (end - start) // packets
                if end - start > TRAIN_TIME:
                    self._in_pieces(frame, packets, end, each)
                    return
        elif self._service is not None:
            for part in self._split(frame) if packets > 1 else (frame,):
                self._service.offer(part, now)
            return
        else:
            end = now
        if self._latency >= 0:
            self._arrive(frame, end + self._latency)
        else:
            self.through(frame, packets, end, 0, each)

    def _in_pieces(self, frame: Frame, packets: int, end: int, each: int) -> None:
        """A train that a slow line stretches: each piece goes on when its last packet is out."""
        most = max(TRAIN_TIME // each, 1)
        left = packets
        for piece in self._split(frame, most * frame.gso_size):
            count = min(most, left)
            left -= count
            self.through(piece, count, end - left * each, 0, each)

    def through(self, frame: Frame, packets: int, when: int, first: int, each: int) -> None:
        """Through the stages from number ``first`` on; the frame leaves the line at ``when``.

        ``each`` is the time between the packets of a train, so that parts of it get their own.
        """
        stages = self.stages
        index = first
        while index < len(stages):
            stage = stages[index]
            if packets == 1:
                when = stage.packet(frame, when)
                if when < 0:
                    return
            else:
                after = stage.train(frame, packets, when)
                if after < 0:
                    behind = packets - 1
                    for part in self._split(frame):
                        self.through(part, 1, when - behind * each, index, 0)
                        behind -= 1
                    return
                when = after
            index += 1
        self._arrive(frame, when)

    # -- a frame comes out ----------------------------------------------------------------------

    def _arrive(self, frame: Frame, when: int) -> None:
        fifo = self._fifo
        if len(fifo) >= FLIGHT_LIMIT:
            self.statistics.queue_drops += 1
            return
        if fifo and when < fifo[-1][0]:
            self.statistics.reordered += 1
            self._seq += 1
            heappush(self._heap, (when, self._seq, frame))
        else:
            fifo.append((when, frame))
        if when < self.deadline:
            self.scheduler.at(when, self)

    def _merge(self, now: int) -> None:
        """Put what overtook others and is due at its place in the fifo.

        Of two that arrive at once the fifo's is first: it was sent before the other overtook.
        """
        fifo, heap = self._fifo, self._heap
        while heap and heap[0][0] <= now:
            when, _, frame = heappop(heap)
            place = 0
            while place < len(fifo) and fifo[place][0] <= when:
                place += 1
            fifo.insert(place, (when, frame))

    def fire(self, now: int) -> None:
        """The time has come."""
        if self._heap:
            self._merge(now)
        fifo = self._fifo
        end = self.end
        shortcut, station = end.shortcut, end.station
        statistics = self.statistics
        while fifo and fifo[0][0] <= now:
            frame = fifo.popleft()[1]
            if end.sink is None or (station is not None and station.condition):
                self._withhold(frame)
                continue
            statistics.delivered += 1
            if shortcut is not None and shortcut.take(frame, now):
                continue
            if station is not None and not station.touched:
                station.touch()
            end.sink.receive(frame, now)
        when = fifo[0][0] if fifo else NEVER
        if self._heap and self._heap[0][0] < when:
            when = self._heap[0][0]
        if when < self.deadline:
            self.scheduler.at(when, self)

    def _withhold(self, frame: Frame) -> None:
        """Nobody is there to take the frame now: a paused host keeps it, others lose it."""
        sink, station = self.end.sink, self.end.station
        kept = False
        if sink is not None and station is not None and station.condition != DOWN:
            kept = station.hold(sink, frame)
        if not kept:
            self.statistics.undeliverable += 1

    def clear(self) -> int:
        """Lose everything on the wire (a cable that is pulled out); returns how many frames."""
        lost = len(self._fifo) + len(self._heap)
        self._fifo.clear()
        self._heap.clear()
        self.scheduler.cancel(self)
        self.statistics.rule_drops += lost
        return lost
