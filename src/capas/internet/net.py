# SPDX-License-Identifier: Apache-2.0
"""`Internet`: the family-neutral front of the internet layer that transports and sockets use.

The length of an address says its family; everything here dispatches on it.
"""

from typing import final

from capas.base.checksum import Buffer
from capas.base.frame import Frame, Offload
from capas.internet import source
from capas.internet.addresses import Addresses
from capas.internet.icmp import Icmp
from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.multicast import Multicast
from capas.internet.route import Route, RouteTable
from capas.internet.shared import BROADCAST, UNICAST, Shared
from capas.internet.types import UNREACHABLE_PORT, TransportHandler
from capas.link.interface import DEPRECATED, TENTATIVE, Interface
from capas.wire.address import is_loopback


@final
class Internet:
    """The internet layer of one host, as its users see it."""

    __slots__ = (
        "addresses",
        "icmp",
        "ipv4",
        "ipv6",
        "multicast",
        "policy",
        "routes",
        "shared",
    )

    def __init__(
        self,
        shared: Shared,
        ipv4: Ipv4,
        ipv6: Ipv6,
        icmp: Icmp,
        multicast: Multicast,
        addresses: Addresses,
    ) -> None:
        self.shared: Shared = shared
        self.routes: RouteTable = shared.routes
        self.ipv4: Ipv4 = ipv4
        self.ipv6: Ipv6 = ipv6
        self.icmp: Icmp = icmp
        self.multicast: Multicast = multicast
        self.addresses: Addresses = addresses
        self.policy: source.Policy = source.POLICY

    def register(self, protocol: int, handler: TransportHandler) -> None:
        """Make ``handler`` the receiver of a transport protocol over both families."""
        self.ipv4.protocols[protocol] = handler
        self.ipv6.protocols[protocol] = handler

    # -- questions --------------------------------------------------------------------------------

    def route(self, dst: bytes, interface_index: int = 0, on_link: bool = False) -> Route | None:
        """The best route to ``dst``, optionally by one interface only, or to neighbours only.

        ``on_link`` is of IPv4 alone, as in Linux.
        """
        if on_link and len(dst) == 4:
            return self.routes.on_link(dst, interface_index)
        return self.routes.lookup(dst, interface_index)

    def source(self, dst: bytes, route: Route, prefer: int = 0) -> bytes | None:
        """The address to send from (RFC 6724 for IPv6); None if there is none."""
        return source.select(self.shared, dst, route, self.policy, prefer)

    def path_mtu(self, dst: bytes, route: Route, now: int) -> int:
        """The largest IP packet for ``dst``, bytes with its header."""
        return self.shared.path_mtu(dst, route, now)

    def is_local(self, address: bytes, interface: Interface | None = None) -> bool:
        """Whether ``address`` is a unicast address of ours that works (not TENTATIVE)."""
        if interface is not None:
            return any(
                own.address == address and own.state != TENTATIVE for own in interface.addresses
            )
        return self.shared.local.get(address) == UNICAST or (
            is_loopback(address) and self.shared.loopback is not None
        )

    def is_broadcast(self, address: bytes) -> bool:
        """Whether ``address`` is the limited broadcast or one of our links'."""
        return self.shared.local.get(address) == BROADCAST

    def interface(self, index: int) -> Interface | None:
        """The interface with that index."""
        return next((i for i in self.shared.interfaces if i.index == index), None)

    def order(self, destinations: list[bytes]) -> list[bytes]:
        """Destinations of both families, best first (RFC 6724 §6): for getaddrinfo."""
        return source.order(destinations, self._source_of, self._deprecated, self.policy)

    def _source_of(self, dst: bytes) -> bytes | None:
        route = self.routes.lookup(dst)
        return None if route is None else self.source(dst, route)

    def _deprecated(self, address: bytes) -> bool:
        found = self.addresses.find(address)
        return found is not None and found[1].state == DEPRECATED

    # -- sending ----------------------------------------------------------------------------------

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
        loop: bool = True,
        flow_label: int = 0,
    ) -> bool:
        """Send a transport packet by `Ipv4.send` or `Ipv6.send`."""
        if len(dst) == 4:
            return self.ipv4.send(
                route, src, dst, protocol, pieces, offload, now, ttl, tos, df, b"", loop
            )
        return self.ipv6.send(
            route, src, dst, protocol, pieces, offload, now, ttl, tos, df, b"", loop, flow_label
        )

    def send_icmp_port_unreachable(
        self, interface: Interface, frame: Frame, l3: int, now: int
    ) -> None:
        """Nobody listens where the packet at ``frame.data[l3:]`` goes (RFC 1122 §3.2.2.1)."""
        self.icmp.error(interface, frame, l3, UNREACHABLE_PORT, now)

    def confirm(self, route: Route, dst: bytes, now: int) -> None:
        """Upper-layer progress: the next hop is reachable (RFC 4861 §7.3.1)."""
        hop = route.gateway or dst
        interface = route.interface
        if interface.ethernet:
            (interface.neighbors4 if len(hop) == 4 else interface.neighbors6).confirm(hop, now)

    # -- multicast --------------------------------------------------------------------------------

    def join(self, group: bytes, interface: Interface, now: int) -> None:
        """Listen to a group on an interface; raises OSError when the limit is reached."""
        self.multicast.join(interface, group, now)

    def leave(self, group: bytes, interface: Interface, now: int) -> None:
        """Stop listening; raises OSError(EADDRNOTAVAIL) if not a member."""
        self.multicast.leave(interface, group, now)
