# SPDX-License-Identifier: Apache-2.0
"""The UDP header (RFC 768): bytes <-> fields, and the checksum rules of both families.

A zero checksum field says "none": legal over IPv4 (RFC 1122 §4.1.3.4), over IPv6 only where asked
for (RFC 8200 §8.1, RFC 6935, RFC 6936).  A sum that comes out as zero is sent as 0xFFFF.
Units: lengths in bytes, header included.
"""

from struct import Struct
from typing import Final

from capas.base.checksum import Buffer, ones_sum, pseudo_sum

PROTOCOL: Final = 17
HEADER_SIZE: Final = 8  # bytes
CSUM_OFFSET: Final = 6  # of the checksum field
#: Largest payloads: the length field less our header, less IPv4's shortest header.
MAX_PAYLOAD4: Final = 65_535 - 20 - 8
MAX_PAYLOAD6: Final = 65_535 - 8

HEADER: Final = Struct("!4H")  # source port, destination port, length, checksum

Fields = tuple[int, int, int, int]


def parse(data: bytes, l4: int, end: int) -> Fields | None:
    """(source port, destination port, length, checksum) of the datagram in ``data[l4:end]``.

    None if the header is cut short or its length field does not fit (RFC 768); bytes beyond the
    length are left to the caller (RFC 8200 §3 forbids nothing there).
    """
    if end - l4 < HEADER_SIZE:
        return None
    fields: Fields = HEADER.unpack_from(data, l4)
    length = fields[2]
    if length < HEADER_SIZE or length > end - l4:
        return None
    return fields


def verify(data: bytes, l4: int, length: int, src: bytes, dst: bytes) -> bool:
    """Whether the checksum over pseudo-header, header and payload is right."""
    start = pseudo_sum(src, dst, PROTOCOL, length)
    return ones_sum(data[l4 : l4 + length], start) == 0xFFFF


def build(src: bytes, dst: bytes, source_port: int, port: int, payload: Buffer) -> bytes:
    """The header of a whole datagram, checksum computed."""
    length = HEADER_SIZE + len(payload)
    bare = HEADER.pack(source_port, port, length, 0)
    total = ones_sum(payload, ones_sum(bare, pseudo_sum(src, dst, PROTOCOL, length)))
    return HEADER.pack(source_port, port, length, total ^ 0xFFFF or 0xFFFF)
