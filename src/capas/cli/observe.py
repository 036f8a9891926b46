# SPDX-License-Identifier: Apache-2.0
"""Watching a world: what each interface saw and what each host decided, as plain records.

A `Recorder` is a tap on every interface and a tracer of every host.  It dissects with the parsers
of `capas.wire`, and only what the account and the diagrams of `capas.cli` show.  Times are ns of
the world, sizes bytes; ``packets`` counts wire packets, of which a super-frame holds several.
"""

from typing import Final, NamedTuple, final

from capas.base.events import Decision, DecisionLog
from capas.base.frame import Frame
from capas.host.host import Host
from capas.link.interface import Interface
from capas.link.link import Medium
from capas.wire import ipv4, ipv6, tcp
from capas.wire.ethernet import TYPE_ARP, TYPE_IPV4, TYPE_IPV6, Arp, Ethernet

ARP: Final = "arp"
ICMP: Final = "icmp"
UDP: Final = "udp"
TCP: Final = "tcp"
OTHER: Final = "other"

_PROTOCOLS: Final = {1: ICMP, 58: ICMP, 6: TCP, 17: UDP}


class Sight(NamedTuple):
    """One frame at one interface."""

    time: int
    host: str
    interface: str
    outgoing: bool
    size: int  # bytes of the frame
    kind: str
    src: bytes = b""
    dst: bytes = b""
    ttl: int = 0
    source_port: int = 0
    port: int = 0
    segment: tcp.Segment | None = None
    piece: int = 0  # payload bytes of each packet of a super-frame, 0: one packet
    text: str = ""

    @property
    def packets(self) -> int:
        """Wire packets in this frame."""
        if self.segment is None or not self.piece:
            return 1
        return max(1, -(-self.segment.length // self.piece))


_ICMP_NAMES: Final = {
    (4, 0): "echo reply",
    (4, 3): "destination unreachable",
    (4, 5): "redirect",
    (4, 8): "echo request",
    (4, 11): "time exceeded",
    (6, 1): "destination unreachable",
    (6, 2): "packet too big",
    (6, 3): "time exceeded",
    (6, 128): "echo request",
    (6, 129): "echo reply",
    (6, 133): "router solicitation",
    (6, 134): "router advertisement",
    (6, 135): "neighbour solicitation",
    (6, 136): "neighbour advertisement",
    (6, 137): "redirect",
    (6, 130): "listener query",
    (6, 131): "listener report",
    (6, 143): "listener report",
}


def dissect(host: str, interface: Interface, frame: Frame, outgoing: bool, now: int) -> Sight:
    """The record of one frame; what cannot be read is of kind "other"."""
    data = frame.data
    base = (now, host, interface.name, outgoing, len(data))
    if interface.link.caps.medium is Medium.ETHERNET:
        ethernet = Ethernet.parse(data)
        if ethernet is None:
            return Sight(*base, OTHER)
        at, kind = ethernet.payload, ethernet.ethertype
        if kind == TYPE_ARP:
            arp = Arp.parse(data, at)
            return Sight(*base, ARP, text="" if arp is None else str(arp))
    else:
        at, kind = 0, TYPE_IPV6 if data[:1] >= b"\x60" else TYPE_IPV4
    if kind == TYPE_IPV4 and len(data) >= at + 20:
        first, _, total, _, fragment, ttl, protocol, _, src, dst = ipv4.HEADER.unpack_from(data, at)
        if fragment & ipv4.OFFSET_MASK:
            return Sight(*base, OTHER, src, dst, ttl, text="fragment")
        return _transport(base, frame, src, dst, ttl, protocol, at + (first & 15) * 4, at + total)
    if kind == TYPE_IPV6 and len(data) >= at + 40:
        _, length, protocol, ttl, src, dst = ipv6.HEADER.unpack_from(data, at)
        walked = ipv6.chain(data, protocol, at + 40, at + 40 + length)
        if walked is not None:
            return _transport(base, frame, src, dst, ttl, walked[1], walked[2], at + 40 + length)
    return Sight(*base, OTHER)


def _transport(
    base: tuple[int, str, str, bool, int],
    frame: Frame,
    src: bytes,
    dst: bytes,
    ttl: int,
    protocol: int,
    l4: int,
    end: int,
) -> Sight:
    data = frame.data
    end = min(end, len(data)) if not frame.gso_size else len(data)
    kind = _PROTOCOLS.get(protocol, OTHER)
    if kind == ICMP and end - l4 >= 4:
        version = 4 if len(src) == 4 else 6
        text = _ICMP_NAMES.get((version, data[l4]), f"type {data[l4]}")
        return Sight(*base, ICMP, src, dst, ttl, text=text)
    if kind in (TCP, UDP) and end - l4 >= 8:
        source_port = data[l4] << 8 | data[l4 + 1]
        port = data[l4 + 2] << 8 | data[l4 + 3]
        segment = tcp.parse(data, l4, end, base[0]) if kind == TCP else None
        if kind == UDP or segment is not None:
            return Sight(*base, kind, src, dst, ttl, source_port, port, segment, frame.gso_size)
    return Sight(*base, OTHER, src, dst, ttl)


@final
class _Tap:
    """The tap of one interface."""

    __slots__ = ("_host", "_sights")

    def __init__(self, host: str, sights: list[Sight]) -> None:
        self._host = host
        self._sights = sights

    def captured(self, interface: Interface, frame: Frame, outgoing: bool, now: int) -> None:
        """Record the frame."""
        self._sights.append(dissect(self._host, interface, frame, outgoing, now))


@final
class Recorder:
    """Everything seen and decided, in the order it happened."""

    def __init__(self) -> None:
        self.sights: list[Sight] = []
        self.decisions: list[Decision] = []
        self._hosts: list[Host] = []

    def watch(self, host: Host) -> None:
        """Record the interfaces ``host`` has now (not its loopback) and its decisions."""
        self._hosts.append(host)
        for interface in host.interfaces:
            if interface.link.caps.medium is not Medium.LOOPBACK:
                interface.taps.append(_Tap(host.name, self.sights))
        host.set_trace(DecisionLog(host.name, self.decisions, host.trace))

    def owners(self) -> dict[bytes, str]:
        """The name of the host that has each address."""
        return {
            own.address: host.name
            for host in self._hosts
            for interface in host.interfaces
            for own in interface.addresses
        }
