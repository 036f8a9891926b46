# SPDX-License-Identifier: Apache-2.0
"""Group membership messages: IGMPv1-3 (RFC 1112, 2236, 3376) and MLDv1-2 (RFC 2710, 3810).

Times are ns here; on the wire they are seconds, tenths of them (IGMP) or milliseconds (MLD), large
ones in a small floating-point code (RFC 3376 §4.1.1, §4.1.7, RFC 3810 §5.1.3, §5.1.9).
"""

from dataclasses import dataclass
from typing import Final

from capas.base.checksum import Buffer, checksum, verify
from capas.base.clock import MS, SECOND

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
ALLOW_NEW_SOURCES: Final = 5
BLOCK_OLD_SOURCES: Final = 6

DEFAULT_RESPONSE: Final = 10 * SECOND  # of an IGMPv1 query, RFC 2236 §4
DEFAULT_ROBUSTNESS: Final = 2  # RFC 3376 §8.1, RFC 3810 §9.1
DEFAULT_INTERVAL: Final = 125 * SECOND  # Query Interval, RFC 3376 §8.2, RFC 3810 §9.2
_TENTH: Final = 100 * MS
_ROBUSTNESS_BITS: Final = 7  # QRV; the bit above them is S

#: One record of a report: its type, the group, sources.
Record = tuple[int, bytes, tuple[bytes, ...]]


def _float(code: int, bits: int) -> int:
    """The value of a floating-point code with ``bits`` bits in all."""
    if code < 1 << (bits - 1):
        return code
    mantissa_bits = bits - 4
    mantissa = code & ((1 << mantissa_bits) - 1)
    exponent = code >> mantissa_bits & 7
    return (mantissa | 1 << mantissa_bits) << (exponent + 3)


def _code(value: int, bits: int) -> int:
    """The floating-point code of the largest number not above ``value``."""
    if value < 1 << (bits - 1):
        return value
    mantissa_bits = bits - 4
    exponent = min(value.bit_length() - mantissa_bits - 4, 7)
    mantissa = min(value >> (exponent + 3), (2 << mantissa_bits) - 1)
    return 1 << (bits - 1) | exponent << mantissa_bits | mantissa & ((1 << mantissa_bits) - 1)


def _parse_tail(
    data: Buffer, at: int, end: int, size: int
) -> tuple[tuple[bytes, ...], bool, int, int] | None:
    """(sources, S flag, QRV, QQI) from what follows the group of a query (RFC 3376 §4.1.5)."""
    if end - at < 4:
        return None
    first = at + 4
    stop = first + size * (data[at + 2] << 8 | data[at + 3])
    if stop > end:
        return None
    sources = tuple(bytes(data[i : i + size]) for i in range(first, stop, size))
    robustness = data[at] & _ROBUSTNESS_BITS
    return sources, bool(data[at] & 8), robustness, _float(data[at + 1], 8) * SECOND


def _build_tail(query: "Igmp | Mld") -> bytes:
    flags = min(query.robustness, _ROBUSTNESS_BITS) | 8 * query.suppress
    head = bytes((flags, _code(query.interval // SECOND, 8)))
    return head + len(query.sources).to_bytes(2, "big") + b"".join(query.sources)


@dataclass(frozen=True, slots=True)
class Igmp:
    """An IGMP message; ``group`` 0.0.0.0 in a general query.

    What follows ``records`` is of version 3 queries: the sources asked for, S (routers suppress
    their own processing), QRV (0: more than 7), QQI (ns).
    """

    type: int
    group: bytes
    max_response: int = 0  # ns; queries
    version: int = 2  # of a query: 1, 2 or 3
    records: tuple[Record, ...] = ()  # of a version 3 report
    sources: tuple[bytes, ...] = ()
    suppress: bool = False
    robustness: int = DEFAULT_ROBUSTNESS
    interval: int = DEFAULT_INTERVAL

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
                return Igmp(QUERY, group, code * _TENTH, 2)
            tail = _parse_tail(data, at + 8, end, 4)
            if tail is None:
                return None
            return Igmp(QUERY, group, _float(code, 8) * _TENTH, 3, (), *tail)
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
                body += _build_tail(self)
        code = 0
        if self.type == QUERY and self.version > 1:
            tenths = self.max_response // _TENTH
            code = _code(tenths, 8) if self.version == 3 else min(tenths, 255)
        head = bytes((self.type, code))
        return head + checksum(head + b"\0\0" + body).to_bytes(2, "big") + body


def parse_records(
    data: Buffer, at: int, end: int, count: int, size: int
) -> tuple[Record, ...] | None:
    """The records of a version 3 (IGMP) or 2 (MLD) report, addresses of ``size`` bytes."""
    found: list[Record] = []
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


def build_records(records: tuple[Record, ...]) -> bytes:
    """The bytes of report records."""
    return b"".join(
        bytes((kind, 0)) + len(sources).to_bytes(2, "big") + group + b"".join(sources)
        for kind, group, sources in records
    )


@dataclass(frozen=True, slots=True)
class Mld:
    """What an MLD message says beside its ICMPv6 type; ``rest`` and ``body`` of `icmp.Message`.

    From ``sources`` on as in `Igmp`.
    """

    group: bytes  # :: in a general query
    max_response: int = 0  # ns; queries
    version: int = 1  # of a query: 1 or 2
    sources: tuple[bytes, ...] = ()
    suppress: bool = False
    robustness: int = DEFAULT_ROBUSTNESS
    interval: int = DEFAULT_INTERVAL

    @staticmethod
    def parse(rest: bytes, body: bytes) -> "Mld | None":
        """Of an MLD query, or a version 1 report or done; None if cut short."""
        if len(body) < 16:
            return None
        code = rest[0] << 8 | rest[1]
        if len(body) == 16:
            return Mld(body, code * MS, 1)
        tail = _parse_tail(body, 16, len(body), 16)
        return None if tail is None else Mld(body[:16], _float(code, 16) * MS, 2, *tail)

    def build(self) -> tuple[bytes, bytes]:
        """(rest, body) of the ICMPv6 message."""
        millis = self.max_response // MS
        if self.version == 2:
            return _code(millis, 16).to_bytes(2, "big") + b"\0\0", self.group + _build_tail(self)
        return min(millis, 0xFFFF).to_bytes(2, "big") + b"\0\0", self.group


def build_report2(records: tuple[Record, ...]) -> tuple[bytes, bytes]:
    """(rest, body) of an MLDv2 report, ICMPv6 type 143 (RFC 3810 §5.2)."""
    return b"\0\0" + len(records).to_bytes(2, "big"), build_records(records)


def parse_report2(rest: bytes, body: bytes) -> tuple[Record, ...] | None:
    """The records of an MLDv2 report; None if cut short."""
    return parse_records(body, 0, len(body), rest[2] << 8 | rest[3], 16)
