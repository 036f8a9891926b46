# SPDX-License-Identifier: Apache-2.0
"""Whole IP packets, several in a row, into a forwarding host with two interfaces.

Nothing raises, and what a stranger can make grow stays within its cap.
"""

from capas.base.clock import SECOND, Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.internet.stack import build
from capas.link.interface import Interface
from capas.link.link import Link, LinkCaps, Loopback
from capas.transport.raw import RawLayer
from capas.wire import icmp, ipv4
from capas.wire.icmp import Message
from capas.wire.ipv4 import Ipv4Header
from capas.wire.ipv6 import Fragment, Ipv6Header, hop_by_hop

A4, B4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
A6, B6 = b"\x20\x01" + bytes(13) + b"\x01", b"\x20\x01" + bytes(13) + b"\x02"
RAW = (253, 0, 1, 2, 44, 58)  # protocols, those of extension headers and of the stack among them
FAR4, FAR6 = bytes((10, 0, 1, 9)), b"\x20\x02" + bytes(13) + b"\x09"


def v4(payload: bytes, dst: bytes = B4, protocol: int = 253, **fields: object) -> bytes:
    options = fields.get("options", b"")
    assert isinstance(options, bytes)
    total = 20 + len(options) + len(payload)
    return Ipv4Header(A4, dst, protocol, total, **fields).build() + payload  # type: ignore[arg-type]


def v6(first: int, payload: bytes, dst: bytes = B6) -> bytes:
    return Ipv6Header(A6, dst, first, len(payload), 255).build() + payload


QUOTE4 = Ipv4Header(B4, A4, 17, 28).build() + bytes(8)
QUOTE6 = Ipv6Header(B6, A6, 17, 8).build() + bytes(8)
SEEDS = [
    v4(b"hello"),
    v4(b"hello", FAR4),
    v4(b"x" * 40, FAR4, options=b"\x07\x0b\x04" + bytes(9)),
    v4(b"x" * 16, flags=ipv4.MF) + v4(b"y" * 9, offset=16),
    v4(b"x" * 16, flags=ipv4.MF) + v4(b"y" * 9, offset=8),
    v4(icmp.echo(8, 1, 1, b"ping").build(), protocol=1),
    v4(Message(3, 4, b"\0\0\x05\0", QUOTE4).build(), protocol=1),
    v4(Message(5, 1, bytes((10, 0, 0, 9)), QUOTE4).build(), protocol=1),
    v4(b"x", options=b"\x83\x07\x04" + FAR4 + b"\0"),
    v4(b"x" * 30, FAR4, options=b"\x44\x0c\x05\x01" + bytes(8)),
    v6(253, b"hello"),
    v6(253, b"hello", FAR6),
    v6(0, hop_by_hop(60, b"\x05\x02\0\0") + hop_by_hop(253, b"\x1e\0") + b"deep"),
    v6(44, Fragment(253, 0, True, 1).build() + bytes(16))
    + v6(44, Fragment(253, 16, False, 1).build() + bytes(9)),
    v6(44, Fragment(253, 0, False, 1).build() + bytes(16)),
    v6(58, icmp.echo(128, 1, 1, b"ping").build6(A6, B6)),
    v6(58, Message(2, 0, b"\0\0\5\0", QUOTE6).build6(A6, B6)),
]


class Sink(Link):
    def __init__(self, mtu: int) -> None:
        self.caps = LinkCaps(mtu)
        self.sink = None
        self.frames: list[Frame] = []

    def transmit(self, frame: Frame) -> bool:
        assert len(frame.data) - 14 <= self.caps.mtu
        self.frames.append(frame)
        return True


def cut(data: bytes) -> list[bytes]:
    """The packets of an input: as long as their headers say, the rest as it is."""
    found = []
    while data and len(found) < 8:
        size = len(data)
        if len(data) >= 40 and data[0] >> 4 == 6:
            size = 40 + (data[4] << 8 | data[5])
        elif len(data) >= 20 and data[0] >> 4 == 4:
            size = max(data[2] << 8 | data[3], 20)
        found.append(data[:size])
        data = data[size:]
    return found


def mended(packet: bytes) -> bytes:
    """IPv4 headers get a good checksum, so that mutations reach further."""
    header = (packet[0] & 15) * 4 if packet else 0
    if packet and packet[0] >> 4 == 4 and 20 <= header <= len(packet):
        head = packet[:10] + b"\0\0" + packet[12:header]
        return ipv4.with_checksum(head) + packet[header:]
    return packet


def test(data: bytes) -> None:
    config = HostConfig(
        forwarding=True,
        dad_transmits=0,
        reassembly_flows=2,
        reassembly_bytes=2000,
        accept_source_route=len(data) % 2 == 1,
    )
    counters, scheduler = Counters(), Scheduler()
    stack = build(config, counters, scheduler, Rng(7))
    lo = Interface("lo", 1, bytes(6), Loopback(), config, counters, scheduler, Rng(1))
    stack.attach(lo, 0)
    interfaces = []
    for i, mtu in ((2, 1500), (3, 1280)):
        mac = bytes((2, 0, 0, 0, 0, i))
        interface = Interface(f"e{i}", i, mac, Sink(mtu), config, counters, scheduler, Rng(i))
        stack.attach(interface, 0)
        interfaces.append(interface)
    stack.add_address(interfaces[0], B4, 24, 0)
    stack.add_address(interfaces[0], B6, 64, 0)
    stack.add_address(interfaces[1], FAR4[:3] + b"\x01", 24, 0)
    stack.add_address(interfaces[1], FAR6[:15] + b"\x01", 64, 0)
    if len(data) % 3 == 0:  # somebody reads all that comes, and more than is kept
        config.udp_receive_buffer = 2000
        raw = RawLayer(stack.net, config, [])
        sniffers = [raw.open(None, size, protocol) for size in (4, 16) for protocol in RAW]
    for n, packet in enumerate(cut(data)):
        kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        for body in (packet, mended(packet)):
            frame = Frame(interfaces[0].mac + b"\x02" + bytes(5) + kind + body)
            interfaces[0].receive(frame, n * SECOND)
    if len(data) % 3 == 0:
        for sniffer in sniffers:
            assert sniffer.queued <= 2000 or len(sniffer.queue) == 1
            sniffer.close(0)
        assert RAW[0] not in stack.ipv4.protocols
    for part in (stack.ipv4.reassembly, stack.ipv6.reassembly):
        assert len(part.datagrams) <= 2
        assert part.bytes_held <= 2000
    scheduler.run_due(100 * SECOND)
    assert not stack.ipv4.reassembly.datagrams
