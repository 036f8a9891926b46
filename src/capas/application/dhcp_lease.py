# SPDX-License-Identifier: Apache-2.0
"""What a DHCP server gave: checked, and put on a host or taken away again (RFC 2131, RFC 2132).

A lease is plain data.  `lease_of` reads one from an offer or acknowledgement and refuses what no
host should take; `assign` and `remove` are the only places that change the host.  Times are seconds
of the event loop's clock.
"""

import math
from dataclasses import dataclass
from typing import Final

from capas.base.clock import NEVER, SECOND
from capas.host.host import Host
from capas.internet.route import METRIC_DEFAULT, ORIGIN_DHCP, Route
from capas.link.interface import Interface
from capas.wire import dhcp4
from capas.wire.address import ANY4, Prefix, is_loopback, is_multicast, text
from capas.wire.dhcp4 import Dhcp

MAX_ROUTES: Final = 32  # of one lease; more are counted and not taken
MAX_NAMESERVERS: Final = 8
MAX_ROUTERS: Final = 4
MIN_MTU: Final = 576  # bytes, RFC 2132 §5.1 allows 68; RFC 1122 §3.3.3: what all hosts take


@dataclass(frozen=True, slots=True)
class Lease:
    """An address and what goes with it; ``until`` is infinite for a lease for ever."""

    address: bytes
    length: int
    server: bytes
    until: float
    renew_at: float  # T1
    rebind_at: float  # T2
    routers: tuple[bytes, ...] = ()
    routes: tuple[tuple[Prefix, bytes], ...] = ()  # RFC 3442; then ``routers`` do not count
    nameservers: tuple[bytes, ...] = ()
    domain: str = ""
    mtu: int = 0

    def __str__(self) -> str:
        return f"{text(self.address)}/{self.length} from {text(self.server)}"


def is_host(address: bytes) -> bool:
    """Whether an IPv4 address can be one host's."""
    return bool(
        address
        and address != ANY4
        and address[0] < 240
        and not is_multicast(address)
        and not is_loopback(address)
    )


def lease_of(message: Dhcp, asked_at: float) -> Lease | None:
    """The lease of an OFFER or ACK to what was asked at ``asked_at``; None if it is none.

    RFC 2131 §4.4.5: lease times count from when the request was sent.
    """
    server = message.address(dhcp4.SERVER)
    address = message.yours
    seconds = message.number(dhcp4.LEASE, 4)
    if not is_host(address) or not is_host(server) or seconds <= 0:
        return None
    length = message.prefix_length()
    if length < 0:
        length = 8 if address[0] < 128 else 16 if address[0] < 192 else 24  # its class
    prefix = Prefix(address, length)
    if length < 31 and address in (prefix.address, prefix.broadcast()):
        return None
    lasts = math.inf if seconds == dhcp4.INFINITE else float(seconds)
    t1 = float(message.number(dhcp4.RENEWAL, 4))
    t2 = float(message.number(dhcp4.REBINDING, 4))
    if not 0 < t1 < t2 < lasts:
        t1, t2 = lasts * 0.5, lasts * 0.875
    mtu = message.number(dhcp4.MTU, 2)
    domain = message.text(dhcp4.DOMAIN).strip(".").lower()
    return Lease(
        address,
        length,
        server,
        asked_at + lasts,
        asked_at + t1,
        asked_at + t2,
        tuple(r for r in message.addresses(dhcp4.ROUTERS) if is_host(r))[:MAX_ROUTERS],
        message.routes()[:MAX_ROUTES],
        tuple(n for n in message.addresses(dhcp4.NAMESERVERS) if is_host(n))[:MAX_NAMESERVERS],
        domain if all(0 < len(label) < 64 for label in domain.split(".")) else "",
        mtu if mtu >= MIN_MTU else 0,
    )


def assign(host: Host, interface: Interface, lease: Lease) -> None:
    """Routes, name servers and search domain; the address itself is the interface's already."""
    remove_rest(host, interface)
    routes = host.net.routes
    near = Prefix(lease.address, lease.length)
    wanted = lease.routes or tuple((Prefix(ANY4, 0), router) for router in lease.routers)
    for rank, (prefix, gateway) in enumerate(wanted):
        # several routers are in order of preference (RFC 2132 §3.5)
        metric = METRIC_DEFAULT + (0 if lease.routes else rank)
        via = gateway if gateway != ANY4 else None
        if via is not None and not near.contains(via):
            alone = Route(Prefix(via, 32), interface, None, metric, origin=ORIGIN_DHCP)
            routes.add(alone)  # a router outside the prefix is on the link all the same
        routes.add(
            Route(prefix, interface, via, metric, lease.address, lease.mtu, origin=ORIGIN_DHCP)
        )
    for route in routes.of(near):
        if route.interface is interface:
            route.mtu = lease.mtu
    routes.changed()
    host.learn_nameservers(f"dhcp:{interface.name}", lease.nameservers)
    if lease.domain and lease.domain not in host.search:
        host.search.append(lease.domain)


def extend(interface: Interface, lease: Lease, now: int, seconds: float) -> None:
    """The address is valid for ``seconds`` from ``now`` (ns) on."""
    for own in interface.addresses:
        if own.address == lease.address:
            own.valid_until = NEVER if math.isinf(seconds) else now + int(seconds * SECOND)
            own.preferred_until = own.valid_until


def remove_rest(host: Host, interface: Interface) -> None:
    """Undo `assign`."""
    routes = host.net.routes
    for route in list(routes):
        if route.origin == ORIGIN_DHCP and route.interface is interface:
            routes.discard(route)
    host.learn_nameservers(f"dhcp:{interface.name}", ())


def remove(host: Host, interface: Interface, lease: Lease, now: int) -> None:
    """The lease is over: nothing of it is left, connections of its address die with it."""
    remove_rest(host, interface)
    if lease.domain in host.search:
        host.search.remove(lease.domain)
    host.stack.remove_address(interface, lease.address, now)
