# SPDX-License-Identifier: Apache-2.0
"""Which way a datagram goes and from which address (RFC 1122 §3.3.4, RFC 6724)."""

import errno

from capas.errors import os_error
from capas.internet.net import Internet
from capas.internet.route import Route
from capas.link.interface import TENTATIVE, Interface
from capas.transport.datagram_socket import DatagramSocket, Destination
from capas.wire import address as addr


def find_way(net: Internet, socket: DatagramSocket, to: Destination) -> tuple[Route, bytes]:
    """(route, source address) of a datagram; OSError ENETUNREACH, EADDRNOTAVAIL, EACCES."""
    dst = to.address
    options = socket.options
    if to.source and not net.is_local(to.source):  # IP_PKTINFO, IPV6_PKTINFO
        raise os_error(errno.ENETUNREACH if len(dst) == 4 else errno.EINVAL)
    if to.interface and net.interface(to.interface) is None:
        raise os_error(errno.ENODEV)
    index = to.interface or to.scope or options.device
    multicast = addr.is_multicast(dst)
    if not index:
        index = options.multicast_interface if multicast else options.unicast_interface
    local = to.source or socket.local
    if len(local) != len(dst) or not sends_from(net, local):
        local = b""
    if len(local) == 4 and not options.transparent and not net.is_local(local):
        raise os_error(errno.ENETUNREACH)  # IP_FREEBIND binds, and sends only once it is ours
    route = net.route(dst, index, options.dont_route or to.on_link)
    if multicast or dst == addr.BROADCAST4:
        found = _link_of(net, index, local)
        if found is not None and (index or route is None):
            route = Route(addr.Prefix(dst, len(dst) * 8), found)
    if route is None:
        raise os_error(errno.ENETUNREACH)
    source = local or net.source(dst, route, options.prefer_source)
    if dst == addr.BROADCAST4 and not local and (index or source is None):
        own = [a.address for a in route.interface.addresses if a.state != TENTATIVE]
        if not any(len(address) == 4 for address in own):
            source = addr.ANY4  # a host that asks for its address, RFC 1122 §3.2.1.3 (a)
    if source is None:
        raise os_error(errno.EADDRNOTAVAIL)
    if len(dst) == 4 and route.interface.is_broadcast(dst) and not options.broadcast:
        raise os_error(errno.EACCES)
    return route, source


def sends_from(net: Internet, local: bytes) -> bool:
    """Whether an address one can be bound to is one to send from."""
    return not (addr.is_unspecified(local) or addr.is_multicast(local) or net.is_broadcast(local))


def is_own(net: Internet, address: bytes) -> bool:
    """Whether a socket may be bound to ``address``: one of ours, a group, a broadcast, or any."""
    return not sends_from(net, address) or net.is_local(address)


def may_bind(net: Internet, socket: DatagramSocket, address: bytes) -> bool:
    """As `is_own`, and with IP_FREEBIND or IP_TRANSPARENT any that nobody has yet."""
    options = socket.options
    return options.free_bind or options.transparent or is_own(net, address)


def connecting(
    net: Internet, socket: DatagramSocket, address: bytes, port: int, scope: int
) -> tuple[bytes, bytes]:
    """(local, remote address) of a socket that is connected to ``address``; OSError."""
    local = socket.local
    if addr.is_unspecified(address):
        address = addr.oneself(address, local)
    _, source = find_way(net, socket, Destination(address, port, scope))
    return local if sends_from(net, local) else source, address


def _link_of(net: Internet, index: int, local: bytes) -> Interface | None:
    """The interface a multicast or limited broadcast leaves by: the chosen one, or its owner."""
    for interface in net.shared.interfaces:
        if index:
            if interface.index == index:
                return interface
        elif local and any(own.address == local for own in interface.addresses):
            return interface
    return None
