# SPDX-License-Identifier: Apache-2.0
"""A learning switch (IEEE 802.1D-2004 §7): learn, filter, forward, flood.

The table is bounded and ages; frames to the bridge's reserved group addresses go nowhere (§7.12.6).
There is no spanning tree: a world refuses a loop of switches when it is wired.
Frames are untrusted bytes: whatever is too short is dropped and counted.
"""

from typing import Final, final

from capas.base.clock import SECOND, ManualClock
from capas.base.events import Counters
from capas.base.frame import Frame
from capas.errors import ConfigurationError
from capas.link.interface import Tap
from capas.link.link import Link, LinkCaps

AGEING_TIME: Final = 300 * SECOND  # 802.1D-2004 table 7-5
TABLE_LIMIT: Final = 8192  # addresses
PORT_LIMIT: Final = 4096
_RESERVED: Final = b"\x01\x80\xc2\x00\x00"  # 01-80-C2-00-00-00 to -0F


@final
class SwitchPort:
    """One port of a switch; the `FrameSink` of its link."""

    __slots__ = ("caps", "index", "link", "mtu", "name", "switch", "taps")

    def __init__(self, switch: "Switch", index: int, link: Link) -> None:
        self.switch: Switch = switch
        self.index: int = index
        self.name: str = f"port{index}"
        self.link: Link = link
        self.caps: LinkCaps = link.caps
        self.mtu: int = link.caps.mtu
        self.taps: list[Tap] = []
        link.sink = self

    def receive(self, frame: Frame, now: int) -> None:
        """A frame came in by this port."""
        if self.taps:
            self._capture(frame, False, now)
        self.switch.forward(self, frame, now)

    def send(self, frame: Frame, now: int) -> None:
        """Put a frame on this port's link."""
        if self.taps:
            self._capture(frame, True, now)
        self.link.transmit(frame)

    def _capture(self, frame: Frame, outgoing: bool, now: int) -> None:
        for tap in self.taps:
            tap.captured(self, frame, outgoing, now)  # type: ignore[arg-type]

    def link_ready(self, now: int) -> None:
        """Wires are never busy."""


@final
class Switch:
    """Forwards frames between its ports by the addresses it has seen."""

    def __init__(
        self,
        name: str,
        clock: ManualClock,
        *,
        table_limit: int = TABLE_LIMIT,
        ageing: int = AGEING_TIME,
    ) -> None:
        self.name: str = name
        self.ports: list[SwitchPort] = []
        self.counters: Counters = Counters()
        self.table_limit: int = table_limit
        self.ageing: int = ageing
        self._clock: ManualClock = clock
        self._table: dict[
            bytes, tuple[SwitchPort, int]
        ] = {}  # MAC -> port, last seen; oldest first

    def attach(self, link: Link) -> SwitchPort:
        """A new port on ``link``."""
        if len(self.ports) >= PORT_LIMIT:
            raise ConfigurationError(f"switch {self.name!r} has {PORT_LIMIT} ports and no room")
        port = SwitchPort(self, len(self.ports) + 1, link)
        self.ports.append(port)
        return port

    def table(self) -> dict[bytes, SwitchPort]:
        """Which port each live address is at."""
        oldest = self._clock.time - self.ageing
        return {mac: port for mac, (port, seen) in self._table.items() if seen >= oldest}

    def forget(self) -> None:
        """Empty the table (a power cycle, a topology change)."""
        self._table.clear()

    def forward(self, port: SwitchPort, frame: Frame, now: int) -> None:
        """Learn where the source is and send the frame where its destination is."""
        data = frame.data
        if len(data) < 14:
            self.counters.add("switch.short")
            return
        source = data[6:12]
        if source[0] & 1:
            self.counters.add("switch.group_source")
            return
        self._learn(source, port, now)
        destination = data[:6]
        if not destination[0] & 1:
            entry = self._table.get(destination)
            if entry is not None and now - entry[1] <= self.ageing:
                out = entry[0]
                if out is port:
                    self.counters.add("switch.filtered")
                elif len(data) - 14 > out.mtu and not frame.gso_size:
                    self.counters.add("switch.too_big")
                else:
                    out.send(frame, now)
                return
        elif destination[:5] == _RESERVED and destination[5] < 16:
            self.counters.add("switch.reserved")
            return
        self.counters.add("switch.flooded")
        for out in self.ports:
            if out is not port:
                if len(data) - 14 > out.mtu and not frame.gso_size:
                    self.counters.add("switch.too_big")
                else:
                    out.send(frame, now)

    def _learn(self, source: bytes, port: SwitchPort, now: int) -> None:
        table = self._table
        entry = table.get(source)
        if entry is not None:
            if entry[0] is port and now - entry[1] < SECOND:
                return  # fresh enough: ageing is counted in seconds
            if entry[0] is not port:
                self.counters.add("switch.moved")
            del table[
                source
            ]  # the newest goes to the end, so that the oldest is found at the front
        elif len(table) >= self.table_limit:
            oldest = next(iter(table))
            if now - table[oldest][1] <= self.ageing:
                self.counters.add("switch.table_full")
                return
            del table[oldest]
        table[source] = (port, now)
