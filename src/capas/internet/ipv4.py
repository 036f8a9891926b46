# SPDX-License-Identifier: Apache-2.0
"""IPv4: receive, deliver, send (RFC 791, 1122 §3.2.1, 1812, 6864).

Host model: weak end system, as Linux's.  Forwarding lives in `forward`, options in `options4`.

Budget: receive 1 dict lookup for the destination, 1 for the source, 1 for the protocol, 0.9 us;
send one pack and one big-integer checksum, 0.7 us.
"""

from typing import Final, final
from zlib import crc32

from capas.base.checksum import Buffer
from capas.base.frame import Frame, Offload
from capas.internet import source_route
from capas.internet.forward import forward4
from capas.internet.fragment import send_fragments4
from capas.internet.reassembly import Reassembly
from capas.internet.route import Route
from capas.internet.shared import BROADCAST, UNICAST, Shared
from capas.internet.types import (
    UNREACHABLE_PROTO,
    ErrorSender,
    PacketFilter,
    RedirectSender,
    TransportHandler,
)
from capas.link.interface import Interface
from capas.link.parts import NetworkHandler
from capas.wire.address import ALL_SYSTEMS4, BROADCAST4
from capas.wire.ipv4 import ETHERTYPE, HEADER

_unpack = HEADER.unpack_from
_pack = HEADER.pack
_FRAGMENT: Final = 0x3FFF  # MF or an offset


@final
class Ipv4(NetworkHandler):
    """The IPv4 layer of one host; the handler of EtherType 0x0800."""

    __slots__ = (
        "_idents",
        "_local",
        "errors",
        "nat",
        "protocols",
        "reassembly",
        "redirects",
        "shared",
    )

    def __init__(self, shared: Shared) -> None:
        self.shared: Shared = shared
        self.protocols: dict[int, TransportHandler] = {}
        self.errors: ErrorSender | None = None
        self.redirects: RedirectSender | None = None
        self.nat: PacketFilter | None = None
        self.reassembly: Reassembly = Reassembly(shared)
        self._idents: list[int] = []  # drawn when the first is asked for
        self._local: dict[bytes, int] = shared.local

    def receive(self, interface: Interface, frame: Frame, l3: int, now: int) -> None:
        """A frame whose IPv4 header starts at ``l3`` (untrusted bytes)."""
        data = frame.data
        if len(data) - l3 < 20:
            self.shared.drop(now, "ipv4.truncated", "RFC 1122 §3.2.1")
            return
        first, _, total, _, frag, _, protocol, _, src, dst = _unpack(data, l3)
        header = 20
        if first != 0x45:
            header = (first & 15) * 4
            if first >> 4 != 4 or header < 20:
                self.shared.drop(now, "ipv4.bad_header", "RFC 1122 §3.2.1.1")
                return
        end = l3 + total
        if total < header or end > len(data):
            self.shared.drop(now, "ipv4.bad_length", "RFC 1122 §3.2.1")
            return
        if int.from_bytes(data[l3 : l3 + header], "big") % 65535:
            self.shared.drop(now, "ipv4.bad_checksum", "RFC 1122 §3.2.1.2")
            return
        octet = src[0]
        if (octet >= 224 or octet == 127 or octet == 0 or src in self._local) and self._martian(
            interface, src, dst
        ):
            self.shared.drop(now, "ipv4.martian_source", "RFC 1812 §5.3.7")
            return
        ours = self._local.get(dst, 0)
        if ours != UNICAST:
            if ours == 0 and not self._accepts(interface, dst):
                self._not_ours(interface, frame, l3, dst, now)
                return
        elif l3 and data[0] & 1:
            self.shared.drop(now, "ipv4.unicast_in_broadcast", "RFC 1122 §3.3.6")
            return
        if header != 20 and not source_route.arrived(self, interface, frame, l3, header, now):
            return
        if frag & _FRAGMENT:
            whole = self.reassembly.receive4(interface, frame, l3, l3 + header, end, now)
            if whole is not None:
                self.deliver(interface, whole, 0, now)
            return
        if self.nat is not None and self.nat.arrived(interface, frame, l3, now):
            return
        handler = self.protocols.get(protocol)
        if handler is not None:
            handler.receive(interface, frame, l3, l3 + header, end, now)
        else:
            self.unknown_protocol(interface, frame, l3, now)

    def deliver(self, interface: Interface, frame: Frame, l3: int, now: int) -> None:
        """Hand up a packet that passed all checks (a reassembled one)."""
        if self.nat is not None and self.nat.arrived(interface, frame, l3, now):
            return
        data = frame.data
        header = (data[l3] & 15) * 4
        handler = self.protocols.get(data[l3 + 9])
        if handler is not None:
            total = data[l3 + 2] << 8 | data[l3 + 3]
            handler.receive(interface, frame, l3, l3 + header, l3 + total, now)
        else:
            self.unknown_protocol(interface, frame, l3, now)

    def unknown_protocol(self, interface: Interface, frame: Frame, l3: int, now: int) -> None:
        """Nobody here speaks the protocol of the packet at ``frame.data[l3:]``."""
        self.shared.drop(now, "ipv4.unknown_protocol", "RFC 1122 §3.2.2.1")
        if self.errors is not None:
            self.errors.error(interface, frame, l3, UNREACHABLE_PROTO, now)

    def _martian(self, interface: Interface, src: bytes, dst: bytes) -> bool:
        """Whether a suspicious source address is a lie."""
        if interface is self.shared.loopback:
            return src[0] >= 224 and src[0] != 240
        octet = src[0]
        if octet == 0:
            # 0.0.0.0: "this host on this network" while it has no address, RFC 1122 §3.2.1.3 (a).
            return src != b"\0\0\0\0" or not (
                self._local.get(dst) == BROADCAST or 224 <= dst[0] <= 239
            )
        return 224 <= octet <= 239 or octet == 127 or src in self._local or octet >= 240

    def _accepts(self, interface: Interface, dst: bytes) -> bool:
        """Whether a destination that is no address of ours is for us all the same."""
        octet = dst[0]
        if 224 <= octet <= 239:
            if dst in interface.groups or dst == ALL_SYSTEMS4:
                return True
            return interface is self.shared.loopback and dst in self.shared.members
        return octet == 127 and interface is self.shared.loopback

    def _not_ours(self, interface: Interface, frame: Frame, l3: int, dst: bytes, now: int) -> None:
        octet = dst[0]
        if 224 <= octet <= 239:
            self.shared.counters.add("ipv4.multicast_not_joined")
        elif octet == 0 or octet == 127 or octet >= 240:
            self.shared.drop(now, "ipv4.martian_destination", "RFC 1812 §5.3.7")
        elif self.shared.config.forwarding:
            if self.nat is not None:
                self.nat.passing(interface, frame, l3, now)
                return
            forward4(self, interface, frame, l3, now)
        else:
            self.shared.drop(now, "ipv4.not_ours", "RFC 1122 §3.2.1.3")

    def local(self, address: bytes) -> bool:
        """Whether ``address`` is a unicast address of this host."""
        return self._local.get(address) == UNICAST or (
            address[0] == 127 and self.shared.loopback is not None
        )

    def next_ident(self, dst: bytes) -> int:
        """A fresh identification for a packet that may be fragmented (RFC 6864 §4.3)."""
        idents = self._idents
        if not idents:
            rng = self.shared.rng.stream("ipv4.ident")
            idents.extend([rng.u16() for _ in range(256)])
        slot = crc32(dst) & 255
        ident = idents[slot] = (idents[slot] + 1) & 0xFFFF
        return ident

    def send(
        self,
        route: Route,
        src: bytes,
        dst: bytes,
        protocol: int,
        pieces: tuple[Buffer, ...],
        offload: Offload | None,
        now: int,
        ttl: int = 0,
        tos: int = 0,
        df: bool = True,
        options: bytes = b"",
        loop: bool = True,
    ) -> bool:
        """Send a transport packet; False if it could not leave (too big with DF, link refuses).

        ``ttl`` 0: the default (1 for multicast); ``options``: a multiple of 4 bytes; ``loop``:
        multicasts come back to our own members.  ``offload.csum_start`` is set here.
        """
        header_length = 20 + len(options)
        length = header_length
        for piece in pieces:
            length += len(piece)
        shared = self.shared
        interface = route.interface
        ttl = ttl or (1 if 224 <= dst[0] <= 239 else shared.config.default_ttl)
        ident = 0 if df else self.next_ident(dst)  # RFC 6864 §4.1: atomic ones need none
        if offload is None or offload.gso_size == 0:
            mtu = route.mtu
            if mtu == 0 or mtu > interface.mtu:
                mtu = interface.mtu
            if shared.pmtu.entries:
                mtu = shared.pmtu.get(dst, mtu, now)
            if length > mtu:
                if df or length > 65_535:
                    shared.counters.add("ipv4.too_big" if df else "ipv4.too_long")
                    return False
                head = _pack(
                    0x40 | header_length >> 2, tos, 0, ident, 0, ttl, protocol, 0, src, dst
                )
                payload = b"".join(pieces)
                return send_fragments4(self, route, head + options, payload, offload, mtu, now)
        elif length > 65_535 + interface.caps.train:
            shared.counters.add("ipv4.too_long")
            return False
        word = 0x4000 if df else 0
        total = length if length <= 65_535 else 0  # a train's parts get lengths of their own
        head = _pack(0x40 | header_length >> 2, tos, total, ident, word, ttl, protocol, 0, src, dst)
        if options:
            head += options
        value = int.from_bytes(head, "big")
        head = (value + (-value % 65535 << (8 * header_length - 96))).to_bytes(header_length, "big")
        if offload is not None:
            offload.csum_start = header_length
        packet = (head, *pieces)
        if dst in self._local or dst[0] >= 224:
            return self.output(route, dst, packet, offload, loop, now)
        return interface.send(route.gateway or dst, ETHERTYPE, packet, offload, now)

    def output(
        self,
        route: Route,
        dst: bytes,
        packet: tuple[Buffer, ...],
        offload: Offload | None,
        loop: bool,
        now: int,
    ) -> bool:
        """Give a finished packet to the interface; to a group or broadcast also to ourselves."""
        shared = self.shared
        next_hop = route.gateway or dst
        loopback = shared.loopback
        if dst[0] <= 239 and dst[0] >= 224:
            next_hop = dst
            copy = loop and dst in shared.members
            if copy:
                src = bytes(packet[0][12:16])
                if shared.unheard(route.interface, dst, src):
                    shared.drop(now, "ipv4.source_filtered", "RFC 3376 §3.2")
                    return True
                copy = shared.comes_back(route.interface, dst, src)
        elif shared.local.get(dst) == BROADCAST:
            next_hop = BROADCAST4
            copy = loop
        else:
            copy = False
        if copy and loopback is not None and loopback is not route.interface:
            loopback.send(dst, ETHERTYPE, packet, offload, now)
        return route.interface.send(next_hop, ETHERTYPE, packet, offload, now)
