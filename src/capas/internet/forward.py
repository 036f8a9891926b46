# SPDX-License-Identifier: Apache-2.0
"""Forwarding, both families (RFC 1812 §5.2-5.3, RFC 8200 §3, RFC 4443 §3).

A super-frame is forwarded whole; whether it fits is asked of its wire segments.  The payload is
copied once, by `Interface.send`; only the TTL and the checksum of the header are new (RFC 1624).
A plain decision is remembered (`shortcut`) for the packets of the flow that follow.
"""

from typing import TYPE_CHECKING, Final

from capas.base.checksum import pseudo_sum, update
from capas.base.frame import CSUM_PARTIAL, GSO_UDP_L4, Frame, Offload
from capas.internet import options4
from capas.internet.extension import hop_by_hop_ok
from capas.internet.fragment import fragments4
from capas.internet.route import Route
from capas.internet.shortcut import remember
from capas.internet.types import (
    PACKET_TOO_BIG,
    SCOPE,
    TIME_EXCEEDED,
    UNREACHABLE_NET,
)
from capas.link import offload as software
from capas.link.interface import Interface
from capas.wire import ipv4 as wire4
from capas.wire import ipv6 as wire6
from capas.wire.address import is_link_local, is_loopback, is_multicast, is_unspecified

if TYPE_CHECKING:
    from capas.internet.ipv4 import Ipv4
    from capas.internet.ipv6 import Ipv6

_FRAGMENT: Final = 0x3FFF  # MF or an offset


def facts(frame: Frame, l3: int) -> Offload | None:
    """The offload request that keeps a received frame's facts, for `Interface.send`."""
    if frame.csum == CSUM_PARTIAL:
        return Offload(frame.csum_start - l3, frame.csum_offset, frame.gso_type, frame.gso_size)
    return None


def partial(frame: Frame, l3: int, l4: int, end: int) -> Frame:
    """A super-frame in the CSUM_PARTIAL form links want; other frames as they are.

    Frames merged by a receiver carry finished checksums; their segments' can only be computed if
    the field holds the pseudo-header sum.
    """
    if frame.gso_size == 0 or frame.csum == CSUM_PARTIAL:
        return frame
    data = frame.data
    udp = frame.gso_type == GSO_UDP_L4
    protocol, offset = (17, 6) if udp else (6, 16)
    if data[l3] >> 4 == 4:
        src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
    else:
        src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
    value = pseudo_sum(src, dst, protocol, end - l4)
    at = l4 + offset
    out = frame.with_data(data[:at] + value.to_bytes(2, "big") + data[at + 2 :])
    out.csum = CSUM_PARTIAL
    out.csum_start = l4
    out.csum_offset = offset
    return out


def forward4(ip: "Ipv4", interface: Interface, frame: Frame, l3: int, now: int) -> None:
    """Forward an IPv4 packet whose header has been checked and whose destination is not ours."""
    shared = ip.shared
    data = frame.data
    src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
    if interface.is_group_frame(frame):
        shared.drop(now, "ipv4.forward_broadcast", "RFC 1812 §5.3.4")
        return
    if is_link_local(src) or is_link_local(dst) or is_unspecified(src):
        shared.drop(now, "ipv4.forward_link_local", "RFC 3927 §7")
        return
    errors = ip.errors
    ttl = data[l3 + 8]
    if ttl <= 1:
        shared.drop(now, "ipv4.ttl_exceeded", "RFC 1812 §5.3.1")
        if errors is not None:
            errors.error(interface, frame, l3, TIME_EXCEEDED, now)
        return
    route = shared.routes.lookup(dst)
    if route is None or route.interface is shared.loopback:
        shared.drop(now, "ipv4.no_route", "RFC 1812 §5.2.7.1")
        if errors is not None:
            errors.error(interface, frame, l3, UNREACHABLE_NET, now)
        return
    header = (data[l3] & 15) * 4
    if header != 20:
        changed = options4.forwarding(ip, interface, route, frame, l3, header, now)
        if changed is None:
            return
        frame, data = changed, changed.data
    end = l3 + (data[l3 + 2] << 8 | data[l3 + 3])
    out = route.interface
    mtu = route.mtu if route.mtu and route.mtu < out.mtu else out.mtu
    l4 = l3 + header
    frag = data[l3 + 6] << 8 | data[l3 + 7]
    old = data[l3 + 10] << 8 | data[l3 + 11]
    protocol = data[l3 + 9]
    checksum = update(old, ttl << 8 | protocol, ttl - 1 << 8 | protocol)
    patch = bytes((ttl - 1, protocol)) + checksum.to_bytes(2, "big")
    if end - l3 > mtu and software.wire_length(frame, l3, l4, end) > mtu:
        if frag & wire4.DF:
            shared.drop(now, "ipv4.forward_too_big", "RFC 1191 §4")
            if errors is not None:
                errors.error(interface, frame, l3, PACKET_TOO_BIG, now, mtu)
            return
        _forward_fragments(ip, route, frame, l3, patch, mtu, now)
        return
    atomic = frag & _FRAGMENT == 0 and data[l3 + 4 : l3 + 6] == b"\0\0"
    head = data[l3 : l3 + 8] + patch + data[l3 + 12 : l4]
    plain = atomic and header == 20 and ip.nat is None
    _pass_on(ip, interface, frame, l3, end, head, route, mtu, plain, now)


def _forward_fragments(
    ip: "Ipv4", route: Route, frame: Frame, l3: int, patch: bytes, mtu: int, now: int
) -> None:
    """Fragment a packet on its way (RFC 1812 §5.2.6); a super-frame's segments each."""
    if frame.gso_size:
        data = frame.data
        header = (data[l3] & 15) * 4
        end = l3 + (data[l3 + 2] << 8 | data[l3 + 3])
        frames = software.split(partial(frame, l3, l3 + header, end), l3)
    else:
        frames = [frame]
    for one in frames:
        if one.csum == CSUM_PARTIAL:
            one = software.complete(one)
        data = one.data
        header = (data[l3] & 15) * 4
        end = l3 + (data[l3 + 2] << 8 | data[l3 + 3])
        head = data[l3 : l3 + 8] + patch[:2] + b"\0\0" + data[l3 + 12 : l3 + header]
        packets = fragments4(head, memoryview(data)[l3 + header : end], mtu)
        if not packets:
            ip.shared.drop(now, "ipv4.fragment_failed", "RFC 791 §3.2")
            return
        next_hop = route.gateway or data[l3 + 16 : l3 + 20]
        for new, piece in packets:
            route.interface.send(next_hop, wire4.ETHERTYPE, (new, piece), None, now)
        ip.shared.counters.add("ipv4.forwarded")
        ip.shared.counters.add("ipv4.fragments_sent", len(packets))


def forward6(ip: "Ipv6", interface: Interface, frame: Frame, l3: int, now: int) -> None:
    """Forward an IPv6 packet whose header has been checked and whose destination is not ours."""
    shared = ip.shared
    data = frame.data
    length, next_header, hops = data[l3 + 4] << 8 | data[l3 + 5], data[l3 + 6], data[l3 + 7]
    src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
    if interface.is_group_frame(frame):
        shared.drop(now, "ipv6.forward_broadcast", "RFC 4291 §2.7")
        return
    if is_unspecified(src) or is_loopback(src) or is_multicast(src) or is_link_local(dst):
        shared.drop(now, "ipv6.forward_martian", "RFC 4291 §2.5.2")
        return
    errors = ip.errors
    if next_header == wire6.HOP_BY_HOP and not hop_by_hop_ok(ip, interface, frame, l3, now):
        return
    if hops <= 1:
        shared.drop(now, "ipv6.hop_limit_exceeded", "RFC 8200 §3")
        if errors is not None:
            errors.error(interface, frame, l3, TIME_EXCEEDED, now)
        return
    route = shared.routes.lookup(dst)
    if route is None or route.interface is shared.loopback:
        shared.drop(now, "ipv6.no_route", "RFC 4443 §3.1")
        if errors is not None:
            errors.error(interface, frame, l3, UNREACHABLE_NET, now)
        return
    out = route.interface
    if is_link_local(src) and out is not interface:
        shared.drop(now, "ipv6.forward_link_local", "RFC 4291 §2.5.6")
        if errors is not None:
            errors.error(interface, frame, l3, SCOPE, now)
        return
    end = l3 + 40 + length
    mtu = shared.link_mtu(route)
    l4 = frame.csum_start if frame.csum == CSUM_PARTIAL else l3 + 40
    if end - l3 > mtu and software.wire_length(frame, l3, l4, end) > mtu:
        shared.drop(now, "ipv6.forward_too_big", "RFC 4443 §3.2")
        if errors is not None:
            errors.error(interface, frame, l3, PACKET_TOO_BIG, now, mtu)
        return
    head = b"".join((data[l3 : l3 + 7], bytes((hops - 1,)), src, dst))
    plain = next_header != wire6.HOP_BY_HOP
    _pass_on(ip, interface, frame, l3, end, head, route, mtu, plain, now)


def _pass_on(
    ip: "Ipv4 | Ipv6",
    interface: Interface,
    frame: Frame,
    l3: int,
    end: int,
    head: bytes,
    route: Route,
    mtu: int,
    plain: bool,
    now: int,
) -> None:
    """Send a packet on with its new IP header; what is ``plain`` may be remembered."""
    out = route.interface
    if head[0] >> 4 == 6:
        src, dst, name, ethertype = head[8:24], head[24:], "ipv6.forwarded", wire6.ETHERTYPE
    else:
        src, dst, name, ethertype = head[12:16], head[16:20], "ipv4.forwarded", wire4.ETHERTYPE
    if out is interface and route.gateway != src and ip.redirects is not None:
        ip.redirects.redirect(interface, frame, l3, route, now)
    ip.shared.counters.add(name)
    start = l3 + len(head)
    if frame.gso_size and frame.csum != CSUM_PARTIAL:
        frame = partial(frame, l3, start, end)
    next_hop = route.gateway or dst
    rest = memoryview(frame.data)[start:end]
    out.send(next_hop, ethertype, (head, rest), facts(frame, l3), now)
    if plain:
        remember(ip.shared, interface, frame.data, l3, end, head, out, next_hop, mtu)
