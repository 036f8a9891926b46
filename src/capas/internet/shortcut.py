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

from capas.base.events import Counters
from capas.base.frame import CSUM_PARTIAL, Frame
from capas.internet.shared import Shared
from capas.link.interface import Interface
from capas.link.neighbor import Neighbor
from capas.link.offload import wire_length
from capas.wire.ethernet import HEADER

_END4: Final = HEADER + 20
_END6: Final = HEADER + 40


@final
class _Flow:
    """What is done with the packets of one header.

    ``head``    the IP header that leaves; ``length``: bytes of a frame, as the header says
    ``limit``   bytes of the longest packet the link takes, as a frame
    """

    __slots__ = ("head", "length", "limit", "neighbor", "out")

    def __init__(
        self, out: Interface, neighbor: Neighbor, head: bytes, length: int, limit: int
    ) -> None:
        self.out: Interface = out
        self.neighbor: Neighbor = neighbor
        self.head: bytes = head
        self.length: int = length
        self.limit: int = limit


@final
class Shortcut:
    """The flows that come in by one interface of a router; asked by links before their sink."""

    __slots__ = ("_counters", "_flows", "_generation", "_interface", "_shared")

    def __init__(self, interface: Interface, shared: Shared) -> None:
        self._interface: Interface = interface
        self._shared: Shared = shared
        self._counters: Counters = shared.counters
        self._flows: dict[bytes, _Flow] = {}
        self._generation: int = shared.routes.generation

    def take(self, frame: Frame, now: int) -> bool:
        """Pass a frame on as those before it; False: it must go the long way.

        The host needs no flush afterwards: nothing of it has changed but counts.
        """
        data = frame.data
        length = len(data)
        flow = self._flows.get(data[:_END4]) or self._flows.get(data[:_END6])
        if flow is None or flow.length != length:
            return False
        interface = self._interface
        shared = self._shared
        neighbor = flow.neighbor
        if (
            now >= neighbor.fresh_until
            or self._generation != shared.routes.generation
            or not interface.up
            or not shared.config.forwarding
        ):
            return False
        csum = frame.csum
        size = frame.gso_size
        if size:
            if csum != CSUM_PARTIAL:
                return False
            longest = wire_length(frame, HEADER, frame.csum_start, length) + HEADER
        else:
            longest = length
        if longest > flow.limit:
            return False
        if interface.taps:
            for tap in interface.taps:
                tap.captured(interface, frame, False, now)
        stats = interface.stats
        stats.rx_frames += 1
        stats.rx_bytes += length
        head = flow.head
        self._counters.add("ipv4.forwarded" if len(head) == 20 else "ipv6.forwarded")
        neighbor.used = now
        data = neighbor.header + head + data[HEADER + len(head) :]
        if csum == CSUM_PARTIAL:
            frame = Frame(
                data, now, csum, frame.csum_start, frame.csum_offset, frame.gso_type, size
            )
        else:
            frame = Frame(data, now)
        flow.out.transmit(frame, HEADER, now)
        return True

    def learn(self, header: bytes, flow: _Flow) -> None:
        """Remember what is done with ``header``."""
        flows = self._flows
        if self._generation != self._shared.routes.generation:
            self._generation = self._shared.routes.generation
            flows.clear()
        if len(flows) >= self._shared.config.forwarding_flows:
            self._shared.counters.add("internet.flows_full")
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
