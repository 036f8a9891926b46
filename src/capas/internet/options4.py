# SPDX-License-Identifier: Apache-2.0
"""IPv4 options of received and forwarded packets.

RFC 791 §3.1, RFC 1122 §3.2.1.8, RFC 1812 §4.2.2, RFC 7126.

Unknown options are skipped; malformed ones answered with a parameter problem.  Source routes are
refused unless `HostConfig.accept_source_route` (RFC 7126 §4.3).  Timestamps count milliseconds of
the host's own clock, marked non-standard as RFC 791 allows.
"""

from typing import TYPE_CHECKING, Final

from capas.base.clock import MS
from capas.base.frame import CSUM_PARTIAL, Frame
from capas.internet.route import Route
from capas.internet.types import PARAMETER_PROBLEM, SOURCE_ROUTE_FAILED
from capas.link.interface import Interface
from capas.wire import ipv4 as wire

if TYPE_CHECKING:
    from capas.internet.ipv4 import Ipv4

_NONSTANDARD: Final = 0x80000000  # RFC 791: not milliseconds since midnight UT


def primary(interface: Interface) -> bytes:
    """The interface's first IPv4 address; 0.0.0.0 if it has none."""
    for own in interface.addresses:
        if len(own.address) == 4:
            return own.address
    return b"\0\0\0\0"


def parsed(
    ip: "Ipv4", interface: Interface, frame: Frame, l3: int, header: int, now: int
) -> list[tuple[int, int, int]] | None:
    """The options, each with a sane pointer; None after a parameter problem."""
    found = wire.options(frame.data[l3 + 20 : l3 + header])
    bad = -1
    if isinstance(found, int):
        bad = found
    else:
        data = frame.data
        seen = 0
        for kind, at, length in found:
            pointed = kind in (wire.RECORD_ROUTE, wire.LOOSE_ROUTE, wire.STRICT_ROUTE)
            low = 4 if pointed else 5
            if (pointed or kind == wire.TIMESTAMP) and (
                length < low - 1 or data[l3 + 20 + at + 2] < low
            ):
                bad = at + 2
                break
            if kind in (wire.RECORD_ROUTE, wire.TIMESTAMP):
                bad = _no_room(data, l3 + 20 + at, kind, length)
                if bad >= 0:
                    bad += at
                    break
            if kind in (wire.LOOSE_ROUTE, wire.STRICT_ROUTE):
                seen += 1
                if seen > 1:
                    bad = at
                    break
        else:
            return found
    ip.shared.drop(now, "ipv4.bad_option", "RFC 1122 §3.2.1.8")
    if ip.errors is not None:
        ip.errors.error(interface, frame, l3, PARAMETER_PROBLEM, now, 20 + bad)
    return None


def _no_room(data: bytes, place: int, kind: int, length: int) -> int:
    """What is wrong with an option: some room but too little, or an overflow that overflows.

    RFC 791 §3.1 calls either an error; the offset of the octet in the option, -1: all is well.
    """
    pointer = data[place + 2]
    if pointer > length:
        full = kind == wire.TIMESTAMP and length >= 4 and data[place + 3] >> 4 == 15
        return 3 if full else -1
    flag = data[place + 3] & 15 if kind == wire.TIMESTAMP else 0
    size = 4 if flag == 0 else 8
    return 2 if pointer + size - 1 > length else -1


def rewritten(frame: Frame, l3: int, head: bytearray) -> Frame:
    """The frame with another header of the same length, its checksum made right."""
    head[10:12] = b"\0\0"
    data = frame.data
    return frame.with_data(data[:l3] + wire.with_checksum(bytes(head)) + data[l3 + len(head) :])


def forwarding(
    ip: "Ipv4",
    interface: Interface,
    route: Route,
    frame: Frame,
    l3: int,
    header: int,
    now: int,
) -> Frame | None:
    """Update the options of a packet on its way out by ``route``; None if it was dropped."""
    found = parsed(ip, interface, frame, l3, header, now)
    if found is None:
        return None
    data = frame.data
    for kind, at, length in found:
        if kind not in (wire.LOOSE_ROUTE, wire.STRICT_ROUTE):
            continue
        strict = kind == wire.STRICT_ROUTE and data[l3 + 20 + at + 2] <= length
        if not ip.shared.config.accept_source_route or (strict and route.gateway is not None):
            ip.shared.drop(now, "ipv4.source_route", "RFC 7126 §4.3")
            if ip.errors is not None:
                ip.errors.error(interface, frame, l3, SOURCE_ROUTE_FAILED, now)
            return None
    head = recorded(data[l3 : l3 + header], found, primary(route.interface), now)
    if head is None:
        return frame
    out = rewritten(frame, l3, head)
    assert frame.csum != CSUM_PARTIAL or out.csum_start == frame.csum_start
    return out


def recorded(
    header: bytes, found: list[tuple[int, int, int]], address: bytes, now: int
) -> bytearray | None:
    """The header with this host recorded in its RR and TS options; None if nothing changed."""
    head = bytearray(header)
    changed = False
    for kind, at, length in found:
        place = 20 + at
        if kind == wire.RECORD_ROUTE:
            pointer = head[place + 2]
            if pointer + 3 <= length:
                head[place + pointer - 1 : place + pointer + 3] = address
                head[place + 2] = pointer + 4
                changed = True
        elif kind == wire.TIMESTAMP and length >= 4:
            changed |= _stamp(head, place, length, address, now)
    return head if changed else None


def _stamp(head: bytearray, place: int, length: int, address: bytes, now: int) -> bool:
    """Fill one timestamp of an Internet Timestamp option (RFC 791 §3.1)."""
    pointer, flag = head[place + 2], head[place + 3] & 15
    size = 4 if flag == 0 else 8
    if pointer > length:
        head[place + 3] += 0x10  # `parsed` has seen that there is room for that
        return True
    at = place + pointer - 1
    if flag == 1:
        head[at : at + 4] = address
    elif flag == 3:
        if head[at : at + 4] != address:
            return False
    elif flag != 0:
        return False
    stamp = now // MS & 0x7FFFFFFF | _NONSTANDARD
    head[at + size - 4 : at + size] = stamp.to_bytes(4, "big")
    head[place + 2] = pointer + size
    return True
