# SPDX-License-Identifier: Apache-2.0
"""IPv6: receive, deliver, send (RFC 8200, RFC 4291).

Extension headers are walked in `extension`, forwarding lives in `forward`.  Flow labels are what
the transport gives (RFC 6437); jumbograms are refused.

Budget: as IPv4, without a header checksum.
"""

from typing import final

from capas.base.checksum import Buffer
from capas.base.frame import Frame, Offload
from capas.internet import extension
from capas.internet.forward import forward6
from capas.internet.fragment import send_fragments6
from capas.internet.reassembly import Reassembly
from capas.internet.route import Route
from capas.internet.shared import UNICAST, Shared
from capas.internet.types import ErrorSender, RedirectSender, TransportHandler
from capas.link.interface import Interface
from capas.link.parts import NetworkHandler
from capas.wire.address import ALL_NODES6, ANY6, LOOPBACK6, is_v4_mapped
from capas.wire.ipv6 import ETHERTYPE, HEADER, HOP_BY_HOP, ICMPV6

_unpack = HEADER.unpack_from
_pack = HEADER.pack


@final
class Ipv6(NetworkHandler):
    """The IPv6 layer of one host; the handler of EtherType 0x86DD."""

    __slots__ = (
        "_local",
        "_rng",
        "errors",
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
        self.reassembly: Reassembly = Reassembly(shared)
        self._rng = shared.rng.stream("ipv6.ident")
        self._local: dict[bytes, int] = shared.local

    def receive(self, interface: Interface, frame: Frame, l3: int, now: int) -> None:
        """A frame whose IPv6 header starts at ``l3`` (untrusted bytes)."""
        data = frame.data
        if len(data) - l3 < 40:
            self.shared.drop(now, "ipv6.truncated", "RFC 8200 §3")
            return
        word, length, next_header, hops, src, dst = _unpack(data, l3)
        end = l3 + 40 + length
        if word >> 28 != 6:
            self.shared.drop(now, "ipv6.bad_header", "RFC 8200 §3")
            return
        if end > len(data):
            self.shared.drop(now, "ipv6.bad_length", "RFC 8200 §3")
            return
        octet = src[0]
        if (octet == 255 or octet == 0 or src in self._local) and self._martian(
            interface, src, next_header == ICMPV6 and hops == 255
        ):
            self.shared.drop(now, "ipv6.martian_source", "RFC 4291 §2.7")
            return
        if self._local.get(dst) == UNICAST:
            if l3 and data[0] & 1:
                self.shared.drop(now, "ipv6.unicast_in_multicast", "RFC 1122 §3.3.6")
                return
            if dst[0] == 0xFE and not self._on_interface(interface, dst):
                self.shared.drop(now, "ipv6.other_zone", "RFC 4007 §6")
                return
        elif not self._accepts(interface, dst):
            self._not_ours(interface, frame, l3, dst, now)
            return
        handler = self.protocols.get(next_header)
        if handler is not None:
            handler.receive(interface, frame, l3, l3 + 40, end, now)
        else:
            extension.arrived(self, interface, frame, l3, now)

    def _martian(self, interface: Interface, src: bytes, discovery: bool) -> bool:
        """Whether a suspicious source is a lie; discovery must see who else has our address."""
        if src[0] == 0xFF:
            return True
        if interface is self.shared.loopback:
            return False
        return src == LOOPBACK6 or is_v4_mapped(src) or (src in self._local and not discovery)

    def _on_interface(self, interface: Interface, dst: bytes) -> bool:
        """Whether a link-local address of ours is one of this link."""
        if interface is self.shared.loopback:
            return True
        return any(own.address == dst for own in interface.addresses)

    def _accepts(self, interface: Interface, dst: bytes) -> bool:
        """Whether a destination that is no address of ours is for us all the same."""
        on_loopback = interface is self.shared.loopback
        if dst[0] == 0xFF:
            scope = dst[1] & 15
            if scope == 0 or (scope == 1 and not on_loopback):
                return False
            if dst in interface.groups or dst == ALL_NODES6:
                return True
            return on_loopback and dst in self.shared.members
        return on_loopback and dst == LOOPBACK6

    def _not_ours(self, interface: Interface, frame: Frame, l3: int, dst: bytes, now: int) -> None:
        if dst[0] == 0xFF:
            self.shared.counters.add("ipv6.multicast_not_joined")
        elif dst in (ANY6, LOOPBACK6) or is_v4_mapped(dst):
            self.shared.drop(now, "ipv6.martian_destination", "RFC 4291 §2.5.2")
        elif self.shared.config.forwarding:
            forward6(self, interface, frame, l3, now)
        else:
            self.shared.drop(now, "ipv6.not_ours", "RFC 8200 §3")

    def local(self, address: bytes) -> bool:
        """Whether ``address`` is a unicast address of this host."""
        return self._local.get(address) == UNICAST or (
            address == LOOPBACK6 and self.shared.loopback is not None
        )

    def next_ident(self, dst: bytes) -> int:
        """A fresh, unpredictable identification (RFC 7739 §5.3)."""
        return self._rng.u32()

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
        hop_by_hop: bytes = b"",
        loop: bool = True,
        flow_label: int = 0,
    ) -> bool:
        """Send a transport packet; False if it could not leave (too big with DF, link refuses).

        ``ttl``: hop limit, 0 the default (1 for multicast); ``hop_by_hop``: a whole header of that
        kind whose next header is ``protocol``; ``df`` False: fragment if need be.
        ``offload.csum_start`` is set here.
        """
        extra = len(hop_by_hop)
        payload = extra
        for piece in pieces:
            payload += len(piece)
        shared = self.shared
        interface = route.interface
        if ttl == 0:
            if dst[0] == 0xFF:
                ttl = 1
            else:
                ttl = shared.hop_limits.get(interface.index, 0) or shared.config.hop_limit
        if offload is None or offload.gso_size == 0:
            mtu = shared.link_mtu(route) if shared.mtu6 else interface.mtu
            if 0 < route.mtu < mtu:
                mtu = route.mtu
            if shared.pmtu.entries:
                mtu = shared.pmtu.get(dst, mtu, now)
            if payload + 40 > mtu:
                if df or extra or payload > 65_535:
                    shared.counters.add("ipv6.too_long" if payload > 65_535 else "ipv6.too_big")
                    return False
                head = _pack(6 << 28 | tos << 20 | flow_label, 0, 0, ttl, src, dst)
                whole = b"".join(pieces)
                return send_fragments6(self, route, head, protocol, whole, offload, mtu, now)
        elif payload > 65_535 + interface.caps.train:
            shared.counters.add("ipv6.too_long")
            return False
        first = HOP_BY_HOP if extra else protocol
        total = payload if payload <= 65_535 else 0  # a train's parts get lengths of their own
        head = _pack(6 << 28 | tos << 20 | flow_label, total, first, ttl, src, dst)
        if extra:
            head += hop_by_hop
        if offload is not None:
            offload.csum_start = 40 + extra
        if dst[0] == 0xFF:
            return self.output(route, dst, (head, *pieces), offload, loop, now)
        return interface.send(route.gateway or dst, ETHERTYPE, (head, *pieces), offload, now)

    def output(
        self,
        route: Route,
        dst: bytes,
        packet: tuple[Buffer, ...],
        offload: Offload | None,
        loop: bool,
        now: int,
    ) -> bool:
        """Give a finished packet to the interface; a multicast also to our own members."""
        if dst[0] != 0xFF:
            return route.interface.send(route.gateway or dst, ETHERTYPE, packet, offload, now)
        shared = self.shared
        loopback = shared.loopback
        src = bytes(packet[0][8:24])
        if shared.unheard(route.interface, dst, src):
            shared.drop(now, "ipv6.source_filtered", "RFC 3810 §4.2")
            return True
        if (
            loop
            and loopback is not None
            and loopback is not route.interface
            and dst in shared.members
            and shared.comes_back(route.interface, dst, src)
        ):
            loopback.send(dst, ETHERTYPE, packet, offload, now)
        return route.interface.send(dst, ETHERTYPE, packet, offload, now)
