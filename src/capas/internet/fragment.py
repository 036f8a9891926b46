# SPDX-License-Identifier: Apache-2.0
"""Fragmentation, the sending side (RFC 791 §3.2, RFC 8200 §4.5).

A transport checksum still to be completed is completed here first, because no link can finish it
over several packets.  IPv4 fragments at the source and in routers; IPv6 at the source only.
"""

from typing import TYPE_CHECKING

from capas.base.checksum import Buffer, checksum
from capas.base.frame import Offload
from capas.internet.route import Route
from capas.wire import ipv4 as wire4
from capas.wire import ipv6 as wire6

if TYPE_CHECKING:
    from capas.internet.ipv4 import Ipv4
    from capas.internet.ipv6 import Ipv6


def completed(payload: bytes, offload: Offload | None, start: int = 0) -> bytes:
    """The transport packet with its partial checksum finished; ``start`` of it in ``payload``."""
    if offload is None:
        return payload
    at = start + offload.csum_offset
    value = checksum(payload[start:])  # the field holds the pseudo-header's sum: it is counted
    if value == 0:
        value = 0xFFFF  # RFC 768: zero would say "none"; for TCP both mean the same
    return payload[:at] + value.to_bytes(2, "big") + payload[at + 2 :]


def send_fragments4(
    ip: "Ipv4",
    route: Route,
    header: bytes,
    payload: bytes,
    offload: Offload | None,
    mtu: int,
    now: int,
) -> bool:
    """Send ``payload`` under ``header`` (length, checksum and flags zero) in fragments.

    True if all fragments could leave.
    """
    payload = completed(payload, offload)
    dst = header[16:20]
    packets = fragments4(header, payload, mtu)
    if not packets:
        ip.shared.counters.add("ipv4.fragment_failed")
        return False
    ok = True
    for head, piece in packets:
        ok &= ip.output(route, dst, (head, piece), None, True, now)
    ip.shared.counters.add("ipv4.fragments_sent", len(packets))
    return ok


def fragments4(header: bytes, payload: Buffer, mtu: int) -> list[tuple[bytes, Buffer]]:
    """(header, payload) of each fragment; empty if the MTU has no room.

    ``header`` may itself be a fragment's: its offset and MF flag count on (RFC 791 §3.2).
    """
    ident_frag = int.from_bytes(header[6:8], "big")
    base = (ident_frag & wire4.OFFSET_MASK) * 8
    last_flag = ident_frag & wire4.MF
    options = header[20:]
    later = header[:20]
    if options:
        copied = wire4.copied_options(options)
        later = bytes((0x40 | (20 + len(copied)) // 4,)) + header[1:20] + copied
    view = memoryview(payload)
    total = len(view)
    found: list[tuple[bytes, Buffer]] = []
    at = 0
    head = header
    while at < total or not found:
        room = (mtu - len(head)) & ~7
        if room < 8:
            return []
        size = total - at
        more = last_flag
        if size > mtu - len(head):
            size = room
            more = wire4.MF
        word = (base + at) // 8 | more
        found.append((_numbered(head, len(head) + size, word), view[at : at + size]))
        at += size
        head = later
    return found


def _numbered(head: bytes, length: int, word: int) -> bytes:
    """The header with its total length, flags/offset and checksum set."""
    return wire4.with_checksum(
        head[:2]
        + length.to_bytes(2, "big")
        + head[4:6]
        + word.to_bytes(2, "big")
        + head[8:10]
        + b"\0\0"
        + head[12:]
    )


def send_fragments6(
    ip: "Ipv6",
    route: Route,
    header: bytes,
    protocol: int,
    payload: bytes,
    offload: Offload | None,
    mtu: int,
    now: int,
) -> bool:
    """Send ``payload`` of upper-layer ``protocol`` under a 40-byte ``header`` in fragments.

    The header's next-header and length fields are set here.  True if all fragments could leave.
    """
    payload = completed(payload, offload)
    room = (mtu - 48) & ~7
    if room < 8:
        ip.shared.counters.add("ipv6.fragment_failed")
        return False
    dst = header[24:40]
    ident = ip.next_ident(dst)
    view = memoryview(payload)
    total = len(payload)
    at = count = 0
    ok = True
    while at < total:
        size = min(room, total - at)
        more = at + size < total
        fragment = wire6.Fragment(protocol, at, more, ident).build()
        head = header[:4] + (8 + size).to_bytes(2, "big") + bytes((wire6.FRAGMENT,)) + header[7:40]
        ok &= ip.output(route, dst, (head, fragment, view[at : at + size]), None, True, now)
        at += size
        count += 1
    ip.shared.counters.add("ipv6.fragments_sent", count)
    return ok
