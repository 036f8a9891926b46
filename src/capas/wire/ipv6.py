# SPDX-License-Identifier: Apache-2.0
"""The IPv6 header and its extension headers (RFC 8200).

`HEADER` is the hot form; `Ipv6Header` and `Fragment` the cold ones.  Offsets and lengths are bytes.
`chain` walks the extension headers without judging them.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from capas.base.checksum import Buffer

ETHERTYPE: Final = 0x86DD
HEADER_LENGTH: Final = 40
MAX_PAYLOAD: Final = 65_535  # bytes after the header; jumbograms (RFC 2675) are refused

#: version/class/flow label, payload length, next header, hop limit, source, destination.
HEADER: Final = Struct("!IHBB16s16s")

# Next header values.
HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
ESP: Final = 50
AH: Final = 51
ICMPV6: Final = 58
NO_NEXT: Final = 59
DEST_OPTIONS: Final = 60

#: Headers `chain` steps over.
EXTENSIONS: Final = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, AH, DEST_OPTIONS))

# Option types.
PAD1: Final = 0
PADN: Final = 1
ROUTER_ALERT: Final = 5  # RFC 2711
ALERT_MLD: Final = 0
JUMBO: Final = 0xC2  # RFC 2675


@dataclass(frozen=True, slots=True)
class Ipv6Header:
    """An IPv6 header, cold form."""

    src: bytes
    dst: bytes
    next_header: int
    payload_length: int
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0

    @staticmethod
    def parse(data: Buffer, at: int = 0) -> "Ipv6Header | None":
        """The header at ``data[at:]``; None if it is cut short or of another version."""
        if len(data) - at < 40:
            return None
        word, length, next_header, hops, src, dst = HEADER.unpack_from(data, at)
        if word >> 28 != 6:
            return None
        return Ipv6Header(src, dst, next_header, length, hops, word >> 20 & 0xFF, word & 0xFFFFF)

    def build(self) -> bytes:
        """The header's bytes."""
        return HEADER.pack(
            6 << 28 | self.traffic_class << 20 | self.flow_label,
            self.payload_length,
            self.next_header,
            self.hop_limit,
            self.src,
            self.dst,
        )


@dataclass(frozen=True, slots=True)
class Fragment:
    """The Fragment extension header (RFC 8200 §4.5)."""

    next_header: int
    offset: int  # bytes, a multiple of 8
    more: bool
    identification: int

    @staticmethod
    def parse(data: Buffer, at: int = 0) -> "Fragment | None":
        """The header at ``data[at:]``; None if cut short.  Reserved bits are ignored."""
        if len(data) - at < 8:
            return None
        word = data[at + 2] << 8 | data[at + 3]
        ident = int.from_bytes(data[at + 4 : at + 8], "big")
        return Fragment(data[at], word & 0xFFF8, bool(word & 1), ident)

    def build(self) -> bytes:
        """Eight bytes."""
        word = self.offset | self.more
        return (
            bytes((self.next_header, 0))
            + word.to_bytes(2, "big")
            + self.identification.to_bytes(4, "big")
        )


def chain(
    data: Buffer, next_header: int, at: int, end: int, limit: int = 16
) -> tuple[list[tuple[int, int]], int, int] | None:
    """Walk the extension headers of a packet from ``data[at]`` up to ``end``.

    Returns ([(header type, offset)], upper-layer protocol, its offset); None if the chain is cut
    short or longer than ``limit``.  After a Fragment header with a non-zero offset the walk stops:
    what follows is payload.
    """
    found: list[tuple[int, int]] = []
    while next_header in EXTENSIONS:
        if at + 8 > end or len(found) >= limit:
            return None
        found.append((next_header, at))
        if next_header == FRAGMENT:
            offset = (data[at + 2] << 8 | data[at + 3]) & 0xFFF8
            next_header = data[at]
            at += 8
            if offset:
                break
            continue
        length = (data[at + 1] + 2) * 4 if next_header == AH else (data[at + 1] + 1) * 8
        next_header = data[at]
        at += length
        if at > end:
            return None
    return found, next_header, at


def options(data: Buffer, at: int, end: int) -> list[tuple[int, int, int]] | int:
    """The TLV options in ``data[at:end]`` as (type, offset, data length); malformed: its offset.

    Padding is checked (PadN of zeros, RFC 4942 §2.1.9.5) and left out.
    """
    found: list[tuple[int, int, int]] = []
    while at < end:
        kind = data[at]
        if kind == PAD1:
            at += 1
            continue
        if at + 1 >= end or at + 2 + data[at + 1] > end:
            return at
        length = data[at + 1]
        if kind == PADN:
            if any(data[at + 2 : at + 2 + length]):
                return at
        else:
            found.append((kind, at, length))
        at += 2 + length
    return found


def router_alert(data: Buffer, l3: int) -> int:
    """The value of the Router Alert option of the packet at ``l3`` (RFC 2711); -1: it has none."""
    at = l3 + 40
    if data[l3 + 6] != HOP_BY_HOP or at + 8 > len(data):
        return -1
    found = options(data, at + 2, min(at + 8 * (data[at + 1] + 1), len(data)))
    for kind, where, length in found if isinstance(found, list) else ():
        if kind == ROUTER_ALERT and length == 2:
            return data[where + 2] << 8 | data[where + 3]
    return -1


def hop_by_hop(next_header: int, option_bytes: bytes) -> bytes:
    """A Hop-by-Hop (or Destination Options) header around options, padded to 8 bytes."""
    length = 2 + len(option_bytes)
    pad = -length % 8
    padding = b"" if pad == 0 else b"\0" if pad == 1 else bytes((PADN, pad - 2)) + bytes(pad - 2)
    return bytes((next_header, (length + pad) // 8 - 1)) + option_bytes + padding
