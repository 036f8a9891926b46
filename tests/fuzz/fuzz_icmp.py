# SPDX-License-Identifier: Apache-2.0
"""ICMP, ND and MLD messages with good checksums into a host that listens to routers."""

from capas.base.clock import SECOND, Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import CSUM_VALID, Frame
from capas.base.rng import Rng
from capas.internet.ra_sender import RaConfig
from capas.internet.stack import build
from capas.link.interface import Interface
from capas.link.link import Link, LinkCaps, Loopback
from capas.wire.address import ALL_NODES6
from capas.wire.igmp import Mld
from capas.wire.ipv4 import Ipv4Header
from capas.wire.ipv6 import Ipv6Header
from capas.wire.ndp import (
    NeighborAdvertisement,
    NeighborSolicitation,
    Options,
    PrefixInfo,
    Redirect,
    RouterAdvertisement,
    RouterSolicitation,
)

A4, B4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
PEER, B6 = b"\xfe\x80" + bytes(13) + b"\x01", b"\x20\x01" + bytes(13) + b"\x02"
MAC = b"\x02\0\0\0\xaa\xaa"
QUOTE4 = Ipv4Header(B4, A4, 17, 28).build() + bytes(8)
QUOTE6 = Ipv6Header(B6, PEER, 17, 8).build() + bytes(8)
FULL = Options(
    MAC,
    MAC,
    (PrefixInfo(b"\x20\x01" + bytes(14), 64), PrefixInfo(b"\x20\x03" + bytes(14), 64)),
    QUOTE6,
    1400,
    b"nonce!",
    ((100, (B6,)),),
    ((100, ("example.org",)),),
)


def raw(kind: int, built: tuple[bytes, bytes], code: int = 0) -> bytes:
    return bytes((kind, code, 0, 0)) + built[0] + built[1]


SEEDS = [
    raw(133, RouterSolicitation(FULL).build()),
    raw(134, RouterAdvertisement(64, options=FULL).build()),
    raw(134, RouterAdvertisement(options=FULL).build()) * 2,
    raw(135, NeighborSolicitation(B6, FULL).build()),
    raw(136, NeighborAdvertisement(B6, True, True, True, FULL).build()),
    raw(136, NeighborAdvertisement(PEER, False, True, True, FULL).build()),
    raw(137, Redirect(PEER[:15] + b"\x05", PEER, FULL).build()),
    raw(130, Mld(bytes(16), SECOND).build()),
    raw(131, Mld(ALL_NODES6[:15] + b"\x77").build()),
    raw(2, (b"\0\0\5\0", QUOTE6)),
    raw(1, (bytes(4), QUOTE6), 4),
    raw(128, (b"\0\1\0\1", b"ping")),
    raw(3, (b"\0\0\5\0", QUOTE4), 4),
    raw(5, (bytes((10, 0, 0, 9)), QUOTE4), 1),
    raw(13, (b"\0\1\0\1", bytes(12))),
    raw(12, (b"\x14\0\0\0", QUOTE4)),
]


class Sink(Link):
    def __init__(self) -> None:
        self.caps = LinkCaps()
        self.sink = None

    def transmit(self, frame: Frame) -> bool:
        return True


def test(data: bytes) -> None:
    config = HostConfig(
        dad_transmits=len(data) % 2,
        default_routers=2,
        autoconfigured_addresses=2,
        use_tempaddr=len(data) // 2 % 3,
        temp_preferred_lifetime=100 * SECOND,
        temp_valid_lifetime=200 * SECOND,
        temp_max_desync=10 * SECOND,
        redirect_routes=2,
        path_mtu_entries=2,
        neighbor_entries=8,
    )
    counters, scheduler = Counters(), Scheduler()
    stack = build(config, counters, scheduler, Rng(7))
    lo = Interface("lo", 1, bytes(6), Loopback(), config, counters, scheduler, Rng(1))
    stack.attach(lo, 0)
    interface = Interface(
        "eth0", 2, b"\x02\0\0\0\0\x02", Sink(), config, counters, scheduler, Rng(2)
    )
    stack.attach(interface, 0)
    stack.add_address(interface, B4, 24, 0)
    stack.add_address(interface, B6, 64, 0)
    if len(data) % 3 == 0:
        stack.nd.advertise(interface, RaConfig(), 0)
    for now in (0, 10 * SECOND):
        scheduler.run_due(now)
        for dst, hops in ((B6, 255), (ALL_NODES6, 255), (ALL_NODES6, 1)):
            packet = Ipv6Header(PEER, dst, 58, len(data), hops).build() + data
            mac = interface.mac if dst == B6 else b"\x33\x33" + dst[12:]
            frame = Frame(mac + MAC + b"\x86\xdd" + packet, now, CSUM_VALID)
            interface.receive(frame, now)
        packet = Ipv4Header(A4, B4, 1, 20 + len(data)).build() + data
        frame = Frame(interface.mac + MAC + b"\x08\0" + packet, now, CSUM_VALID)
        interface.receive(frame, now)
    autoconf = stack.nd.autoconf[2]
    assert len(autoconf.routers) <= 2
    assert sum(1 for own in interface.addresses if own.origin == "slaac") <= 2
    assert len(stack.redirects.routes) <= 2
    assert len(stack.shared.pmtu.entries) <= 2
    for _ in range(50):
        due = scheduler.next_deadline()
        if due > 10**15:
            break
        scheduler.run_due(due)
