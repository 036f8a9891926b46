# SPDX-License-Identifier: Apache-2.0
"""ARP messages, one after another, into one interface: nothing raises, the table stays bounded."""

from capas.base.clock import SECOND, Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.link.interface import Interface, InterfaceAddress
from capas.link.link import Link, LinkCaps
from capas.wire.ethernet import ARP_REPLY, Arp, header

OURS, PEER = bytes((2, 0, 0, 0, 0, 1)), bytes((2, 0, 0, 0, 0, 2))
OUR_IP, PEER_IP = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))

SEEDS = [
    Arp.request(PEER, PEER_IP, OUR_IP).build(),
    Arp(ARP_REPLY, PEER, PEER_IP, OURS, OUR_IP).build(),
    Arp.request(PEER, OUR_IP, OUR_IP).build(),
    Arp.request(PEER, bytes(4), OUR_IP).build() * 3,
]


class Sink(Link):
    def __init__(self) -> None:
        self.caps = LinkCaps()
        self.sink = None
        self.frames: list[bytes] = []

    def transmit(self, frame: Frame) -> bool:
        self.frames.append(frame.data)
        return True


def test(data: bytes) -> None:
    message = Arp.parse(data)
    if message is not None:
        assert message.build() == data[:28]
    link, scheduler = Sink(), Scheduler()
    config = HostConfig(neighbor_entries=4, arp_probes=len(data) % 3)
    interface = Interface("x", 1, OURS, link, config, Counters(), scheduler, Rng(1))
    own = InterfaceAddress(OUR_IP, 24)
    interface.addresses.append(own)
    interface.arp.address_added(own, 0)
    interface.send(PEER_IP, 0x0800, (b"\x45",), None, 0)
    now = 0
    for at in range(0, max(1, len(data)), 28):
        interface.receive(Frame(header(OURS, PEER, 0x0806) + data[at : at + 28]), now)
        now += SECOND
        scheduler.run_due(now)
        assert len(interface.neighbors4.entries()) <= 4
    assert all(len(sent) >= 15 for sent in link.frames)
