# SPDX-License-Identifier: Apache-2.0
"""The last frames of a world, hop by hop: who sent what when, and when it arrived, if it did.

`Tracks` is a tap on every interface of every host and a tracer of every host.  A frame is numbered
(``Frame.mark``) when it leaves a host, so its arrivals at the other end of a wire, also those of
the packets of a super-frame, are known to be its own.  Only the last frames are kept, undissected.
Times are ns of the world.
"""

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, final

from capas.base.events import Decision, DecisionLog
from capas.base.frame import Frame
from capas.host.host import Host
from capas.link.interface import Interface
from capas.link.link import Medium
from capas.sim.trains import packets_of

if TYPE_CHECKING:
    from capas.sim.switch import SwitchPort
    from capas.sim.world import World

HOPS: Final = 20_000  # kept, the last ones
DECISIONS: Final = 20_000


@final
class Hop:
    """One frame on one wire."""

    __slots__ = ("arrivals", "frame", "host", "interface", "packets", "time")

    def __init__(
        self, time: int, host: str, interface: Interface, frame: Frame, packets: int
    ) -> None:
        self.time: int = time
        self.host: str = host
        self.interface: Interface = interface
        self.frame: Frame = frame
        self.packets: int = packets
        self.arrivals: list[tuple[int, str, int]] = []  # (time, host, packets)

    @property
    def arrived(self) -> int:
        """How many of its packets arrived somewhere; duplicates count."""
        return sum(packets for _, _, packets in self.arrivals)


@final
class _Tap:
    """The tap of one interface of a host."""

    __slots__ = ("_host", "_tracks")

    def __init__(self, host: str, tracks: "Tracks") -> None:
        self._host: str = host
        self._tracks: Tracks = tracks

    def captured(self, interface: Interface, frame: Frame, outgoing: bool, now: int) -> None:
        """Record the frame."""
        if outgoing:
            self._tracks.sent(interface, self._host, frame, now)
        else:
            self._tracks.received(self._host, frame, now)


@final
class Tracks:
    """What a report is drawn from; takes the place of a capture in ``World.captures``."""

    def __init__(self) -> None:
        self.hops: OrderedDict[int, Hop] = OrderedDict()
        self.decisions: deque[Decision] = deque(maxlen=DECISIONS)
        self.hosts: dict[str, None] = {}
        self.left_out: int = 0
        self._serial: int = 0

    def add_host(self, host: Host) -> None:
        """Follow a host and the interfaces it has."""
        self.hosts[host.name] = None
        host.set_trace(DecisionLog(host.name, self.decisions, host.trace))
        for interface in host.interfaces:
            self.add_interface(host, interface)

    def add_interface(self, host: Host, interface: Interface) -> None:
        """Follow one more interface."""
        if interface.link.caps.medium is not Medium.LOOPBACK:
            interface.taps.append(_Tap(host.name, self))

    def add_switch_port(self, port: "SwitchPort") -> None:
        """Switches are not lanes of their own."""

    def close(self) -> None:
        """Nothing to finish."""

    def under_way(self, world: "World") -> frozenset[int]:
        """The numbers of frames that would still arrive: on wires, or in the rings of hosts."""
        ways = [way for wire in world.wires for way in wire.directions()]
        flying = [frame.mark for way in ways for frame in way.frames()]
        waiting = [frame.mark for node in world.nodes.values() for _, frame in node.inbox]
        return frozenset(flying + waiting)

    def sent(self, interface: Interface, host: str, frame: Frame, now: int) -> None:
        """A frame leaves a host."""
        self._serial += 1
        frame.mark = self._serial
        self.hops[self._serial] = Hop(now, host, interface, frame, packets_of(frame)[0])
        if len(self.hops) > HOPS:
            self.hops.popitem(last=False)
            self.left_out += 1

    def received(self, host: str, frame: Frame, now: int) -> None:
        """A frame, or a packet of one, reaches a host."""
        hop = self.hops.get(frame.mark)
        if hop is not None:
            hop.arrivals.append((now, host, packets_of(frame)[0]))
