# SPDX-License-Identifier: Apache-2.0
"""Raw sockets: who gets packets as they are (man 7 raw, RFC 3542 §3).

While a socket of a protocol is open, a `_Tap` stands in IP's table where that protocol stood.  It
gives a copy of each packet to every socket that wants it, then the packet to whom it was for: a
host without raw sockets pays nothing for them.  Units: ns, bytes, packed addresses.
"""

from typing import Final, final

from capas.base.checksum import pseudo_sum, verify
from capas.base.config import HostConfig
from capas.base.frame import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from capas.internet import extension
from capas.internet.net import Internet
from capas.internet.types import IcmpError, TransportHandler
from capas.link.interface import Interface
from capas.link.offload import complete, split, wire_segments
from capas.transport.datagram_socket import Datagram
from capas.transport.endpoint import Endpoint
from capas.transport.raw_socket import RawSocket
from capas.wire import address as addr
from capas.wire.icmp import ICMPV6, MLD2_REPORT, MLD_DONE, MLD_QUERY, MLD_REPORT
from capas.wire.igmp import IGMP
from capas.wire.ipv6 import EXTENSIONS
from capas.wire.tcp import CHECKSUM_OFFSET, PROTOCOL

_MLD: Final = tuple(bytes((kind,)) for kind in (MLD_QUERY, MLD_REPORT, MLD_DONE, MLD2_REPORT))
_QUOTED: Final = 8  # bytes of the packet an error is about, RFC 792; of less Linux tells nobody


@final
class RawLayer:
    """All raw sockets of a host."""

    def __init__(self, net: Internet, config: HostConfig, ready: list[Endpoint]) -> None:
        self.net: Internet = net
        self.config: HostConfig = config
        self._taps: dict[tuple[int, int], _Tap] = {}  # by bytes of an address, protocol
        self._ready: list[Endpoint] = ready

    def open(self, endpoint: Endpoint | None, size: int, protocol: int) -> RawSocket:
        """A new socket of the family whose addresses are ``size`` bytes long."""
        socket = RawSocket(self, endpoint or Endpoint(self._ready), size, protocol)
        if size == 16 and protocol in EXTENSIONS:
            return socket  # what follows such a header is for whom the last of them names
        tap = self._taps.get((size, protocol))
        if tap is None:
            tap = self._taps[size, protocol] = _Tap(self.net, size, protocol)
        tap.sockets.append(socket)
        return socket

    def release(self, socket: RawSocket) -> None:
        """Give ``socket`` nothing more."""
        key = len(socket.wildcard), socket.protocol
        tap = self._taps.get(key)
        if tap is not None:
            tap.sockets.remove(socket)
            if not tap.sockets:
                tap.remove()
                del self._taps[key]


@final
class _Tap(TransportHandler):
    """The sockets of one protocol over one family, before the protocol's own ``handler``."""

    def __init__(self, net: Internet, size: int, protocol: int) -> None:
        self.sockets: list[RawSocket] = []
        self._net: Internet = net
        self._protocol: int = protocol
        self._table = net.ipv4.protocols if size == 4 else net.ipv6.protocols
        self._handler: TransportHandler | None = self._table.get(protocol)
        self._table[protocol] = self

    def remove(self) -> None:
        """Let the handler stand there again."""
        if self._handler is None:
            del self._table[self._protocol]
        else:
            self._table[self._protocol] = self._handler

    def receive(
        self, interface: Interface, frame: Frame, l3: int, l4: int, end: int, now: int
    ) -> None:
        """A packet (untrusted) for this host."""
        data = frame.data
        v4 = data[l3] >> 4 == 4
        if v4:
            src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
        else:
            src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
        taken = False
        datagrams: list[Datagram] = []
        sockets = self.sockets
        if addr.is_multicast(dst) and not self._listens(interface, src, dst, data[l4 : l4 + 1]):
            self._net.shared.drop(now, "raw.source_filtered", "RFC 3376 §3.2")
            if self._handler is None:
                return
            sockets = []
        for socket in sockets:
            if socket.matches(src, dst, interface.index):
                taken = True
                if socket.wants(data, l4, end):
                    if not datagrams:
                        datagrams = self._datagrams(interface, frame, l3, l4, end, src, dst)
                    for datagram in datagrams:
                        self._deliver(socket, datagram, frame.csum == CSUM_NONE)
        if self._handler is not None:
            self._handler.receive(interface, frame, l3, l4, end, now)
        elif not taken and v4:
            self._net.ipv4.unknown_protocol(interface, frame, l3, now)
        elif not taken:
            extension.unknown(self._net.ipv6, interface, frame, l3, l4, now)

    def _listens(self, interface: Interface, src: bytes, dst: bytes, kind: bytes) -> bool:
        """Whether anybody wants what ``src`` sends to a group; IGMP and MLD (``kind``) all do."""
        listeners = self._protocol == ICMPV6 and kind in _MLD
        return (
            self._protocol == IGMP or listeners or self._net.shared.hears(interface.index, dst, src)
        )

    def _datagrams(
        self,
        interface: Interface,
        frame: Frame,
        l3: int,
        l4: int,
        end: int,
        src: bytes,
        dst: bytes,
    ) -> list[Datagram]:
        """What a frame stands for, as programs read it: over IPv6 without headers."""
        data = frame.data
        v4 = len(src) == 4
        ttl = data[l3 + (8 if v4 else 7)]
        tos = data[l3 + 1] if v4 else (data[l3] << 4 | data[l3 + 1] >> 4) & 0xFF
        pseudo = pseudo_sum(src, dst, self._protocol, end - l4)
        packets = _packets(frame, l3, l4, end, self._protocol, pseudo)
        index, time = interface.index, frame.time
        return [
            Datagram(packet if v4 else packet[l4 - l3 :], src, 0, dst, index, ttl, tos, time)
            for packet in packets
        ]

    def _deliver(self, socket: RawSocket, datagram: Datagram, unverified: bool) -> None:
        counters = self._net.shared.counters
        if unverified and socket.checksum_at >= 0:
            packet = datagram.data
            ends = datagram.source, datagram.destination
            if not verify(packet, pseudo_sum(*ends, self._protocol, len(packet))):
                counters.add("raw.bad_checksum")
                return
        taken = socket.deliver(datagram)
        counters.add("raw.received" if taken else "raw.receive_buffer_full")

    def icmp_error(self, error: IcmpError, now: int) -> bool | None:
        """As `TransportHandler.icmp_error`; sockets that may have sent the packet learn of it."""
        told = self.sockets if len(error.quote) >= _QUOTED else ()
        for socket in told:
            if socket.matches(error.dst, error.src, 0):
                socket.icmp_error(error)
        return self._handler.icmp_error(error, now) if self._handler is not None else None


def _packets(frame: Frame, l3: int, l4: int, end: int, protocol: int, pseudo: int) -> list[bytes]:
    """The IP packets, checksums finished, that a frame stands for; ``pseudo``: its own header's."""
    data, gso = frame.data, (frame.gso_type, frame.gso_size, 0)
    if frame.body:
        whole = Frame(data, frame.time, CSUM_VALID, l4, CHECKSUM_OFFSET, *gso, frame.body)
        return [head[l3:] + bytes(payload) for head, payload in wire_segments(whole, l3)]
    if frame.gso_size:
        return [segment.data[l3:] for segment in split(frame, l3, finish=True)]
    field = l4 + CHECKSUM_OFFSET
    is_tcp = protocol == PROTOCOL and field + 2 <= end
    if is_tcp and frame.csum == CSUM_VALID:
        # Declared good, and not summed if it came from several (`capas.link.train`).
        data = data[:field] + pseudo.to_bytes(2, "big") + data[field + 2 : end]
        frame = Frame(data, frame.time, CSUM_PARTIAL, l4, CHECKSUM_OFFSET)
    return [complete(frame).data[l3:end]]
