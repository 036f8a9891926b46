# SPDX-License-Identifier: Apache-2.0
"""A real device behind a simulated cable: loss, delay and the rest on a TAP or TUN.

`ImpairedLink` stands between a host's interface and a `Device`.  What either sends goes through a
`Direction` of the simulator, whose timers run on the real driver's scheduler; so the impairments of
a world and those of ``capas up --loss 0.02`` are the same code with the same meaning.

The simulator's stages look for the network header behind an Ethernet header; on an IP medium each
frame wears one of zeros while it is on the cable.
"""

from typing import Final, final

from capas.base.clock import Clock, ManualClock, Scheduler
from capas.base.events import Counters
from capas.base.frame import CSUM_PARTIAL, Frame
from capas.base.rng import Rng
from capas.link.link import FrameSink, Link, Medium, Shortcut
from capas.real.device import Device
from capas.real.outlet import Outlet
from capas.sim.direction import Direction, Station
from capas.sim.links import LinkSettings, build
from capas.sim.statistics import LinkStatistics

_HEADER: Final = 14
_COVER4: Final = bytes(12) + b"\x08\x00"
_COVER6: Final = bytes(12) + b"\x86\xdd"


@final
class _End:
    """Where a direction delivers."""

    def __init__(self) -> None:
        self.sink: FrameSink | None = None
        self.shortcut: Shortcut | None = None
        self.station: Station | None = None


@final
class _Far:
    """Where the outgoing direction ends: the device."""

    def __init__(self, device: Device, bare: bool) -> None:
        self.outlet = Outlet(device)
        self.bare = bare

    def receive(self, frame: Frame, now: int) -> None:
        """A frame comes off the cable."""
        self.outlet.write(uncovered(frame) if self.bare else frame)

    def link_ready(self, now: int) -> None:
        """The device takes frames again."""
        self.outlet.link_ready()


@final
class _Inlet:
    """Where the incoming direction ends: the interface."""

    def __init__(self, link: "ImpairedLink") -> None:
        self.link = link

    def receive(self, frame: Frame, now: int) -> None:
        """A frame comes off the cable."""
        sink = self.link.sink
        if sink is not None:
            sink.receive(uncovered(frame) if self.link.bare else frame, now)

    def link_ready(self, now: int) -> None:
        """Never: a cable is not busy."""


@final
class ImpairedLink(Link):
    """The link of an interface whose frames cross a bad cable to ``device``.

    ``time`` is the clock of the driver that runs ``scheduler``.
    """

    def __init__(
        self,
        device: Device,
        settings: LinkSettings,
        scheduler: Scheduler,
        time: Clock,
        seed: int = 0,
    ) -> None:
        self.device = device
        self.caps = device.caps.without_trains()
        self.bare = device.caps.medium is not Medium.ETHERNET
        self.clock = ManualClock()
        self._time = time
        self._near = _End()
        self._near.sink = _Inlet(self)
        self._far = _Far(device, self.bare)
        far = _End()
        far.sink = self._far
        self.out = Direction("host>device", self.clock, scheduler, far)
        self.incoming = Direction("device>host", self.clock, scheduler, self._near)
        device.sink = _Arrivals(self)
        rng = Rng(seed)
        for direction in (self.out, self.incoming):
            build(direction, settings, rng)

    def transmit(self, frame: Frame) -> bool:
        """Onto the cable; what does not fit its queue is lost there."""
        if frame.time > self.clock.time:
            self.clock.time = frame.time
        self.out.push(covered(frame) if self.bare else frame)
        return True

    def arrived(self, frame: Frame) -> None:
        """The device has read a frame: it starts at the cable's far end.

        Now, not when the driver began to read its batch: or the cable would be shorter than asked.
        """
        self.clock.time = max(self.clock.time, self._time.now())
        self.incoming.push(covered(frame) if self.bare else frame)

    def ready(self, now: int) -> None:
        """The device takes frames again."""
        self._far.link_ready(now)

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
        self.link.arrived(frame)

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
