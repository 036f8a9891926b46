# SPDX-License-Identifier: Apache-2.0
"""Group membership messages: IGMPv1-3 (RFC 1112, 2236, 3376) and MLDv1-2 (RFC 2710, 3810).

Times are ns here; on the wire they are tenths of seconds (IGMP) or milliseconds (MLD), large ones
in a small floating-point code (RFC 3376 §4.1.1, RFC 3810 §5.1.3).
"""

from dataclasses import dataclass
from typing import Final

from capas.base.checksum import Buffer, checksum, verify
from capas.base.clock import MS

IGMP: Final = 2  # protocol number
QUERY: Final = 0x11
REPORT1: Final = 0x12
REPORT2: Final = 0x16
LEAVE: Final = 0x17
REPORT3: Final = 0x22

# Record types of IGMPv3 and MLDv2 reports.
IS_INCLUDE: Final = 1
IS_EXCLUDE: Final = 2
TO_INCLUDE: Final = 3
TO_EXCLUDE: Final = 4

DEFAULT_RESPONSE: Final = 10_000 * MS  # of an IGMPv1 query, RFC 2236 §4


def _float(code: int, bits: int) -> int:
    """The value of a floating-point code with ``bits`` bits in all."""
    if code < 1 << (bits - 1):
        return code
    mantissa_bits = bits - 4
    mantissa = code & ((1 << mantissa_bits) - 1)
    exponent = code >> mantissa_bits & 7
    return (mantissa | 1 << mantissa_bits) << (exponent + 3)


@dataclass(frozen=True, slots=True)
class Igmp:
    """An IGMP message; ``group`` 0.0.0.0 in a general query."""

    type: int
    group: bytes
    max_response: int = 0  # ns; queries
    version: int = 2  # of a query: 1, 2 or 3
    records: tuple[tuple[int, bytes, tuple[bytes, ...]], ...] = ()  # of a version 3 report

    @staticmethod
    def parse(data: Buffer, at: int, end: int) -> "Igmp | None":
        """The message in ``data[at:end]``; None if malformed or its checksum is wrong."""
        if end - at < 8 or not verify(memoryview(data)[at:end]):
            return None
        kind, code, group = data[at], data[at + 1], bytes(data[at + 4 : at + 8])
        if kind == QUERY:
            if end - at == 8:
                if code == 0:
                    return Igmp(QUERY, group, DEFAULT_RESPONSE, 1)
                return Igmp(QUERY, group, code * 100 * MS, 2)
            if end - at < 12:
                return None
            sources = data[at + 10] << 8 | data[at + 11]
            if end - at < 12 + 4 * sources:
                return None
            return Igmp(QUERY, group, _float(code, 8) * 100 * MS, 3)
        if kind == REPORT3:
            records = parse_records(data, at + 8, end, data[at + 6] << 8 | data[at + 7], 4)
            return None if records is None else Igmp(kind, bytes(4), 0, 3, records)
        return Igmp(kind, group)

    def build(self) -> bytes:
        """The bytes, checksum filled in."""
        if self.type == REPORT3:
            body = b"\0\0" + len(self.records).to_bytes(2, "big") + build_records(self.records)
        else:
            body = self.group
            if self.type == QUERY and self.version == 3:
                body += b"\x02\x7d\0\0"  # robustness 2, query interval 125 s, no sources
        code = min(127, self.max_response // (100 * MS)) if self.type == QUERY else 0
        if self.version == 1:
            code = 0
        head = bytes((self.type, code))
        return head + checksum(head + b"\0\0" + body).to_bytes(2, "big") + body


def parse_records(
    data: Buffer, at: int, end: int, count: int, size: int
) -> tuple[tuple[int, bytes, tuple[bytes, ...]], ...] | None:
    """The records of a version 3 (IGMP) or 2 (MLD) report, addresses of ``size`` bytes."""
    found: list[tuple[int, bytes, tuple[bytes, ...]]] = []
    for _ in range(count):
        if at + 4 + size > end:
            return None
        sources = data[at + 2] << 8 | data[at + 3]
        group = bytes(data[at + 4 : at + 4 + size])
        first = at + 4 + size
        stop = first + sources * size
        following = stop + data[at + 1] * 4
        if following > end:
            return None
        listed = tuple(bytes(data[i : i + size]) for i in range(first, stop, size))
        found.append((data[at], group, listed))
        at = following
    return tuple(found)


def build_records(records: tuple[tuple[int, bytes, tuple[bytes, ...]], ...]) -> bytes:
    """The bytes of report records."""
    return b"".join(
        bytes((kind, 0)) + len(sources).to_bytes(2, "big") + group + b"".join(sources)
        for kind, group, sources in records
    )


@dataclass(frozen=True, slots=True)
class Mld:
    """What an MLD message says beside its ICMPv6 type; ``rest`` and ``body`` of `icmp.Message`."""

    group: bytes  # :: in a general query
    max_response: int = 0  # ns; queries
    version: int = 1  # of a query: 1 or 2

    @staticmethod
    def parse(rest: bytes, body: bytes) -> "Mld | None":
        """Of an MLD query, or a version 1 report or done; None if cut short."""
        if len(body) < 16:
            return None
        code = rest[0] << 8 | rest[1]
        if len(body) == 16:
            return Mld(body, code * MS, 1)
        if len(body) < 20 or len(body) < 20 + 16 * (body[18] << 8 | body[19]):
            return None
        return Mld(body[:16], _float(code, 16) * MS, 2)

    def build(self) -> tuple[bytes, bytes]:
        """(rest, body) of the ICMPv6 message."""
        code = min(self.max_response // MS, 0x7FFF)
        body = self.group + (b"\x02\x7d\0\0" if self.version == 2 else b"")
        return code.to_bytes(2, "big") + b"\0\0", body
