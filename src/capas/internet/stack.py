# SPDX-License-Identifier: Apache-2.0
"""The internet layer put together: `build` makes it, `InternetStack.attach` takes interfaces.

The one place that knows how the parts of this folder are wired.  The loopback is an interface like
any other, recognised by its medium.
"""

from typing import Final, final

from capas.base.clock import NEVER, Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters, Tracer
from capas.base.memory import Memory
from capas.base.rng import Rng
from capas.internet.addresses import Addresses
from capas.internet.icmp import Icmp
from capas.internet.ipv4 import Ipv4
from capas.internet.ipv6 import Ipv6
from capas.internet.multicast import Multicast
from capas.internet.nd import TYPES, Nd
from capas.internet.net import Internet
from capas.internet.redirect import Redirects
from capas.internet.route import METRIC_CONNECTED, ORIGIN_CONNECTED, Route
from capas.internet.shared import Shared
from capas.link.interface import PREFERRED, TENTATIVE, Interface, InterfaceAddress
from capas.link.link import Medium
from capas.wire import icmp as wire
from capas.wire import ipv4 as wire4
from capas.wire import ipv6 as wire6
from capas.wire.address import BROADCAST4, LINK_LOCAL_PREFIX6, Prefix

#: Limited broadcast, multicast of both families, link-local addresses.
_ON_EVERY_LINK: Final = (
    Prefix(BROADCAST4, 32),
    Prefix(b"\xe0\0\0\0", 4),
    Prefix(b"\xff" + bytes(15), 8),
    Prefix(LINK_LOCAL_PREFIX6 + bytes(8), 64),
)


@final
class _ArpWatch:
    """What ARP finds out about the IPv4 addresses of one interface (RFC 5227)."""

    __slots__ = ("_interface", "_stack")

    def __init__(self, stack: "InternetStack", interface: Interface) -> None:
        self._stack: InternetStack = stack
        self._interface: Interface = interface

    def assigned(self, own: InterfaceAddress, now: int) -> None:
        """Nobody answered the probes."""
        self._stack.addresses.assigned(self._interface, own)
        if own.settled is not None:
            own.settled(True)

    def conflict(self, own: InterfaceAddress, now: int) -> None:
        """Another station has the address: a TENTATIVE one is given up."""
        stack = self._stack
        if own.state == TENTATIVE:
            stack.remove_address(self._interface, own.address, now)
            if own.settled is not None:
                own.settled(False)
        if stack.nd.conflict is not None:
            stack.nd.conflict(self._interface, own, now)


@final
class InternetStack:
    """The internet layer of one host, all parts."""

    __slots__ = (
        "addresses",
        "icmp",
        "ipv4",
        "ipv6",
        "multicast",
        "nd",
        "net",
        "redirects",
        "shared",
    )

    def __init__(self, shared: Shared) -> None:
        self.shared: Shared = shared
        self.ipv4: Ipv4 = Ipv4(shared)
        self.ipv6: Ipv6 = Ipv6(shared)
        self.icmp: Icmp = Icmp(shared, self.ipv4, self.ipv6)
        self.multicast: Multicast = Multicast(shared, self.ipv4, self.ipv6)
        self.addresses: Addresses = Addresses(shared)
        self.redirects: Redirects = Redirects(shared, self.ipv4, self.icmp.errors_out)
        self.nd: Nd = Nd(shared, self.ipv6, self.addresses, self.multicast, self.redirects)
        self.net: Internet = Internet(
            shared, self.ipv4, self.ipv6, self.icmp, self.multicast, self.addresses
        )
        for kind in (wire.MLD_QUERY, wire.MLD_REPORT, wire.MLD_DONE, wire.MLD2_REPORT):
            self.icmp.handlers6[kind] = self.multicast
        for kind in TYPES:
            self.icmp.handlers6[kind] = self.nd
        self.ipv4.redirects = self.ipv6.redirects = self.redirects
        self.icmp.errors_in.redirects = self.redirects

    def attach(self, interface: Interface, now: int) -> None:
        """Take an interface in: handlers, multicast and link-local routes, link-local address.

        The addresses of a loopback are the host's to add (127.0.0.1/8, ::1/128).
        """
        shared = self.shared
        shared.interfaces.append(interface)
        interface.handlers[wire4.ETHERTYPE] = self.ipv4
        interface.handlers[wire6.ETHERTYPE] = self.ipv6
        interface.unreachable = self.icmp.unreachable
        routes = shared.routes
        if interface.caps.medium is Medium.LOOPBACK:
            self.addresses.loopback_attached(interface)
            return
        for prefix in _ON_EVERY_LINK:
            routes.add(Route(prefix, interface, metric=METRIC_CONNECTED, origin=ORIGIN_CONNECTED))
        watch = _ArpWatch(self, interface)
        interface.arp.assigned = watch.assigned
        interface.arp.conflict = watch.conflict
        interface.neighbors4.failed = self.redirects.gateway_failed
        self.nd.attach(interface, now)

    def add_address(
        self,
        interface: Interface,
        address: bytes,
        prefix_length: int,
        now: int,
        origin: str = "static",
        valid_until: int = NEVER,
        preferred_until: int = NEVER,
        probes: int = 0,
    ) -> InterfaceAddress:
        """Give an interface an address; over Ethernet an IPv6 one is TENTATIVE during DAD.

        An IPv4 one is while it is probed for: ``config.arp_probes`` times, or ``probes`` if more.
        """
        own = InterfaceAddress(
            address, prefix_length, PREFERRED, valid_until, preferred_until, origin
        )
        if len(address) == 16:
            self.nd.add(interface, own, now)
        else:
            interface.arp.address_added(
                own, now, probes
            )  # with probes it is TENTATIVE from here on
            self.addresses.add(interface, own)
        return own

    def remove_address(self, interface: Interface, address: bytes, now: int) -> bool:
        """Take an address away; False if it was not there."""
        if len(address) == 16:
            return self.nd.remove(interface, address, now) is not None
        interface.arp.address_removed(address)
        return self.addresses.remove(interface, address) is not None

    def link_changed(self, interface: Interface, now: int) -> None:
        """The interface went up or down: cached routes are looked at again, and on the way up the
        network is told and asked anew (RFC 4861 §6.3.7, RFC 5227 §2.3).
        """
        self.shared.routes.changed()
        if not interface.up or not interface.ethernet:
            return
        for own in interface.addresses:
            if len(own.address) == 4 and own.state != TENTATIVE:
                interface.arp.announce(own.address, now)
        self.multicast.report_all(interface, now)
        config = self.shared.config
        autoconf = self.nd.autoconf.get(interface.index)
        if autoconf is not None and config.accept_ra and not config.forwarding:
            autoconf.start(now)

    def set_trace(self, trace: Tracer | None) -> None:
        """Tell decisions and drops of this layer to ``trace``."""
        self.shared.trace = trace


def build(
    config: HostConfig,
    counters: Counters,
    scheduler: Scheduler,
    rng: Rng,
    memory: Memory | None = None,
) -> InternetStack:
    """The internet layer of a host without interfaces yet."""
    return InternetStack(Shared(config, counters, scheduler, rng.stream("internet"), memory))
