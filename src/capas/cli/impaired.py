# SPDX-License-Identifier: Apache-2.0
"""A real device behind a simulated cable: loss, delay and the rest on a TAP or TUN.

`ImpairedLink` stands between a host's interface and a `Device`.  What either sends goes through a
`Direction` of the simulator, whose timers run on the real driver's scheduler; so the impairments of
a world and those of ``capas up --loss 0.02`` are the same code with the same meaning.

The simulator's stages look for the network header behind an Ethernet header; on an IP medium each
frame wears one of zeros while it is on the cable.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from capas.base.clock import ManualClock, Scheduler
from capas.base.events import Counters
from capas.base.frame import CSUM_PARTIAL, Frame
from capas.base.rng import Rng
from capas.link.link import FrameSink, Link, Medium
from capas.real.device import Device
from capas.sim.impairments import Corrupt, Delay, Duplicate, Jitter, Loss, Reorder, Stage
from capas.sim.queues import DropTail
from capas.sim.rates import line_rate
from capas.sim.wire import Direction, LinkStatistics, WirePort

_BUSY_LIMIT: Final = 1000  # frames kept for a device that is busy
_HEADER: Final = 14
_COVER4: Final = bytes(12) + b"\x08\x00"
_COVER6: Final = bytes(12) + b"\x86\xdd"


@dataclass(frozen=True, slots=True)
class Impairments:
    """What happens to each direction; the words are those of ``World.link``."""

    loss: str = "0"
    delay: str = "0s"
    jitter: str = "0s"
    reorder: str = "0"
    duplicate: str = "0"
    corrupt: str = "0"
    rate: str | None = None
    queue: int = 1000
    seed: int = 0

    def any(self) -> bool:
        """Whether there is anything to do."""
        return self != Impairments(seed=self.seed, queue=self.queue)

    def stages(self) -> Sequence[Stage]:
        """New stages in the order a packet meets them."""
        found: list[Stage] = []
        if (loss := Loss(self.loss)).gap.p:
            found.append(loss)
        if (duplicate := Duplicate(self.duplicate)).gap.p:
            found.append(duplicate)
        if (corrupt := Corrupt(self.corrupt)).gap.p:
            found.append(corrupt)
        if (delay := Delay(self.delay)).delay:
            found.append(delay)
        if (jitter := Jitter(self.jitter)).jitter:
            found.append(jitter)
        if (reorder := Reorder(self.reorder, hold=0.01)).gap.p:
            found.append(reorder)
        return found


@final
class _Outlet:
    """Where the outgoing direction ends: the device, with a short queue while it is busy."""

    def __init__(self, device: Device, bare: bool) -> None:
        self.device = device
        self.bare = bare
        self.waiting: deque[Frame] = deque()

    def receive(self, frame: Frame, now: int) -> None:
        """A frame comes off the cable."""
        if self.bare:
            frame = uncovered(frame)
        if self.waiting or not self.device.transmit(frame):
            if len(self.waiting) >= _BUSY_LIMIT:
                self.device.counters.add("device.queue_full")
                return
            self.waiting.append(frame)

    def link_ready(self, now: int) -> None:
        """The device takes frames again."""
        while self.waiting and self.device.transmit(self.waiting[0]):
            self.waiting.popleft()


@final
class _Inlet:
    """Where the incoming direction ends: the interface."""

    def __init__(self, sink: FrameSink, bare: bool) -> None:
        self.sink = sink
        self.bare = bare

    def receive(self, frame: Frame, now: int) -> None:
        """A frame comes off the cable."""
        self.sink.receive(uncovered(frame) if self.bare else frame, now)

    def link_ready(self, now: int) -> None:
        """Never: a cable is not busy."""


@final
class ImpairedLink(Link):
    """The link of an interface whose frames cross a bad cable to ``device``."""

    def __init__(self, device: Device, impairments: Impairments, scheduler: Scheduler) -> None:
        self.device = device
        self.caps = device.caps
        self.bare = device.caps.medium is not Medium.ETHERNET
        self.clock = ManualClock()
        self._sink: FrameSink | None = None
        mtu = device.caps.mtu
        self._out_port = WirePort("device", mtu, True)
        self._in_port = WirePort("host", mtu, True)
        self.out = Direction("host>device", self.clock, scheduler, self._out_port)
        self.incoming = Direction("device>host", self.clock, scheduler, self._in_port)
        self._outlet = _Outlet(device, self.bare)
        self._out_port.sink = self._outlet
        device.sink = _Arrivals(self)
        root = Rng(impairments.seed)
        for direction in (self.out, self.incoming):
            direction.configure(line_rate(impairments.rate), DropTail(impairments.queue))
            stages = list(impairments.stages())
            for stage in stages:
                stage.seed(root.stream(f"wire:{direction.name}:{stage.name}"))
            direction.set_stages(stages)

    @property
    def sink(self) -> FrameSink | None:  # type: ignore[override]
        """The interface."""
        return self._sink

    @sink.setter
    def sink(self, sink: FrameSink | None) -> None:
        self._sink = sink
        self._in_port.sink = None if sink is None else _Inlet(sink, self.bare)

    def transmit(self, frame: Frame) -> bool:
        """Onto the cable; what does not fit its queue is lost there."""
        if frame.time > self.clock.time:
            self.clock.time = frame.time
        self.out.push(covered(frame) if self.bare else frame)
        return True

    def arrived(self, frame: Frame, now: int) -> None:
        """The device has read a frame: it starts at the cable's far end."""
        if now > self.clock.time:
            self.clock.time = now
        self.incoming.push(covered(frame) if self.bare else frame)

    def ready(self, now: int) -> None:
        """The device takes frames again."""
        self._outlet.link_ready(now)

    def statistics(self) -> dict[str, LinkStatistics]:
        """What happened on the way out and on the way in."""
        return {"out": self.out.statistics, "in": self.incoming.statistics}

    @property
    def counters(self) -> Counters:
        """The device's own counts."""
        return self.device.counters


@final
class _Arrivals:
    """The device's sink: passes what it reads onto the cable."""

    def __init__(self, link: ImpairedLink) -> None:
        self.link = link

    def receive(self, frame: Frame, now: int) -> None:
        """The device has read a frame."""
        self.link.arrived(frame, now)

    def link_ready(self, now: int) -> None:
        """The device takes frames again."""
        self.link.ready(now)


def covered(frame: Frame) -> Frame:
    """An IP packet behind an Ethernet header of zeros."""
    six = frame.data[:1] and frame.data[0] >> 4 == 6
    start = frame.csum_start + _HEADER if frame.csum == CSUM_PARTIAL else 0
    out = frame.with_data((_COVER6 if six else _COVER4) + frame.data)
    out.csum_start = start
    return out


def uncovered(frame: Frame) -> Frame:
    """`covered` undone."""
    start = frame.csum_start - _HEADER if frame.csum == CSUM_PARTIAL else 0
    out = frame.with_data(frame.data[_HEADER:])
    out.csum_start = start
    return out
