# SPDX-License-Identifier: Apache-2.0
"""Forwarding again what was forwarded before: the same header in, the same header out.

What a router does with a packet depends on its link and IP headers (`forward`), and the packets of
a flow carry the very same ones over and over: atomic datagrams count no identifications (RFC 6864
§4.1).  So a header that passed every check, its checksum included, is remembered together with the
one that left, and the next packet that begins with those bytes costs one dict lookup.  All is
forgotten when a route or an address changes; what else may change is looked at each time.  A packet
that is not remembered goes the long way, by `Interface.receive`.

Budget: 2 calls and 1.2 us until the next link's `transmit`; the long way is 12 calls and 6 us.
"""

from typing import Final, final

from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import CSUM_PARTIAL, Frame
from capas.internet.route import RouteTable
from capas.internet.shared import Shared
from capas.link.interface import Interface
from capas.link.link import ALL_GSO
from capas.link.link import Shortcut as Asked
from capas.link.neighbor import Neighbor
from capas.link.offload import wire_length
from capas.wire.ethernet import HEADER

_END4: Final = HEADER + 20
_END6: Final = HEADER + 40


@final
class _Flow:
    """What is done with the packets of one header.

    ``head``    the IP header that leaves; ``length``: bytes of a frame, as the header says
    ``rest``    where the packet goes on behind both headers; ``counter``: what forwarding counts
    ``limit``   bytes of the longest packet the link takes, as a frame
    ``whole``   bytes of the longest frame or super-frame that it takes as it is, 0: none
    """

    __slots__ = ("counter", "head", "length", "limit", "neighbor", "out", "rest", "whole")

    def __init__(
        self, out: Interface, neighbor: Neighbor, head: bytes, length: int, limit: int
    ) -> None:
        caps = out.caps
        self.out: Interface = out
        self.neighbor: Neighbor = neighbor
        self.head: bytes = head
        self.rest: int = HEADER + len(head)
        self.counter: str = "ipv4.forwarded" if len(head) == 20 else "ipv6.forwarded"
        self.length: int = length
        self.limit: int = limit
        self.whole: int = 0
        if caps.csum:
            self.whole = caps.gso_max + HEADER if caps.gso_types == ALL_GSO else limit


@final
class Shortcut(Asked):
    """The flows that come in by one interface of a router; asked by links before their sink."""

    __slots__ = ("_config", "_counters", "_flows", "_generation", "_interface", "_routes")

    def __init__(self, interface: Interface, shared: Shared) -> None:
        self._interface: Interface = interface
        self._config: HostConfig = shared.config
        self._routes: RouteTable = shared.routes
        self._counters: Counters = shared.counters
        self._flows: dict[bytes, _Flow] = {}
        self._generation: int = shared.routes.generation

    def take(self, frame: Frame, now: int) -> bool:
        """Pass a frame on as those before it; False: it must go the long way.

        The host needs no flush afterwards: nothing of it has changed but counts.
        """
        data = frame.data
        flow = self._flows.get(data[:_END4]) or self._flows.get(data[:_END6])
        if flow is None or len(data) != flow.length:
            return False
        interface = self._interface
        neighbor = flow.neighbor
        if (
            now >= neighbor.fresh_until
            or self._generation != self._routes.generation
            or not interface.up
            or not self._config.forwarding
        ):
            return False
        length = flow.length
        csum = frame.csum
        size = frame.gso_size
        if (size and csum != CSUM_PARTIAL) or (
            length > flow.limit
            and wire_length(frame, HEADER, frame.csum_start, length) + HEADER > flow.limit
        ):
            return False
        if interface.taps:
            for tap in interface.taps:
                tap.captured(interface, frame, False, now)
        stats = interface.stats
        stats.rx_frames += 1
        stats.rx_bytes += length
        counter, counts = flow.counter, self._counters.values
        counts[counter] = counts.get(counter, 0) + 1
        neighbor.used = now
        data = neighbor.header + flow.head + data[flow.rest :]
        if csum == CSUM_PARTIAL:
            frame = Frame(
                data, now, csum, frame.csum_start, frame.csum_offset, frame.gso_type, size
            )
        else:
            frame = Frame(data, now)
        out = flow.out
        if out.taps or out.queue or not out.up or length > flow.whole:
            out.transmit(frame, HEADER, now)
        elif out.link.transmit(frame):  # as in `Interface.transmit`
            stats = out.stats
            stats.tx_frames += 1
            stats.tx_bytes += length
        else:
            out.wait(frame, now)
        return True

    def learn(self, header: bytes, flow: _Flow) -> None:
        """Remember what is done with ``header``."""
        flows = self._flows
        if self._generation != self._routes.generation:
            self._generation = self._routes.generation
            flows.clear()
        if len(flows) >= self._config.forwarding_flows:
            self._counters.add("internet.flows_full")
            flows.clear()
        flows[header] = flow


def remember(
    shared: Shared,
    interface: Interface,
    data: bytes,
    l3: int,
    end: int,
    head: bytes,
    out: Interface,
    next_hop: bytes,
    mtu: int,
) -> None:
    """The packet in ``data`` left by ``out`` with the IP header ``head``: so will others like it.

    Not remembered: what came or went without Ethernet, to another MAC than ours, with padding, back
    where it came from (a redirect may be due each time), or to an unknown neighbour.
    """
    if l3 != HEADER or end != len(data) or data[:6] != interface.mac or out is interface:
        return
    table = out.neighbors4 if len(next_hop) == 4 else out.neighbors6
    neighbor = table.table.get(next_hop)
    if neighbor is None or not neighbor.header or not interface.ethernet:
        return
    link = interface.link
    shortcut = link.shortcut
    if not isinstance(shortcut, Shortcut):
        shortcut = link.shortcut = Shortcut(interface, shared)
    flow = _Flow(out, neighbor, head, end, mtu + HEADER)
    shortcut.learn(data[: HEADER + len(head)], flow)
