# SPDX-License-Identifier: Apache-2.0
"""Ethernet headers, and whole frames into an interface: nothing raises, each drop has a name."""

from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.link.interface import Interface, InterfaceAddress
from capas.link.link import Link, LinkCaps, Medium
from capas.link.vlan import VlanLink
from capas.wire.ethernet import Arp, Ethernet

OURS, PEER = bytes((2, 0, 0, 0, 0, 1)), bytes((2, 0, 0, 0, 0, 2))
OUR_IP, PEER_IP = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))

SEEDS = [
    Ethernet(OURS, PEER, 0x0800).build() + b"\x45" + bytes(40),
    Ethernet(OURS, PEER, 0x86DD).build() + b"\x60" + bytes(60),
    Ethernet(b"\xff" * 6, PEER, 0x0806).build() + Arp.request(PEER, PEER_IP, OUR_IP).build(),
    Ethernet(OURS, PEER, 0x0800, 7).build() + b"\x45" + bytes(40),
    Ethernet(OURS, PEER, 0x0800, 0, 5).build() + b"\x45" + bytes(40),
    b"\x45" + bytes(40),
]


class Sink(Link):
    def __init__(self, caps: LinkCaps) -> None:
        self.caps = caps
        self.sink = None

    def transmit(self, frame: Frame) -> bool:
        return True


class Upper:
    def __init__(self) -> None:
        self.count = 0

    def receive(self, interface: Interface, frame: Frame, l3: int, now: int) -> None:
        self.count += 1
        assert len(frame.data) >= l3


def interface(caps: LinkCaps) -> tuple[Interface, Counters, Upper]:
    counters, upper = Counters(), Upper()
    made = Interface("x", 1, OURS, Sink(caps), HostConfig(), counters, Scheduler(), Rng(1))
    made.addresses.append(InterfaceAddress(OUR_IP, 24))
    made.handlers[0x0800] = made.handlers[0x86DD] = upper
    return made, counters, upper


def test(data: bytes) -> None:
    header = Ethernet.parse(data)
    if header is not None:
        assert header.build() == data[: header.payload]
    ethernet, counters, upper = interface(LinkCaps())
    vlan = VlanLink(ethernet, 7)
    inner = Interface("v", 2, OURS, vlan, HostConfig(), counters, Scheduler(), Rng(2))
    inner.handlers[0x0800] = upper
    ethernet.receive(Frame(data), 0)
    tun, tun_counters, tun_upper = interface(LinkCaps(medium=Medium.IP))
    tun.receive(Frame(data), 0)
    assert tun_upper.count + tun_counters.get("link.bad_version") == 1
