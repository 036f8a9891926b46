# SPDX-License-Identifier: Apache-2.0
"""Segments as a test sees them: built and taken apart by hand, apart from the stack's own code.

RFC 9293 §3.1, RFC 791 §3.1, RFC 8200 §3.  `Seen` is what a host sent, checksums verified; `build`
makes what a peer sends.  Sequence numbers here are raw, as on the wire.
"""

from dataclasses import dataclass, field
from struct import pack, unpack_from
from typing import Final

from capas.base.checksum import checksum, pseudo_sum, verify
from capas.base.frame import CSUM_PARTIAL, Frame
from capas.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

PROTOCOL: Final = 6
_LETTERS: Final = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (URG, "U"), (0x40, "E"))


def letters(flags: int) -> str:
    """ "S.", "P.", "R" and so on, as tcpdump writes flags."""
    text = "".join(letter for bit, letter in _LETTERS if flags & bit)
    if flags & 0x80:
        text += "W"
    return text + "." if flags & ACK else text


@dataclass(slots=True)
class Seen:
    """One TCP packet a host sent; ``seq`` and ``ack`` raw, ``time`` ns, options -1 or () if absent.

    ``order``  kinds of the options as they came; ``gso_size``: 0 unless it is a super-frame
    """

    src_port: int
    dst_port: int
    seq: int
    ack: int
    flags: int
    wnd: int
    up: int
    data: bytes
    time: int
    ecn: int = 0
    ttl: int = 0
    tos: int = 0
    gso_size: int = 0
    mss: int = -1
    wscale: int = -1
    sack_ok: bool = False
    ts_val: int = -1
    ts_ecr: int = -1
    sack: tuple[tuple[int, int], ...] = ()
    cookie: bytes | None = None
    order: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"[{letters(self.flags)}] seq {self.seq} len {len(self.data)} ack {self.ack}"
        text += f" win {self.wnd}"
        for name in ("mss", "wscale", "ts_val", "ts_ecr"):
            value = getattr(self, name)
            if value >= 0:
                text += f" {name} {value}"
        if self.sack:
            text += f" sack {self.sack}"
        return f"{self.time / 1e9:.6f} {text}"


def read(frame: Frame, time: int) -> Seen | None:
    """The TCP packet in a frame that begins with an IP header; None for other protocols.

    Wrong lengths and checksums fail the test that caused them.
    """
    data = frame.data
    if data[0] >> 4 == 4:
        at = (data[0] & 15) * 4
        protocol, tos, ttl = data[9], data[1], data[8]
        assert verify(data[:at]), "IPv4 header checksum"
        assert int.from_bytes(data[2:4], "big") == len(data), "IPv4 total length"
        src, dst = data[12:16], data[16:20]
    else:
        at = 40
        protocol, ttl = data[6], data[7]
        tos = (data[0] & 15) << 4 | data[1] >> 4
        src, dst = data[8:24], data[24:40]
    if protocol != PROTOCOL:
        return None
    total = pseudo_sum(src, dst, PROTOCOL, len(data) - at)
    if frame.csum == CSUM_PARTIAL:
        assert int.from_bytes(data[at + 16 : at + 18], "big") == total, "pseudo-header sum"
    else:
        assert verify(data[at:], total), "TCP checksum"
    sport, dport, seq, ack, offset, flags, wnd, _, up = unpack_from("!HHLLBBHHH", data, at)
    body = at + (offset >> 4) * 4
    seen = Seen(sport, dport, seq, ack, flags, wnd, up, data[body:], time, tos & 3, ttl, tos)
    seen.gso_size = frame.gso_size
    _read_options(data[at + 20 : body], seen)
    return seen


def _read_options(data: bytes, seen: Seen) -> None:
    i = 0
    while i < len(data) and data[i]:
        kind = data[i]
        if kind == 1:
            i += 1
            continue
        length = data[i + 1]
        assert 2 <= length <= len(data) - i, "option length"
        value = data[i + 2 : i + length]
        seen.order.append(kind)
        if kind == 2:
            seen.mss = int.from_bytes(value, "big")
        elif kind == 3:
            seen.wscale = value[0]
        elif kind == 4:
            seen.sack_ok = True
        elif kind == 5:
            edges = unpack_from(f"!{len(value) // 4}L", value)
            seen.sack = tuple(zip(edges[::2], edges[1::2], strict=True))
        elif kind == 8:
            seen.ts_val, seen.ts_ecr = unpack_from("!LL", value)
        elif kind == 34:
            seen.cookie = value
        i += length
    assert not any(data[i:]), "padding must be zero"


def options(
    mss: int = -1,
    wscale: int = -1,
    sack_ok: bool = False,
    ts: tuple[int, int] | None = None,
    sack: tuple[tuple[int, int], ...] = (),
    extra: bytes = b"",
) -> bytes:
    """Options in a plain order, padded with zeros to whole words."""
    out = b""
    if mss >= 0:
        out += pack("!BBH", 2, 4, mss)
    if wscale >= 0:
        out += bytes((1, 3, 3, wscale))
    if sack_ok:
        out += b"\x01\x01\x04\x02"
    if ts is not None:
        out += b"\x01\x01\x08\x0a" + pack("!LL", *ts)
    if sack:
        edges = [edge & 0xFFFFFFFF for block in sack for edge in block]
        out += b"\x01\x01\x05" + bytes((2 + 4 * len(edges),)) + pack(f"!{len(edges)}L", *edges)
    out += extra
    return out + bytes(-len(out) % 4)


def build(
    src: bytes,
    dst: bytes,
    src_port: int,
    dst_port: int,
    seq: int,
    ack: int,
    flags: int,
    wnd: int,
    up: int,
    option_bytes: bytes,
    data: bytes,
    tos: int = 0,
) -> bytes:
    """The IP packet of one segment, all checksums in place."""
    length = 20 + len(option_bytes) + len(data)
    header = pack(
        "!HHLLBBHHH",
        src_port,
        dst_port,
        seq & 0xFFFFFFFF,
        ack & 0xFFFFFFFF,
        (20 + len(option_bytes)) // 4 << 4 | flags >> 8 & 1,
        flags & 0xFF,
        wnd,
        0,
        up,
    )
    segment = header + option_bytes + data
    total = checksum(segment, pseudo_sum(src, dst, PROTOCOL, length))
    segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
    return ip_header(src, dst, PROTOCOL, length, tos) + segment


def ip_header(src: bytes, dst: bytes, protocol: int, length: int, tos: int = 0) -> bytes:
    """An IPv4 or IPv6 header for ``length`` bytes."""
    if len(src) == 16:
        return pack("!LHBB", 6 << 28 | tos << 20, length, protocol, 64) + src + dst
    header = pack("!BBHHHBBH", 0x45, tos, 20 + length, 0, 0x4000, 64, protocol, 0) + src + dst
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
