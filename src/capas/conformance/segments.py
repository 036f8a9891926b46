# SPDX-License-Identifier: Apache-2.0
"""Packets on the wire, built from the script's notation and read back into it.

The peer of a script is written from the RFCs here, apart from `capas.wire`, so that a mistake in
the stack's own header code does not hide itself.
"""

from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from capas.base import checksum as sums
from capas.conformance.ast import TcpOption

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
PSH: Final = 8
ACK: Final = 16
URG: Final = 32
ECE: Final = 64
CWR: Final = 128
AE: Final = 256

LETTERS: Final = (
    ("S", SYN), ("F", FIN), ("R", RST), ("P", PSH), ("U", URG), ("E", ECE), ("W", CWR), ("A", AE),
    (".", ACK),
)  # fmt: skip

TCP: Final = 6
UDP: Final = 17
ICMP: Final = 1
ICMP6: Final = 58

_TCP: Final = Struct("!HHLLHHHH")
_IP4: Final = Struct("!BBHHHBBH4s4s")
_IP6: Final = Struct("!LHBB16s16s")
_PATTERN: Final = bytes(range(251))


def payload(offset: int, length: int) -> bytes:
    """Stream bytes that name their own position, so that misplaced data shows."""
    start = offset % 251
    repeated = _PATTERN * ((start + length) // 251 + 1)
    return repeated[start : start + length]


@dataclass(slots=True)
class Seen:
    """One packet the stack sent, taken apart; ``tcp`` fields are 0 for other protocols."""

    time: int
    src: bytes
    dst: bytes
    protocol: int
    tos: int
    ttl: int
    flow_label: int
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    urgent: int = 0
    options: tuple[TcpOption, ...] = ()
    data: bytes = b""
    problem: str = ""  # malformed in a way no script can expect
    icmp_type: int = -1
    icmp_code: int = -1

    def copy(self) -> "Seen":
        """A copy whose fields may be mapped."""
        return replace(self)


def flag_bits(letters: str) -> int:
    """Flags of the script as bits."""
    return sum(bit for letter, bit in LETTERS if letter in letters)


def flag_letters(bits: int) -> str:
    """Bits as the script writes them."""
    return "".join(letter for letter, bit in LETTERS if bits & bit) or "-"


# -- building -------------------------------------------------------------------------------------


def build_options(options: tuple[TcpOption, ...]) -> bytes:
    """The option bytes in the order given, padded with end-of-list to four bytes."""
    out = bytearray()
    for option in options:
        out += _build_option(option)
    out += bytes(-len(out) % 4)
    return bytes(out)


def _build_option(option: TcpOption) -> bytes:
    kind, values, data = option.kind, option.values, option.data
    if kind == "nop":
        return b"\x01"
    if kind == "eol":
        return b"\x00"
    if kind == "mss":
        return b"\x02\x04" + values[0].to_bytes(2, "big")
    if kind == "wscale":
        return bytes((3, 3, values[0]))
    if kind == "sackOK":
        return b"\x04\x02"
    if kind == "TS":
        return b"\x08\x0a" + values[0].to_bytes(4, "big") + values[1].to_bytes(4, "big")
    if kind == "sack":
        return bytes((5, 2 + 4 * len(values))) + b"".join(v.to_bytes(4, "big") for v in values)
    if kind == "FO":
        return bytes((34, 2 + len(data))) + data
    if kind == "FOEXP":
        return bytes((254, 4 + len(data))) + b"\xf9\x89" + data
    if kind == "md5":
        return b"\x13\x12" + data.ljust(16, b"\x00")
    raise ValueError(kind)


def build_tcp(
    src: bytes,
    dst: bytes,
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    urgent: int,
    options: bytes,
    data: bytes,
) -> bytes:
    """A TCP segment with its checksum."""
    offset = (20 + len(options)) // 4
    header = _TCP.pack(sport, dport, seq, ack, offset << 12 | flags, window, 0, urgent)
    segment = header + options + data
    total = sums.checksum(segment, sums.pseudo_sum(src, dst, TCP, len(segment)))
    return segment[:16] + total.to_bytes(2, "big") + segment[18:]


def build_udp(src: bytes, dst: bytes, sport: int, dport: int, data: bytes) -> bytes:
    """A UDP datagram with its checksum."""
    length = 8 + len(data)
    head = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + length.to_bytes(2, "big")
    body = head + b"\x00\x00" + data
    total = sums.checksum(body, sums.pseudo_sum(src, dst, UDP, length)) or 0xFFFF
    return head + total.to_bytes(2, "big") + data


def build_icmp(src: bytes, dst: bytes, kind: int, code: int, rest: int, quote: bytes) -> bytes:
    """An ICMP message of either family: four bytes ``rest``, then ``quote``."""
    body = bytes((kind, code, 0, 0)) + rest.to_bytes(4, "big") + quote
    start = sums.pseudo_sum(src, dst, ICMP6, len(body)) if len(src) == 16 else 0
    total = sums.checksum(body, start)
    return body[:2] + total.to_bytes(2, "big") + body[4:]


def build_ip(
    src: bytes, dst: bytes, protocol: int, body: bytes, tos: int = 0, ttl: int = 255, flow: int = 0
) -> bytes:
    """An IP packet of either family around ``body``."""
    if len(src) == 16:
        word = 6 << 28 | tos << 20 | flow
        return _IP6.pack(word, len(body), protocol, ttl, src, dst) + body
    header = _IP4.pack(0x45, tos, 20 + len(body), 0, 0, ttl, protocol, 0, src, dst)
    total = sums.checksum(header)
    return header[:10] + total.to_bytes(2, "big") + header[12:] + body


# -- reading --------------------------------------------------------------------------------------


def read(data: bytes, time: int) -> Seen:
    """Take a packet apart; what is wrong with it goes into ``problem``."""
    if data[0] >> 4 == 4:
        _, tos, total, _, fragment, ttl, protocol, _, src, dst = _IP4.unpack_from(data)
        header = (data[0] & 15) * 4
        seen = Seen(time, src, dst, protocol, tos, ttl, 0)
        if not sums.verify(data[:header]):
            seen.problem = "bad IP header checksum"
        elif total != len(data):
            seen.problem = f"IP total length {total} of a packet of {len(data)} bytes"
        elif fragment & 0x3FFF:
            seen.problem = "a fragment"
    else:
        word, length, protocol, ttl, src, dst = _IP6.unpack_from(data)
        header = 40
        seen = Seen(time, src, dst, protocol, word >> 20 & 0xFF, ttl, word & 0xFFFFF)
        if length != len(data) - 40:
            seen.problem = f"IPv6 payload length {length} of {len(data) - 40} bytes"
    body = data[header:]
    if protocol == TCP:
        _read_tcp(seen, body)
    elif protocol == UDP and len(body) >= 8:
        seen.sport, seen.dport = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
        seen.data = body[8:]
    elif protocol in (ICMP, ICMP6) and len(body) >= 8:
        seen.icmp_type, seen.icmp_code = body[0], body[1]
        seen.data = body[8:]
    return seen


def _read_tcp(seen: Seen, body: bytes) -> None:
    if len(body) < 20:
        seen.problem = "a truncated TCP header"
        return
    pseudo = sums.pseudo_sum(seen.src, seen.dst, TCP, len(body))
    if not sums.verify(body, pseudo):
        seen.problem = "bad TCP checksum"
    (seen.sport, seen.dport, seen.seq, seen.ack, offset_flags, seen.window, _, seen.urgent) = (
        _TCP.unpack_from(body)
    )
    seen.flags = offset_flags & 0x1FF
    end = (offset_flags >> 12) * 4
    if offset_flags & 0xE00:
        seen.problem = "reserved bits of the TCP header are set"
    if end < 20 or end > len(body):
        seen.problem = "a bad TCP data offset"
        return
    seen.options = _read_options(body[20:end], seen)
    seen.data = body[end:]


def _read_options(data: bytes, seen: Seen) -> tuple[TcpOption, ...]:
    out: list[TcpOption] = []
    i = 0
    while i < len(data):
        kind = data[i]
        if kind < 2:
            out.append(TcpOption("nop" if kind else "eol"))
            i += 1
            continue
        length = data[i + 1] if i + 1 < len(data) else 0
        if length < 2 or i + length > len(data):
            seen.problem = f"TCP option {kind} has a bad length"
            break
        out.append(_read_option(kind, data[i + 2 : i + length]))
        i += length
    return tuple(out)


def _read_option(kind: int, body: bytes) -> TcpOption:
    words = tuple(int.from_bytes(body[i : i + 4], "big") for i in range(0, len(body) - 3, 4))
    if kind == 2 and len(body) == 2:
        return TcpOption("mss", (int.from_bytes(body, "big"),))
    if kind == 3 and len(body) == 1:
        return TcpOption("wscale", (body[0],))
    if kind == 4 and not body:
        return TcpOption("sackOK")
    if kind == 5 and body and len(body) % 8 == 0:
        return TcpOption("sack", words)
    if kind == 8 and len(body) == 8:
        return TcpOption("TS", words)
    if kind == 34:
        return TcpOption("FO", (), body)
    if kind == 254 and body[:2] == b"\xf9\x89":
        return TcpOption("FOEXP", (), body[2:])
    if kind == 19 and len(body) == 16:
        return TcpOption("md5", (-1,), body)
    return TcpOption(f"option{kind}", (), body)


# -- text -----------------------------------------------------------------------------------------


def option_text(option: TcpOption) -> str:
    """An option in the script's notation."""
    kind, values = option.kind, option.values
    if kind == "TS":
        return f"TS val {values[0]} ecr {values[1]}"
    if kind == "sack":
        blocks = " ".join(f"{values[i]}:{values[i + 1]}" for i in range(0, len(values), 2))
        return f"sack {blocks}"
    parts = [kind, *map(str, values)]
    if option.data:
        parts.append(option.data.hex())
    return " ".join(parts)


def text(seen: Seen) -> str:
    """A packet in the script's notation (after mapping its numbers)."""
    if seen.icmp_type >= 0:
        return f"> icmp type {seen.icmp_type} code {seen.icmp_code}"
    if seen.protocol == UDP:
        return f"> udp ({len(seen.data)})"
    n = len(seen.data)
    out = f"> {flag_letters(seen.flags)} {seen.seq}:{(seen.seq + n) & 0xFFFFFFFF}({n})"
    if seen.flags & ACK:
        out += f" ack {seen.ack}"
    out += f" win {seen.window}"
    if seen.flags & URG:
        out += f" urg {seen.urgent}"
    if seen.options:
        out += " <" + ",".join(option_text(option) for option in seen.options) + ">"
    if seen.tos:
        out += f" [tos {seen.tos:#x}]"
    return out
