# SPDX-License-Identifier: Apache-2.0
import pytest
from link_fakes import Station, Upper, intact, tcp

from capas.base.frame import CSUM_PARTIAL, Frame, Offload
from capas.base.rng import Rng
from capas.link.interface import Interface
from capas.link.link import ALL_GSO, LinkCaps, Medium
from capas.link.vlan import VlanLink
from capas.wire.ethernet import Ethernet

PEER = bytes.fromhex("0200000000aa")


def sub(s: Station, vlan: int = 7, priority: int = 0) -> tuple[Interface, Upper]:
    link = VlanLink(s.interface, vlan, priority)
    interface = Interface(
        f"eth.{vlan}", 20 + vlan, s.mac, link, s.config, s.counters, s.scheduler, Rng(vlan)
    )
    upper = Upper()
    interface.handlers[0x0800] = upper
    return interface, upper


def test_frames_of_a_vlan_carry_its_tag() -> None:
    s = Station(1)
    interface, _ = sub(s, 7, 3)
    interface.send_to_mac(PEER, 0x0800, (b"\x45x",), 0)
    (frame,) = s.link.frames
    assert Ethernet.parse(frame.data) == Ethernet(PEER, s.mac, 0x0800, 7, 3, 18)
    assert frame.data[18:] == b"\x45x"


def test_tagged_frames_reach_their_vlan_and_no_other() -> None:
    s = Station(1)
    _, seven = sub(s, 7)
    _, eight = sub(s, 8)
    data = Ethernet(s.mac, PEER, 0x0800, 8, 5).build() + b"\x45x"
    s.interface.receive(Frame(data), 0)
    assert (seven.packets, eight.packets, s.upper4.packets) == ([], [b"\x45x"], [])


def test_a_priority_tag_is_no_vlan() -> None:
    s = Station(1)
    s.interface.receive(Frame(Ethernet(s.mac, PEER, 0x0800, 0, 5).build() + b"\x45x"), 0)
    assert s.upper4.packets == [b"\x45x"]


def test_group_frames_reach_the_vlan_that_joined() -> None:
    s = Station(1)
    interface, upper = sub(s)
    group = bytes((239, 1, 2, 3))
    data = Ethernet(b"\x01\x00\x5e\x01\x02\x03", PEER, 0x0800, 7).build() + b"\x45x"
    s.interface.receive(Frame(data), 0)
    assert upper.packets == []
    interface.groups.join(group)
    s.interface.receive(Frame(data), 0)
    assert upper.packets == [b"\x45x"]


def test_offload_facts_cross_the_tag_both_ways() -> None:
    s = Station(1, LinkCaps(csum=True, gso_types=ALL_GSO))
    interface, upper = sub(s)
    packet = tcp(bytes(4000), gso=1448, l2=False)
    offload = Offload(20, 16, packet.gso_type, packet.gso_size)
    peer = bytes((192, 0, 2, 9))
    interface.neighbors4.add_permanent(peer, s.mac, 0)
    interface.send(peer, 0x0800, (packet.data,), offload, 0)
    (frame,) = s.link.frames
    assert (frame.csum, frame.csum_start, frame.gso_size) == (CSUM_PARTIAL, 38, 1448)
    s.interface.receive(frame, 0)
    (back,) = upper.frames
    assert (back.csum_start, back.data[14:]) == (34, packet.data)


def test_a_parent_without_offloads_finishes_the_segments() -> None:
    s = Station(1)
    interface, _ = sub(s)
    packet = tcp(bytes(4000), gso=1448, l2=False)
    peer = bytes((192, 0, 2, 9))
    interface.neighbors4.add_permanent(peer, PEER, 0)
    interface.send(peer, 0x0800, (packet.data,), Offload(20, 16, 1, 1448), 0)
    assert len(s.link.frames) == 3
    assert all(intact(f.data, 18) for f in s.link.frames)


def test_impossible_vlans_are_refused() -> None:
    s = Station(1)
    sub(s, 7)
    for vlan, priority in ((0, 0), (4095, 0), (7, 0), (9, 8)):
        with pytest.raises(ValueError, match="VLAN"):
            VlanLink(s.interface, vlan, priority)
    tun = Station(2, LinkCaps(medium=Medium.IP))
    with pytest.raises(ValueError, match="VLAN tag"):
        VlanLink(tun.interface, 7)
