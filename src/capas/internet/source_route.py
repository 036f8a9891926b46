# SPDX-License-Identifier: Apache-2.0
"""Packets for us that carry IPv4 options: source routes stop or go on here (RFC 7126 §4.3).

RFC 1122 §3.2.1.8 (c), RFC 1812 §5.2.4.  Refused unless `HostConfig.accept_source_route`.
"""

from typing import TYPE_CHECKING

from capas.base.frame import Frame
from capas.internet.forward import forward4
from capas.internet.options4 import parsed, primary, rewritten
from capas.internet.types import SOURCE_ROUTE_FAILED
from capas.link.interface import Interface
from capas.wire import ipv4 as wire

if TYPE_CHECKING:
    from capas.internet.ipv4 import Ipv4


def arrived(ip: "Ipv4", interface: Interface, frame: Frame, l3: int, header: int, now: int) -> bool:
    """Judge the options of a packet for us; False: it was dropped, or sent on by its route."""
    found = parsed(ip, interface, frame, l3, header, now)
    if found is None:
        return False
    for kind, at, length in found:
        if kind not in (wire.LOOSE_ROUTE, wire.STRICT_ROUTE):
            continue
        if not ip.shared.config.accept_source_route:
            ip.shared.drop(now, "ipv4.source_route", "RFC 7126 §4.3")
            if ip.errors is not None:
                ip.errors.error(interface, frame, l3, SOURCE_ROUTE_FAILED, now)
            return False
        place = l3 + 20 + at
        pointer = frame.data[place + 2]
        if length >= 7 and pointer + 3 <= length:
            _source_route(ip, interface, frame, l3, header, place, pointer, now)
            return False
    return True


def _source_route(
    ip: "Ipv4",
    interface: Interface,
    frame: Frame,
    l3: int,
    header: int,
    place: int,
    pointer: int,
    now: int,
) -> None:
    """Send a source-routed packet to the next address of its list (RFC 1122 §3.2.1.8 c)."""
    data = frame.data
    hop = place + pointer - 1
    target = data[hop : hop + 4]
    route = ip.shared.routes.lookup(target)
    if (
        not ip.shared.config.forwarding
        or route is None
        or ip.local(target)
        or (data[place] == wire.STRICT_ROUTE and route.gateway is not None)
    ):
        ip.shared.drop(now, "ipv4.source_route_failed", "RFC 1812 §5.2.4.2")
        if ip.errors is not None:
            ip.errors.error(interface, frame, l3, SOURCE_ROUTE_FAILED, now)
        return
    head = bytearray(data[l3 : l3 + header])
    head[16:20] = target
    at = hop - l3
    head[at : at + 4] = primary(route.interface)
    head[place + 2 - l3] = pointer + 4
    forward4(ip, interface, rewritten(frame, l3, head), l3, now)
