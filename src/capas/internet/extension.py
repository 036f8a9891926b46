# SPDX-License-Identifier: Apache-2.0
"""IPv6 extension headers of packets for us, and the hop-by-hop header on the way (RFC 8200 §4).

Limits: `HostConfig.extension_headers` per chain, `HostConfig.option_limit` per header (RFC 8504
§5.3).  Routing headers with segments left are refused, type 0 always (RFC 5095).  Unknown options
are treated by their action bits (RFC 8200 §4.2), padding is checked, the jumbo payload option is
unknown here.
"""

from typing import TYPE_CHECKING, Final

from capas.base.frame import Frame
from capas.internet.types import PARAMETER_PROBLEM, UNKNOWN_NEXT_HEADER, UNKNOWN_OPTION
from capas.link.interface import Interface
from capas.wire import ipv6 as wire

if TYPE_CHECKING:
    from capas.internet.ipv6 import Ipv6

_STEPS: Final = frozenset((wire.HOP_BY_HOP, wire.DEST_OPTIONS, wire.ROUTING))


def arrived(ip: "Ipv6", interface: Interface, frame: Frame, l3: int, now: int) -> None:
    """Walk the headers of a packet for us (untrusted bytes) and hand its payload up."""
    data = frame.data
    end = l3 + 40 + (data[l3 + 4] << 8 | data[l3 + 5])
    next_header = data[l3 + 6]
    place = l3 + 6  # of the byte that named the next header
    at = l3 + 40
    count = 0
    fragmented = False
    while next_header not in ip.protocols:
        if next_header == wire.FRAGMENT and not fragmented:
            whole = ip.reassembly.receive6(interface, frame, l3, at, end, now)
            if whole is None:
                return
            # Go on where the Fragment header was: what stood before it has been judged.
            frame, data = whole, whole.data
            at, place, l3 = at - l3, place - l3, 0
            end = 40 + (data[4] << 8 | data[5])
            next_header = data[place]
            fragmented = True
            continue
        if next_header not in _STEPS or (next_header == wire.HOP_BY_HOP and at != l3 + 40):
            _unknown(ip, interface, frame, l3, next_header, place, now)
            return
        count += 1
        if count > ip.shared.config.extension_headers:
            ip.shared.drop(now, "ipv6.extension_limit", "RFC 8504 §5.3")
            return
        length = (data[at + 1] + 1) * 8 if at + 2 <= end else 8
        if at + length > end:
            ip.shared.drop(now, "ipv6.extension_truncated", "RFC 8200 §4")
            return
        if next_header == wire.ROUTING:
            if not _routing_ok(ip, interface, frame, l3, at, now):
                return
        elif not _options_ok(ip, interface, frame, l3, at, length, now):
            return
        next_header = data[at]
        place = at
        at += length
    ip.protocols[next_header].receive(interface, frame, l3, at, end, now)


def unknown(ip: "Ipv6", interface: Interface, frame: Frame, l3: int, l4: int, now: int) -> None:
    """Nobody here speaks the protocol at ``frame.data[l4:]``, behind headers that were judged."""
    data = frame.data
    walked = wire.chain(data, data[l3 + 6], l3 + 40, l4)
    headers = walked[0] if walked is not None else []
    place = headers[-1][1] if headers else l3 + 6
    _unknown(ip, interface, frame, l3, data[place], place, now)


def _unknown(
    ip: "Ipv6", interface: Interface, frame: Frame, l3: int, header: int, place: int, now: int
) -> None:
    if header == wire.NO_NEXT:
        ip.shared.counters.add("ipv6.no_next_header")
        return
    ip.shared.drop(now, "ipv6.unknown_next_header", "RFC 8200 §4")
    if ip.errors is not None:
        ip.errors.error(interface, frame, l3, UNKNOWN_NEXT_HEADER, now, place - l3)


def hop_by_hop_ok(ip: "Ipv6", interface: Interface, frame: Frame, l3: int, now: int) -> bool:
    """Whether a packet to be forwarded passes its hop-by-hop options."""
    data = frame.data
    end = l3 + 40 + (data[l3 + 4] << 8 | data[l3 + 5])
    at = l3 + 40
    length = (data[at + 1] + 1) * 8 if at + 2 <= end else 8
    if at + length > end:
        ip.shared.drop(now, "ipv6.extension_truncated", "RFC 8200 §4.3")
        return False
    return _options_ok(ip, interface, frame, l3, at, length, now)


def _routing_ok(ip: "Ipv6", interface: Interface, frame: Frame, l3: int, at: int, now: int) -> bool:
    """RFC 8200 §4.4: with no segments left the header is skipped, else it is an error."""
    data = frame.data
    if data[at + 3] == 0:
        return True
    ip.shared.drop(now, "ipv6.routing_header", "RFC 5095 §3")
    if ip.errors is not None:
        ip.errors.error(interface, frame, l3, PARAMETER_PROBLEM, now, at + 2 - l3)
    return False


def _options_ok(
    ip: "Ipv6", interface: Interface, frame: Frame, l3: int, at: int, length: int, now: int
) -> bool:
    """Judge the options of a Hop-by-Hop or Destination Options header."""
    data = frame.data
    shared = ip.shared
    found = wire.options(data, at + 2, at + length)
    if isinstance(found, int):
        shared.drop(now, "ipv6.bad_option", "RFC 8200 §4.2")
        return False
    if len(found) > shared.config.option_limit:
        shared.drop(now, "ipv6.option_limit", "RFC 8504 §5.3")
        return False
    for kind, place, _ in found:
        if kind == wire.ROUTER_ALERT:
            continue
        action = kind >> 6
        if action == 0:
            continue
        shared.drop(now, "ipv6.unknown_option", "RFC 8200 §4.2")
        multicast = data[l3 + 24] == 0xFF
        if ip.errors is not None and (action == 2 or (action == 3 and not multicast)):
            ip.errors.error(interface, frame, l3, UNKNOWN_OPTION, now, place - l3)
        return False
    return True
