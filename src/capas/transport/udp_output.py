# SPDX-License-Identifier: Apache-2.0
"""Sending a datagram: permission, size, checksum, super-datagrams (RFC 768, RFC 1122).

A datagram larger than the path MTU is fragmented unless the socket forbids it (IP_MTU_DISCOVER).
With a segment size (UDP_SEGMENT) a larger send leaves as one super-datagram that the link, or
`capas.link.offload`, cuts.  Units: bytes, packed addresses.
"""

import errno
from typing import Final

from capas.base.checksum import Buffer, pseudo_sum
from capas.base.frame import GSO_UDP_L4, Offload
from capas.errors import os_error
from capas.internet.net import Internet
from capas.internet.route import Route
from capas.transport.datagram_socket import (
    PMTUDISC_DO,
    PMTUDISC_DONT,
    PMTUDISC_PROBE,
    Destination,
)
from capas.transport.udp_socket import UdpSocket
from capas.transport.way import find_way
from capas.wire import address as addr
from capas.wire import udp as wire

MAX_SEGMENTS: Final = 128  # datagrams in one super-datagram, Linux UDP_MAX_SEGMENTS


def send(
    net: Internet, socket: UdpSocket, data: Buffer, now: int, to: Destination, held: bool = False
) -> int:
    """Send one datagram (or super-datagram); the number of payload bytes."""
    dst = to.address
    size = len(data)
    if to.port == 0:
        raise os_error(errno.EINVAL)
    options = socket.options
    if size > (wire.MAX_PAYLOAD4 if len(dst) == 4 else wire.MAX_PAYLOAD6):
        raise os_error(errno.EMSGSIZE)
    route, source = find_way(net, socket, to)
    if not held:  # what was corked was checked with its first part (Linux)
        socket.check_sending()
    header = wire.HEADER_SIZE + (20 if len(dst) == 4 else 40)
    mtu = net.path_mtu(dst, route, now)
    segment = to.segment or options.segment
    if segment and size > segment:
        if segment + header > mtu or size > segment * MAX_SEGMENTS:
            raise os_error(errno.EINVAL)
        if size + header > route.gso_max:
            view = memoryview(data)
            room = max(1, min(65_000, route.gso_max - header) // segment) * segment
            for i in range(0, size, room):
                _emit(net, socket, view[i : i + room], route, source, to, segment, mtu, now)
            return size
    else:
        segment = 0
    discover = options.pmtu_discover
    never = discover == PMTUDISC_DO or (options.dont_fragment and len(dst) == 16)
    if size + header > mtu and never:
        raise os_error(errno.EMSGSIZE)
    if discover == PMTUDISC_PROBE:
        mtu = route.interface.mtu
        if size + header > mtu:
            raise os_error(errno.EMSGSIZE)
    _emit(net, socket, data, route, source, to, segment, mtu, now)
    return size


def _emit(
    net: Internet,
    socket: UdpSocket,
    data: Buffer,
    route: Route,
    source: bytes,
    to: Destination,
    segment: int,
    mtu: int,
    now: int,
) -> None:
    dst = to.address
    options = socket.options
    length = wire.HEADER_SIZE + len(data)
    packet = length + (20 if len(dst) == 4 else 40)
    whole = packet <= mtu or (segment > 0 and len(data) > segment)
    offload: Offload | None = None
    if options.no_check_tx:
        head = wire.HEADER.pack(socket.port, to.port, length, 0)
    elif whole:
        start = pseudo_sum(source, dst, wire.PROTOCOL, length)
        head = wire.HEADER.pack(socket.port, to.port, length, start)
        offload = Offload(0, wire.CSUM_OFFSET)
        if segment and len(data) > segment:
            offload.gso_type = GSO_UDP_L4
            offload.gso_size = segment
    else:
        head = wire.build(source, dst, socket.port, to.port, data)
    multicast = addr.is_multicast(dst)
    ttl = to.ttl or (options.multicast_hops if multicast else options.ttl)
    sent = net.send(
        route,
        source,
        dst,
        wire.PROTOCOL,
        (head, data),
        offload,
        now,
        ttl,
        options.tos if to.tos < 0 else to.tos,
        whole and options.pmtu_discover != PMTUDISC_DONT,
        options.multicast_loop,
    )
    net.shared.counters.add("udp.sent" if sent else "udp.not_sent")
