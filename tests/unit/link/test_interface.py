# SPDX-License-Identifier: Apache-2.0
import pytest
from link_fakes import ETH4, Station, exchange, intact, tcp, udp

from capas.base.config import HostConfig
from capas.base.frame import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame, Offload
from capas.link.interface import Interface, InterfaceAddress
from capas.link.link import ALL_GSO, LinkCaps, Loopback, Medium
from capas.wire import address as addr
from capas.wire.ethernet import Ethernet, header

PEER = bytes.fromhex("0200000000aa")


def frame_to(mac: bytes, ethertype: int = 0x0800, payload: bytes = b"\x45x") -> Frame:
    return Frame(header(mac, PEER, ethertype) + payload)


class Seen:
    def __init__(self) -> None:
        self.list: list[tuple[Frame, bool, int]] = []

    def captured(self, interface: Interface, frame: Frame, outgoing: bool, now: int) -> None:
        self.list.append((frame, outgoing, now))


def test_frame_to_own_mac_goes_to_the_handler_of_its_type() -> None:
    s = Station(1)
    s.interface.receive(frame_to(s.mac), 5)
    s.interface.receive(frame_to(s.mac, 0x86DD, b"\x60y"), 5)
    assert s.upper4.packets == [b"\x45x"]
    assert s.upper6.packets == [b"\x60y"]
    assert s.interface.stats.rx_frames == 2


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"", "link.short"),
        (bytes(13), "link.short"),
        (header(PEER, PEER, 0x0800), "link.not_for_us"),
        (header(b"\x01\x00\x5e\x01\x01\x01", PEER, 0x0800), "link.not_for_us"),
        (header(b"\x02\0\0\0\0\x01", PEER, 0x1234), "link.unknown_type"),
        (header(b"\x02\0\0\0\0\x01", PEER, 0x0026), "link.llc"),
        (header(b"\x02\0\0\0\0\x01", PEER, 0x8100), "link.short"),
        (header(b"\x02\0\0\0\0\x01", PEER, 0x8100) + b"\0\7\x08\0", "link.unknown_vlan"),
        (header(b"\x02\0\0\0\0\x01", PEER, 0x8100) + b"\0\0\x12\x34", "link.unknown_vlan"),
        (header(b"\x02\0\0\0\0\x01", PEER, 0x0806) + b"\0\1", "arp.malformed"),
    ],
)
def test_malformed_and_foreign_frames_are_counted_and_traced(data: bytes, counter: str) -> None:
    s = Station(1)
    s.interface.receive(Frame(data), 0)
    assert s.counters.snapshot() == {counter: 1}
    assert s.notes.drops == [counter]
    assert s.upper4.packets == []


def test_broadcast_and_joined_groups_pass_the_filter() -> None:
    s = Station(1)
    group = addr.parse("239.1.2.3")
    mac = addr.multicast_mac(group)
    s.interface.receive(frame_to(addr.BROADCAST_MAC), 0)
    assert s.interface.groups.join(group)
    assert not s.interface.groups.join(group)
    s.interface.receive(frame_to(mac), 0)
    assert not s.interface.groups.leave(group)
    s.interface.receive(frame_to(mac), 0)
    assert s.interface.groups.leave(group)
    s.interface.receive(frame_to(mac), 0)
    assert len(s.upper4.packets) == 3
    assert s.counters.get("link.not_for_us") == 1


def test_groups_changed_as_a_plain_dict_move_the_filter_and_share_macs() -> None:
    s = Station(1)
    one, two = addr.parse("239.1.2.3"), addr.parse("238.129.2.3")  # one MAC: 23 bits
    assert addr.multicast_mac(one) == addr.multicast_mac(two)
    s.interface.groups[one] = 1
    s.interface.groups[two] = 1
    del s.interface.groups[one]
    s.interface.receive(frame_to(addr.multicast_mac(two)), 0)
    assert len(s.upper4.packets) == 1
    del s.interface.groups[two]
    s.interface.receive(frame_to(addr.multicast_mac(two)), 0)
    assert len(s.upper4.packets) == 1


@pytest.mark.rfc("1112", "7.2")
@pytest.mark.rfc("4291", "2.8")
def test_all_systems_and_all_nodes_are_always_joined() -> None:
    s = Station(1)
    s.interface.receive(frame_to(addr.multicast_mac(addr.ALL_SYSTEMS4)), 0)
    s.interface.receive(frame_to(addr.multicast_mac(addr.ALL_NODES6), 0x86DD, b"\x60"), 0)
    assert len(s.upper4.packets) == len(s.upper6.packets) == 1
    assert s.interface.is_group_frame(s.upper4.frames[0])


def test_promiscuous_passes_everything() -> None:
    s = Station(1)
    s.interface.promiscuous = True
    s.interface.receive(frame_to(PEER), 0)
    assert len(s.upper4.packets) == 1


def test_down_means_nothing_passes() -> None:
    s = Station(1)
    s.interface.up = False
    s.interface.receive(frame_to(s.mac), 0)
    assert not s.interface.send_to_mac(PEER, 0x0800, (b"x",), 0)
    assert not s.send4(bytes((192, 0, 2, 9)))
    assert s.counters.get("link.down") == 3
    assert s.upper4.packets == s.link.frames == []


def test_unicast_waits_for_the_neighbour_and_then_goes_in_order() -> None:
    a, b = Station(1), Station(2)
    assert a.send4(b.address, b"\x45one")
    assert a.send4(b.address, b"\x45two")
    assert len(a.link.frames) == 1  # one question for both
    exchange(a, b, 10)
    assert b.upper4.packets == [b"\x45one", b"\x45two"]
    assert a.send4(b.address, b"\x45three", 20)
    exchange(a, b, 20)
    assert b.upper4.packets[-1] == b"\x45three"
    assert a.counters.get("arp.requests") == 1


@pytest.mark.rfc("1112", "6.4")
@pytest.mark.rfc("2464", "7")
def test_group_addresses_map_to_group_macs() -> None:
    s = Station(1)
    cases = {
        "255.255.255.255": "ff:ff:ff:ff:ff:ff",
        "192.0.2.255": "ff:ff:ff:ff:ff:ff",
        "239.129.2.3": "01:00:5e:01:02:03",
        "ff02::1:ff00:1": "33:33:ff:00:00:01",
    }
    for text, mac in cases.items():
        packed = addr.parse(text)
        s.interface.send(packed, 0x0800 if len(packed) == 4 else 0x86DD, (b"\x45",), None, 0)
        link_header = Ethernet.parse(s.link.take()[0].data)
        assert link_header is not None
        assert addr.mac_text(link_header.destination) == mac
    assert s.interface.neighbors4.entries() == s.interface.neighbors6.entries() == []


def test_offload_offsets_move_by_the_link_header() -> None:
    s = Station(1, LinkCaps(csum=True, gso_types=ALL_GSO))
    packet = tcp(bytes(4000), gso=1448, l2=False)
    s.interface.neighbors4.add_permanent(bytes((192, 0, 2, 2)), PEER, 0)
    offload = Offload(20, 16, packet.gso_type, packet.gso_size)
    assert s.interface.send(bytes((192, 0, 2, 2)), 0x0800, (packet.data,), offload, 9)
    frame = s.link.frames[0]
    assert (frame.csum, frame.csum_start, frame.csum_offset) == (CSUM_PARTIAL, 34, 16)
    assert (frame.gso_type, frame.gso_size, frame.time) == (packet.gso_type, 1448, 9)
    assert frame.data[14:] == packet.data


@pytest.mark.parametrize("v6", [False, True])
def test_a_link_without_offloads_gets_finished_segments(v6: bool) -> None:
    s = Station(1)
    seen = Seen()
    s.interface.taps.append(seen)
    packet = tcp(bytes(4000), gso=1448, v6=v6)
    assert s.interface.transmit(packet, 14, 0)
    assert [len(f.data) - 14 for f in s.link.frames] == [1500 + 20 * v6] * 2 + [1156 + 20 * v6]
    assert all(intact(f.data) and f.csum == CSUM_NONE for f in s.link.frames)
    assert len(seen.list) == 1  # taps see the super-frame, as tcpdump does


def test_a_link_with_checksums_but_without_gso_gets_partial_segments() -> None:
    s = Station(1, LinkCaps(csum=True))
    s.interface.transmit(tcp(bytes(4000), gso=1448), 14, 0)
    assert [f.csum for f in s.link.frames] == [CSUM_PARTIAL] * 3
    s.interface.transmit(udp(bytes(100)), 14, 0)
    assert s.link.frames[-1].csum == CSUM_PARTIAL


def test_a_super_frame_too_large_for_the_link_is_split() -> None:
    s = Station(1, LinkCaps(csum=True, gso_types=ALL_GSO, gso_max=10_000))
    s.interface.transmit(tcp(bytes(20_000), gso=1448), 14, 0)
    assert len(s.link.frames) == 14


def test_busy_link_queues_in_order_up_to_the_cap() -> None:
    s = Station(1, config=HostConfig(interface_queue=3))
    s.link.room = 1
    results = [s.interface.send_to_mac(PEER, 0x0800, (bytes([n]),), 0) for n in range(6)]
    assert results == [True, True, True, True, False, False]
    assert s.counters.get("link.queue_full") == 2
    s.link.room = 3
    s.interface.link_ready(77)
    assert [f.data[14] for f in s.link.frames] == [0, 1, 2]
    assert s.link.frames[-1].time == 77
    s.link.room = 100
    s.interface.send_to_mac(PEER, 0x0800, (b"\x09",), 78)  # a send drains what waits first
    assert [f.data[14] for f in s.link.frames] == [0, 1, 2, 3, 9]
    assert not s.interface.queue
    assert s.interface.stats.tx_frames == 5


def test_trusted_frames_keep_their_facts() -> None:
    s = Station(1)
    for csum in (CSUM_PARTIAL, CSUM_VALID):
        s.interface.receive(Frame(header(s.mac, PEER, 0x0800) + b"\x45", 0, csum), 0)
    assert [f.csum for f in s.upper4.frames] == [CSUM_PARTIAL, CSUM_VALID]


def test_ip_medium_goes_by_the_version_nibble() -> None:
    s = Station(1, LinkCaps(medium=Medium.IP))
    s.interface.receive(Frame(b"\x45four"), 0)
    s.interface.receive(Frame(b"\x60six"), 0)
    assert (s.upper4.packets, s.upper6.packets) == ([b"\x45four"], [b"\x60six"])
    for data in (b"", b"\x50", b"\x00\x01"):
        s.interface.receive(Frame(data), 0)
    assert s.counters.get("link.bad_version") == 3
    del s.interface.handlers[0x86DD]
    s.interface.receive(Frame(b"\x60six"), 0)
    assert s.counters.get("link.unknown_type") == 1
    assert s.send4(bytes((192, 0, 2, 7)), b"\x45out")  # nobody to ask
    assert s.interface.send_to_mac(PEER, 0x0800, (b"\x45o", b"ut2"), 0)
    assert [f.data for f in s.link.frames] == [b"\x45out", b"\x45out2"]


def test_loopback_frames_come_back_partial() -> None:
    s = Station(1)
    link = Loopback(limit=2)
    lo = Interface("lo", 9, bytes(6), link, s.config, s.counters, s.scheduler, s.interface.rng)
    lo.handlers[0x0800] = s.upper4
    packet = tcp(bytes(9000), gso=1448, l2=False)
    offload = Offload(20, 16, packet.gso_type, packet.gso_size)
    for _ in range(3):
        assert lo.send(addr.LOOPBACK4, 0x0800, (packet.data,), offload, 0)
    while link.queue:
        lo.receive(link.queue.popleft(), 0)
        lo.link_ready(0)
    assert [f.csum for f in s.upper4.frames] == [CSUM_PARTIAL] * 3
    assert s.upper4.frames[0].gso_size == 1448


def test_taps_see_both_directions() -> None:
    s = Station(1)
    seen = Seen()
    s.interface.taps.append(seen)
    s.interface.receive(frame_to(PEER), 3)  # even what is not for us
    s.interface.send_to_mac(PEER, 0x0800, (b"x",), 4)
    assert [(outgoing, now) for _, outgoing, now in seen.list] == [(False, 3), (True, 4)]


def test_broadcast_addresses_follow_the_prefixes() -> None:
    s = Station(1)
    s.interface.addresses.append(InterfaceAddress(addr.parse("10.0.0.1"), 31))
    assert s.interface.is_broadcast(addr.parse("192.0.2.255"))
    assert not s.interface.is_broadcast(addr.parse("10.0.0.1"))  # RFC 3021
    assert not s.interface.is_broadcast(addr.parse("192.0.3.255"))
    assert str(s.own.prefix()) == "192.0.2.0/24"


def test_ethernet_padding_stays_for_the_network_layer_to_cut() -> None:
    s = Station(1)
    s.interface.receive(Frame(ETH4[6:12] + ETH4[:6] + b"\x08\0" + bytes(46)), 0)
    assert len(s.upper4.packets[0]) == 46


def test_a_waiting_packet_keeps_the_facts_it_was_sent_with() -> None:
    a, b = Station(1, LinkCaps(csum=True)), Station(2)
    offload = Offload(20, 16)
    packet = tcp(b"x", l2=False)
    a.interface.send(b.address, 0x0800, (packet.data,), offload, 0)
    offload.csum_start = 99  # the sender uses its object for the next packet
    exchange(a, b, 0)
    assert b.upper4.frames[0].csum_start == 34


def test_a_link_without_checksums_gets_finished_ones() -> None:
    s = Station(1)
    s.interface.transmit(udp(bytes(100)), 14, 0)
    assert s.link.frames[0].csum == CSUM_NONE
    assert intact(s.link.frames[0].data)


def test_a_full_queue_is_tried_once_more_before_a_frame_is_lost() -> None:
    s = Station(1, config=HostConfig(interface_queue=1))
    s.link.room = 0
    assert s.interface.send_to_mac(PEER, 0x0800, (b"a",), 0)
    s.link.room = 9  # and nobody said so
    assert s.interface.send_to_mac(PEER, 0x0800, (b"b",), 0)
    assert [f.data[14:] for f in s.link.frames] == [b"a", b"b"]


def test_leaving_what_was_never_joined_changes_nothing() -> None:
    s = Station(1)
    before = dict(s.interface.groups)
    assert not s.interface.groups.leave(addr.parse("239.1.2.3"))
    assert s.interface.groups == before
