# SPDX-License-Identifier: Apache-2.0
"""The internet layer put together: `build` makes it, `InternetStack.attach` takes interfaces.

The one place that knows how the parts of this folder are wired.  The loopback is an interface like
any other, recognised by its medium.
"""

from typing import final

from capas.base.clock import NEVER, Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters, Tracer
from capas.base.rng import Rng
from capas.internet.addresses import Addresses
from capas.internet.icmp import Icmp
from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.multicast import Multicast
from capas.internet.net import Internet
from capas.internet.route import METRIC_CONNECTED, METRIC_LOCAL, ORIGIN_CONNECTED, Route
from capas.internet.shared import Shared
from capas.link.interface import PREFERRED, Interface, InterfaceAddress
from capas.link.link import Medium
from capas.wire import icmp as wire
from capas.wire import ipv4 as wire4
from capas.wire import ipv6 as wire6
from capas.wire.address import BROADCAST4, LINK_LOCAL_PREFIX6, LOOPBACK4, LOOPBACK6, Prefix


@final
class InternetStack:
    """The internet layer of one host, all parts."""

    __slots__ = ("addresses", "icmp", "ipv4", "ipv6", "multicast", "net", "shared")

    def __init__(self, shared: Shared) -> None:
        self.shared: Shared = shared
        self.ipv4: Ipv4 = Ipv4(shared)
        self.ipv6: Ipv6 = Ipv6(shared)
        self.icmp: Icmp = Icmp(shared, self.ipv4, self.ipv6)
        self.multicast: Multicast = Multicast(shared, self.ipv4, self.ipv6)
        self.addresses: Addresses = Addresses(shared)
        self.net: Internet = Internet(
            shared, self.ipv4, self.ipv6, self.icmp, self.multicast, self.addresses
        )
        for kind in (wire.MLD_QUERY, wire.MLD_REPORT, wire.MLD_DONE, wire.MLD2_REPORT):
            self.icmp.handlers6[kind] = self.multicast

    def attach(self, interface: Interface, now: int) -> None:
        """Take an interface in: handlers, multicast and link-local routes, link-local address.

        A loopback gets 127.0.0.1/8 and ::1/128.
        """
        shared = self.shared
        shared.interfaces.append(interface)
        interface.handlers[wire4.ETHERTYPE] = self.ipv4
        interface.handlers[wire6.ETHERTYPE] = self.ipv6
        interface.unreachable = self.icmp.unreachable
        routes = shared.routes
        if interface.caps.medium is Medium.LOOPBACK:
            self.addresses.loopback_attached(interface)
            for address, length in ((LOOPBACK4, 8), (LOOPBACK6, 128)):
                self.addresses.add(interface, InterfaceAddress(address, length))
            routes.add(
                Route(
                    Prefix(LOOPBACK6, 128),
                    interface,
                    metric=METRIC_LOCAL,
                    source=LOOPBACK6,
                    origin=ORIGIN_CONNECTED,
                )
            )
            return
        for prefix in (
            Prefix(BROADCAST4, 32),
            Prefix(b"\xe0\0\0\0", 4),
            Prefix(b"\xff" + bytes(15), 8),
            Prefix(LINK_LOCAL_PREFIX6 + bytes(8), 64),
        ):
            routes.add(Route(prefix, interface, metric=METRIC_CONNECTED, origin=ORIGIN_CONNECTED))

    def add_address(
        self,
        interface: Interface,
        address: bytes,
        prefix_length: int,
        now: int,
        origin: str = "static",
        valid_until: int = NEVER,
        preferred_until: int = NEVER,
    ) -> InterfaceAddress:
        """Give an interface an address."""
        own = InterfaceAddress(
            address, prefix_length, PREFERRED, valid_until, preferred_until, origin
        )
        self.addresses.add(interface, own)
        return own

    def remove_address(self, interface: Interface, address: bytes, now: int) -> bool:
        """Take an address away; False if it was not there."""
        return self.addresses.remove(interface, address) is not None

    def set_trace(self, trace: Tracer | None) -> None:
        """Tell decisions and drops of this layer to ``trace``."""
        self.shared.trace = trace


def build(config: HostConfig, counters: Counters, scheduler: Scheduler, rng: Rng) -> InternetStack:
    """The internet layer of a host without interfaces yet."""
    return InternetStack(Shared(config, counters, scheduler, rng.stream("internet")))
