# SPDX-License-Identifier: Apache-2.0
"""Where a connection's segments go: addresses, ports, route, segment sizes, headers.

Owns everything below the sequence space: the cached route (until `RouteTable.generation` changes),
the pseudo-header sum, the MTU in force and what the link can take as a super-frame.
"""

from struct import Struct
from typing import TYPE_CHECKING, Final, final

from capas.base.checksum import Buffer
from capas.base.frame import GSO_TCPV4, GSO_TCPV6, Offload
from capas.transport.demux import make_key
from capas.wire.tcp import CHECKSUM_OFFSET, PROTOCOL

if TYPE_CHECKING:
    from capas.internet.ipv4 import Ipv4
    from capas.internet.ipv6 import Ipv6
    from capas.internet.net import Internet
    from capas.internet.route import Route
    from capas.transport.tcp.mtu_search import MtuSearch

TCP_HEADER: Final = 20  # bytes, RFC 9293 §3.1
MIN_MSS: Final = 48  # Linux tcp_min_snd_mss
MAX_PACKET: Final = 65_535  # bytes: the total length field of IPv4
_pack = Struct("!HHLLHHHH").pack
#: What the link is asked for with a single segment: the same for all.
_ONE4: Final = Offload(20, CHECKSUM_OFFSET)
_ONE6: Final = Offload(40, CHECKSUM_OFFSET)


@final
class Path:
    """One connection's way through the internet layer.

    ``local`` ``remote``  packed addresses; ``key``: demultiplexing key of arriving segments
    ``mtu``       path MTU in bytes of IP packet
    ``search``    the search for it by probes, which may hold it lower; None: there is none
    ``max_segment``  payload and options that fit one packet: the MTU less the fixed headers
    ``largest_segment``  the same by the interface's MTU: what the way back may carry (RFC 6691 §2)
    ``gso_max``   largest TCP header + payload sent at once, 0: one segment
    ``tos`` ``ttl``  of outgoing packets; ttl 0: the host's default
    ``on_link``   no gateway is asked (SO_DONTROUTE, IPv4 alone as in Linux)
    ``generation``  of the routing table when that was looked up; another one: look again
    ``interface_index``  bound device or scope of a link-local address, 0: any
    """

    __slots__ = (
        "_ip",
        "generation",
        "gso_max",
        "gso_offload",
        "gso_type",
        "interface_index",
        "ip_header",
        "key",
        "largest_segment",
        "local",
        "local_port",
        "max_segment",
        "mtu",
        "net",
        "offload",
        "on_link",
        "pseudo",
        "remote",
        "remote_port",
        "route",
        "search",
        "tos",
        "ttl",
    )

    def __init__(
        self,
        net: "Internet",
        local: bytes,
        local_port: int,
        remote: bytes,
        remote_port: int,
        interface_index: int = 0,
        key: bytes = b"",
    ) -> None:
        self.net: Internet = net
        #: Straight to the family's layer: `Internet.send` would ask for it with each segment.
        self._ip: Ipv4 | Ipv6 = net.ipv4 if len(remote) == 4 else net.ipv6
        self.local: bytes = local
        self.local_port: int = local_port
        self.remote: bytes = remote
        self.remote_port: int = remote_port
        self.interface_index: int = interface_index
        self.key: bytes = key or make_key(local, local_port, remote, remote_port)
        # As `pseudo_sum`: what is added later makes it positive, so zero's two forms are the same.
        self.pseudo: int = int.from_bytes(remote + local, "big") % 65535 + PROTOCOL
        self.ip_header: int = 20 if len(remote) == 4 else 40
        self.route: Route | None = None
        self.generation: int = -1
        self.mtu: int = 576 if len(remote) == 4 else 1280
        self.max_segment: int = self.mtu - self.ip_header - TCP_HEADER
        self.largest_segment: int = self.max_segment
        self.search: MtuSearch | None = None
        self.gso_type: int = GSO_TCPV4 if len(remote) == 4 else GSO_TCPV6
        self.gso_max: int = 0
        self.offload: Offload = _ONE4 if len(remote) == 4 else _ONE6
        self.gso_offload: Offload = self.offload
        self.tos: int = 0
        self.ttl: int = 0
        self.on_link: bool = False

    def refresh(self, now: int) -> bool:
        """Look the route and the path MTU up again; False if there is no route."""
        net = self.net
        self.generation = net.routes.generation
        if self.on_link and self.ip_header == 20:
            route = net.routes.on_link(self.remote, self.interface_index)
        else:
            route = net.routes.lookup(self.remote, self.interface_index)
        self.route = route
        if route is None:
            self.largest_segment = self.max_segment
            return False
        self.mtu = min(net.shared.path_mtu(self.remote, route, now), MAX_PACKET)
        if self.search is not None and self.search.eff_pmtu < self.mtu:
            self.mtu = self.search.eff_pmtu
        headers = self.ip_header + TCP_HEADER
        self.max_segment = max(self.mtu - headers, MIN_MSS)
        self.largest_segment = max(net.shared.link_mtu(route) - headers, MIN_MSS)
        caps = route.interface.caps
        self.gso_max = caps.train
        if not caps.train and self.gso_type in caps.gso_types:
            self.gso_max = min(caps.gso_max, MAX_PACKET) - self.ip_header
        return True

    def forget(self) -> None:
        """Look everything up again before the next segment."""
        self.generation = -1

    def set_segment_size(self, size: int) -> None:
        """Payload bytes per wire segment inside super-frames."""
        if self.gso_offload.gso_size != size:
            self.gso_offload = Offload(self.ip_header, CHECKSUM_OFFSET, self.gso_type, size)

    def send(
        self,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        up: int,
        options: bytes,
        pieces: tuple[Buffer, ...],
        length: int,
        super_frame: bool,
        ecn: int,
        now: int,
    ) -> bool:
        """Send one segment: raw 32-bit ``seq`` and ``ack``, the window field as it goes out.

        ``length`` is that of ``pieces`` together; ``ecn``: the ECN field of the IP header.
        """
        if self.generation != self.net.routes.generation and not self.refresh(now):
            return False
        route = self.route
        if route is None:
            return False
        header_length = TCP_HEADER + len(options)
        total = self.pseudo + header_length + length
        if length > MAX_PACKET:  # a train: its parts get sums of their own
            total %= 0xFFFF
        header = _pack(
            self.local_port,
            self.remote_port,
            seq,
            ack,
            header_length << 10 | flags,
            wnd,
            (total & 0xFFFF) + (total >> 16),
            up,
        )
        if options:
            header += options
        return self._ip.send(
            route,
            self.local,
            self.remote,
            PROTOCOL,
            (header, *pieces) if length else (header,),
            self.gso_offload if super_frame else self.offload,
            now,
            self.ttl,
            self.tos | ecn,
        )
