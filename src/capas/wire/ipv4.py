# SPDX-License-Identifier: Apache-2.0
"""The IPv4 header and its options (RFC 791 §3.1; RFC 1108, 2113, 6864).

`HEADER` is the hot form; `Ipv4Header` the cold one.  Total length and offsets are bytes; the
fragment offset of `Ipv4Header` too (a multiple of 8).
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from capas.base.checksum import Buffer

ETHERTYPE: Final = 0x0800
HEADER_LENGTH: Final = 20  # bytes without options
MAX_LENGTH: Final = 65_535  # bytes, header included

DF: Final = 0x4000  # don't fragment
MF: Final = 0x2000  # more fragments
OFFSET_MASK: Final = 0x1FFF  # in units of 8 bytes
RESERVED: Final = 0x8000  # must be zero

#: version/IHL, TOS, total length, identification, flags and offset, TTL, protocol, checksum,
#: source, destination.
HEADER: Final = Struct("!BBHHHBBH4s4s")

# Option types, RFC 791 §3.1 and RFC 2113.
EOL: Final = 0
NOP: Final = 1
RECORD_ROUTE: Final = 7
TIMESTAMP: Final = 68
LOOSE_ROUTE: Final = 131
STRICT_ROUTE: Final = 137
ROUTER_ALERT: Final = 148
COPIED: Final = 0x80  # bit: copied into all fragments

ROUTER_ALERT_OPTION: Final = b"\x94\x04\x00\x00"  # RFC 2113 §2.1


def header_checksum(header: Buffer) -> int:
    """The checksum field's value for a header whose checksum field is zero."""
    return -int.from_bytes(header, "big") % 65535


def with_checksum(header: bytes) -> bytes:
    """The header (checksum field zero) with its checksum filled in."""
    value = int.from_bytes(header, "big")
    return (value + (-value % 65535 << (8 * len(header) - 96))).to_bytes(len(header), "big")


@dataclass(frozen=True, slots=True)
class Ipv4Header:
    """An IPv4 header, cold form."""

    src: bytes
    dst: bytes
    protocol: int
    total_length: int
    ttl: int = 64
    tos: int = 0
    identification: int = 0
    flags: int = 0  # DF | MF | RESERVED
    offset: int = 0  # bytes
    options: bytes = b""

    @property
    def header_length(self) -> int:
        """Bytes, options and their padding included."""
        return 20 + (len(self.options) + 3) // 4 * 4

    @staticmethod
    def parse(data: Buffer, at: int = 0) -> "Ipv4Header | None":
        """The header at ``data[at:]``; None if it is malformed or its checksum is wrong.

        The total length may exceed what is there (quoted packets do); callers compare.
        """
        if len(data) - at < 20:
            return None
        first, tos, total, ident, frag, ttl, protocol, _, src, dst = HEADER.unpack_from(data, at)
        length = (first & 15) * 4
        if first >> 4 != 4 or length < 20 or total < length or len(data) - at < length:
            return None
        if int.from_bytes(data[at : at + length], "big") % 65535:
            return None
        return Ipv4Header(
            src,
            dst,
            protocol,
            total,
            ttl,
            tos,
            ident,
            frag & ~OFFSET_MASK,
            (frag & OFFSET_MASK) * 8,
            bytes(data[at + 20 : at + length]),
        )

    def build(self) -> bytes:
        """The header's bytes with options padded and checksum right."""
        length = self.header_length
        return with_checksum(
            HEADER.pack(
                0x40 | length // 4,
                self.tos,
                self.total_length,
                self.identification,
                self.flags | self.offset // 8,
                self.ttl,
                self.protocol,
                0,
                self.src,
                self.dst,
            )
            + self.options.ljust(length - 20, b"\0")
        )


def options(data: Buffer) -> list[tuple[int, int, int]] | int:
    """The options in ``data`` as (type, offset, length); a malformed one: its offset.

    NOP is skipped, EOL ends the list.
    """
    found: list[tuple[int, int, int]] = []
    at, n = 0, len(data)
    while at < n:
        kind = data[at]
        if kind == EOL:
            break
        if kind == NOP:
            at += 1
            continue
        if at + 1 >= n:
            return at
        length = data[at + 1]
        if length < 2 or at + length > n:
            return at + 1
        found.append((kind, at, length))
        at += length
    return found


def copied_options(data: bytes) -> bytes:
    """The options that go into all fragments (RFC 791 §3.1), padded to 4 bytes."""
    found = options(data)
    if isinstance(found, int):
        return b""
    kept = b"".join(data[at : at + n] for kind, at, n in found if kind & COPIED)
    return kept.ljust((len(kept) + 3) // 4 * 4, b"\0")
