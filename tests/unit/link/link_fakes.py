# SPDX-License-Identifier: Apache-2.0
"""Fakes and packet makers shared by the tests of the link layer."""

from __future__ import annotations

import struct

from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import (
    CSUM_PARTIAL,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    Frame,
)
from capas.base.rng import Rng
from capas.link.interface import Interface, InterfaceAddress
from capas.link.link import Link, LinkCaps
from capas.wire import address as addr

A4, B4 = addr.parse("192.0.2.1"), addr.parse("192.0.2.2")
A6, B6 = addr.parse("2001:db8::1"), addr.parse("2001:db8::2")
ETH4 = bytes.fromhex("020000000002020000000001") + b"\x08\x00"
ETH6 = bytes.fromhex("020000000002020000000001") + b"\x86\xdd"


def plain_sum(data: bytes) -> int:
    """RFC 1071 by the book: 16-bit words with end-around carry."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for i in range(0, len(data), 2):
        total += data[i] << 8 | data[i + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(src: bytes, dst: bytes, protocol: int, length: int) -> bytes:
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, protocol, length)
    return src + dst + struct.pack("!IBBBB", length, 0, 0, 0, protocol)


def intact(data: bytes, l3: int = 14) -> bool:
    """Whether lengths and checksums of an IP packet with TCP or UDP hold, computed by the book."""
    packet = data[l3:]
    if packet[0] >> 4 == 4:
        size = (packet[0] & 15) * 4
        if plain_sum(packet[:size]) != 0xFFFF or struct.unpack_from("!H", packet, 2)[0] != len(
            packet
        ):
            return False
        src, dst, protocol = packet[12:16], packet[16:20], packet[9]
    else:
        size = 40
        if struct.unpack_from("!H", packet, 4)[0] != len(packet) - 40:
            return False
        src, dst, protocol = packet[8:24], packet[24:40], packet[6]
    body = packet[size:]
    if protocol == 17 and struct.unpack_from("!H", body, 4)[0] != len(body):
        return False
    return plain_sum(pseudo(src, dst, protocol, len(body)) + body) == 0xFFFF


def ip(body: bytes, protocol: int, v6: bool, ident: int = 7, df: bool = True) -> bytes:
    if v6:
        return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + A6 + B6 + body
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), ident, 0x4000 * df, 64, protocol, 0, A4, B4
    )
    return header[:10] + struct.pack("!H", plain_sum(header) ^ 0xFFFF) + header[12:] + body


def tcp(
    payload: bytes,
    *,
    v6: bool = False,
    gso: int = 0,
    flags: int = 0x18,
    seq: int = 1000,
    ack: int = 5,
    options: bytes = bytes([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
    ident: int = 7,
    df: bool = True,
    l2: bool = True,
    port: int = 1000,
) -> Frame:
    """A CSUM_PARTIAL frame with one TCP segment, or a super-frame if ``gso``."""
    size = 20 + len(options)
    src, dst = (A6, B6) if v6 else (A4, B4)
    start = plain_sum(pseudo(src, dst, 6, size + len(payload)))
    head = struct.pack("!HHIIBBHHH", port, 80, seq, ack, (size // 4) << 4, flags, 500, start, 0)
    data = ip(head + options + payload, 6, v6, ident, df)
    link = (ETH6 if v6 else ETH4) if l2 else b""
    kind = (GSO_TCPV6 if v6 else GSO_TCPV4) if gso else 0
    return Frame(link + data, 0, CSUM_PARTIAL, len(link) + (40 if v6 else 20), 16, kind, gso)


def udp(payload: bytes, *, v6: bool = False, gso: int = 0, port: int = 53) -> Frame:
    """A CSUM_PARTIAL frame with one datagram, or a super-frame if ``gso``."""
    src, dst = (A6, B6) if v6 else (A4, B4)
    start = plain_sum(pseudo(src, dst, 17, 8 + len(payload)))
    data = ip(struct.pack("!HHHH", 40_000, port, 8 + len(payload), start) + payload, 17, v6)
    link = ETH6 if v6 else ETH4
    kind = GSO_UDP_L4 if gso else 0
    return Frame(link + data, 0, CSUM_PARTIAL, 14 + (40 if v6 else 20), 6, kind, gso)


class WireLink(Link):
    """Keeps what it is given; ``room`` frames until it is busy."""

    def __init__(self, caps: LinkCaps | None = None) -> None:
        self.caps = caps or LinkCaps()
        self.sink = None
        self.frames: list[Frame] = []
        self.room = 1 << 30

    def transmit(self, frame: Frame) -> bool:
        if len(self.frames) >= self.room:
            return False
        self.frames.append(frame)
        return True

    def take(self) -> list[Frame]:
        frames, self.frames = self.frames, []
        return frames


class Notes:
    """A tracer that remembers."""

    def __init__(self) -> None:
        self.drops: list[str] = []
        self.decisions: list[str] = []

    def dropped(self, now: int, counter: str, clause: str) -> None:
        self.drops.append(counter)

    def decided(self, now: int, event: str, text: str) -> None:
        self.decisions.append(event)


class Upper:
    """A network layer that remembers."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.frames: list[Frame] = []

    def receive(self, interface: Interface, frame: Frame, l3: int, now: int) -> None:
        self.packets.append(frame.data[l3:])
        self.frames.append(frame)


class Station:
    """One interface with ARP, its link and the layers above it."""

    def __init__(
        self, n: int, caps: LinkCaps | None = None, config: HostConfig | None = None
    ) -> None:
        self.link = WireLink(caps)
        self.scheduler = Scheduler()
        self.counters = Counters()
        self.config = config or HostConfig()
        self.mac = bytes((2, 0, 0, 0, 0, n))
        self.interface = Interface(
            f"eth{n}",
            n,
            self.mac,
            self.link,
            self.config,
            self.counters,
            self.scheduler,
            Rng(n),
        )
        self.arp = self.interface.arp
        self.upper4, self.upper6 = Upper(), Upper()
        self.interface.handlers[0x0800] = self.upper4
        self.interface.handlers[0x86DD] = self.upper6
        self.notes = Notes()
        self.interface.trace = self.notes
        self.address = bytes((192, 0, 2, n))
        self.own = InterfaceAddress(self.address, 24)
        self.interface.addresses.append(self.own)

    def send4(self, to: bytes, packet: bytes = b"\x45packet", now: int = 0) -> bool:
        return self.interface.send(to, 0x0800, (packet,), None, now)

    def run(self, until: int) -> None:
        while self.scheduler.next_deadline() <= until:
            self.scheduler.run_due(self.scheduler.next_deadline())


def exchange(a: Station, b: Station, now: int) -> None:
    """Carry frames between two stations until both are quiet."""
    while a.link.frames or b.link.frames:
        for frame in a.link.take():
            b.interface.receive(frame, now)
        for frame in b.link.take():
            a.interface.receive(frame, now)
