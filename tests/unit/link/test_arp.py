# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import pytest
from link_fakes import Station, exchange

from capas.base.clock import NEVER, SECOND
from capas.base.config import HostConfig
from capas.base.frame import Frame
from capas.link.interface import PREFERRED, TENTATIVE, InterfaceAddress
from capas.link.neighbor import REACHABLE, STALE
from capas.wire.address import ANY4, BROADCAST_MAC, ZERO_MAC
from capas.wire.ethernet import ARP_REPLY, ARP_REQUEST, TYPE_ARP, Arp, Ethernet, header

OUR_IP = bytes((192, 0, 2, 1))
PEER, PEER_IP = bytes.fromhex("0200000000aa"), bytes((192, 0, 2, 77))


def messages(s: Station) -> list[tuple[bytes, Arp]]:
    """(destination MAC, message) of what was sent."""
    found = []
    for frame in s.link.take():
        link_header = Ethernet.parse(frame.data)
        assert link_header is not None
        assert link_header.ethertype == TYPE_ARP
        message = Arp.parse(frame.data, 14)
        assert message is not None
        found.append((link_header.destination, message))
    return found


def give(s: Station, message: Arp, to: bytes = BROADCAST_MAC, now: int = 0) -> None:
    data = header(to, message.sender_mac, TYPE_ARP) + message.build() + bytes(18)
    s.interface.receive(Frame(data), now)


def ask(target: bytes, sender: bytes = PEER_IP, mac: bytes = PEER) -> Arp:
    return Arp.request(mac, sender, target)


@pytest.mark.rfc("826", "packet reception")
def test_a_request_is_answered_to_the_asker_who_is_then_known() -> None:
    s = Station(1)
    give(s, ask(s.address))
    assert messages(s) == [(PEER, Arp(ARP_REPLY, s.mac, s.address, PEER, PEER_IP))]
    entry = s.interface.neighbors4.table[PEER_IP]
    assert (entry.mac, entry.state) == (PEER, STALE)


def test_a_request_for_others_teaches_only_about_known_neighbours() -> None:
    s = Station(1)
    give(s, ask(bytes((192, 0, 2, 99))))
    assert messages(s) == []
    assert s.interface.neighbors4.entries() == []
    s.interface.neighbors4.learned(PEER_IP, bytes(5) + b"\1", 0, solicited=True, override=True)
    give(s, ask(bytes((192, 0, 2, 99))))
    assert s.interface.neighbors4.table[PEER_IP].mac == PEER


def test_gratuitous_arp_updates_but_creates_nothing() -> None:
    s = Station(1)
    give(s, ask(PEER_IP))
    give(s, Arp(ARP_REPLY, PEER, PEER_IP, BROADCAST_MAC, PEER_IP))
    assert s.interface.neighbors4.entries() == []
    s.interface.neighbors4.learned(PEER_IP, b"\2" + bytes(5), 0, solicited=True, override=True)
    give(s, ask(PEER_IP))
    entry = s.interface.neighbors4.table[PEER_IP]
    assert (entry.mac, entry.state) == (PEER, STALE)
    assert s.counters.get("link.neighbor_moved") == 1


def test_only_a_unicast_reply_to_us_confirms_reachability() -> None:
    s = Station(1)
    s.send4(PEER_IP)
    give(s, Arp(ARP_REPLY, PEER, PEER_IP, s.mac, s.address), s.mac, 5)
    assert s.interface.neighbors4.table[PEER_IP].state_at(5) == REACHABLE
    s.interface.neighbors4.flush()
    give(s, Arp(ARP_REPLY, PEER, PEER_IP, s.mac, s.address), s.mac, 5)
    assert s.interface.neighbors4.entries() == []  # unasked


@pytest.mark.rfc("1122", "2.3.2.1")
def test_a_stale_neighbour_is_polled_by_unicast() -> None:
    a, b = Station(1), Station(2)
    a.send4(b.address)
    exchange(a, b, 0)
    later = a.interface.neighbors4.reachable + 1
    a.send4(b.address, now=later)
    exchange(a, b, later)
    a.run(later + 5 * SECOND)
    sent = messages(a)
    assert sent == [(b.mac, Arp.request(a.mac, a.address, b.address))]
    give(b, sent[0][1], b.mac, later + 5 * SECOND)
    exchange(a, b, later + 5 * SECOND)
    assert a.interface.neighbors4.table[b.address].state_at(later + 5 * SECOND) == REACHABLE


def test_silence_hands_packets_back() -> None:
    s = Station(1)
    lost: list[tuple[bytes, int]] = []
    s.interface.unreachable = lambda interface, packet, now: lost.append((packet, now))
    s.send4(PEER_IP, b"\x45a")
    s.send4(PEER_IP, b"\x45b")
    s.run(NEVER - 1)
    assert lost == [(b"\x45a", 3 * SECOND), (b"\x45b", 3 * SECOND)]
    assert s.counters.get("link.neighbor_unreachable") == 2


def test_the_question_carries_the_address_of_the_same_prefix() -> None:
    s = Station(1)
    other = InterfaceAddress(bytes((10, 0, 0, 1)), 8)
    hidden = InterfaceAddress(bytes((172, 16, 0, 1)), 12, TENTATIVE)
    s.interface.addresses[:] = [hidden, s.own, other]
    for target, sender in (
        ((10, 9, 9, 9), (10, 0, 0, 1)),
        ((192, 0, 2, 9), (192, 0, 2, 1)),
        ((8, 8, 8, 8), (192, 0, 2, 1)),
        ((172, 16, 0, 9), (192, 0, 2, 1)),
    ):
        s.send4(bytes(target))
        assert messages(s)[0][1].sender == bytes(sender)
    s.interface.addresses.clear()
    s.send4(bytes((1, 2, 3, 4)))
    assert messages(s)[0][1].sender == ANY4


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (
            Arp(ARP_REQUEST, BROADCAST_MAC, PEER_IP, ZERO_MAC, bytes((192, 0, 2, 1))),
            "arp.bad_sender",
        ),
        (Arp(ARP_REPLY, b"\1" + bytes(5), PEER_IP, ZERO_MAC, PEER_IP), "arp.bad_sender"),
        (Arp(ARP_REPLY, ZERO_MAC, PEER_IP, ZERO_MAC, PEER_IP), "arp.bad_sender"),
        (Arp(ARP_REPLY, PEER, bytes((224, 0, 0, 1)), ZERO_MAC, PEER_IP), "arp.bad_sender"),
        (Arp(ARP_REPLY, PEER, bytes((127, 0, 0, 1)), ZERO_MAC, PEER_IP), "arp.bad_sender"),
        (Arp(ARP_REPLY, PEER, bytes((192, 0, 2, 255)), ZERO_MAC, PEER_IP), "arp.bad_sender"),
        (Arp(ARP_REPLY, PEER, b"\xff" * 4, ZERO_MAC, PEER_IP), "arp.bad_sender"),
    ],
)
@pytest.mark.rfc("1812", "3.3.2")
def test_impossible_senders_are_dropped(message: Arp, counter: str) -> None:
    s = Station(1)
    give(s, message)
    assert s.counters.snapshot() == {counter: 1}
    assert s.link.frames == []
    assert s.interface.neighbors4.entries() == []


def test_our_own_broadcast_coming_back_is_ignored() -> None:
    s = Station(1)
    s.arp.address_added(s.own, 0)
    for frame in s.link.take():
        s.interface.receive(frame, 0)
    assert s.counters.snapshot() == {}


# -- own addresses --------------------------------------------------------------------------------


@pytest.mark.rfc("5227", "2.3")
def test_a_new_address_is_announced() -> None:
    s = Station(1, config=HostConfig(arp_announcements=2))
    s.arp.address_added(s.own, 0)
    s.run(NEVER - 1)
    announcement = (BROADCAST_MAC, Arp.request(s.mac, s.address, s.address))
    assert messages(s) == [announcement] * 2
    assert s.own.state == PREFERRED


@pytest.mark.rfc("5227", "2.1.1")
def test_probes_come_first_when_configured() -> None:
    s = Station(1, config=HostConfig(arp_probes=3))
    s.arp.address_added(s.own, 0)
    assert s.own.state == TENTATIVE
    give(s, ask(s.address))  # a tentative address is not defended, nor answered for
    assert messages(s) == []
    times = []
    while s.own.state == TENTATIVE:
        times.append(s.scheduler.next_deadline())
        s.scheduler.run_due(times[-1])
    assert [m for _, m in messages(s)] == [Arp.request(s.mac, ANY4, s.address)] * 3 + [
        Arp.request(s.mac, s.address, s.address)
    ]
    assert 0 <= times[0] < SECOND
    assert all(SECOND <= b - a <= 2 * SECOND for a, b in pairwise(times))


@pytest.mark.rfc("5227", "2.1.1")
@pytest.mark.parametrize(
    "message",
    [
        Arp(ARP_REPLY, PEER, bytes((192, 0, 2, 1)), ZERO_MAC, PEER_IP),  # it is in use
        Arp.request(PEER, ANY4, bytes((192, 0, 2, 1))),  # somebody else probes for it
    ],
)
def test_an_address_in_use_elsewhere_is_not_taken(message: Arp) -> None:
    s = Station(1, config=HostConfig(arp_probes=3))
    told: list[bytes] = []
    s.arp.conflict = lambda address, now: told.append(address.address)
    s.arp.address_added(s.own, 0)
    give(s, message)
    s.run(NEVER - 1)
    assert s.own.state == TENTATIVE
    assert messages(s) == []
    assert told == [s.address]
    assert s.counters.get("arp.conflict") == 1


@pytest.mark.rfc("5227", "2.4", "c")
def test_an_address_is_defended_but_not_more_often_than_every_ten_seconds() -> None:
    s = Station(1)
    s.arp.address_added(s.own, 0)
    messages(s)
    conflict = Arp.request(PEER, s.address, s.address)
    for now in (0, 1, 9 * SECOND, 10 * SECOND, 11 * SECOND):
        give(s, conflict, now=now)
    assert [m for _, m in messages(s)] == [Arp.request(s.mac, s.address, s.address)] * 2
    assert s.counters.get("arp.conflict") == 5
    assert s.counters.get("arp.defended") == 2


def test_a_probe_for_our_address_is_answered() -> None:
    s = Station(1)
    s.arp.address_added(s.own, 0)
    messages(s)
    give(s, Arp.request(PEER, ANY4, s.address))
    assert [m.operation for _, m in messages(s)] == [ARP_REPLY]
    assert s.interface.neighbors4.entries() == []  # a probe has no sender to learn


def test_a_removed_address_is_forgotten() -> None:
    s = Station(1, config=HostConfig(arp_probes=3))
    s.arp.address_added(s.own, 0)
    s.interface.addresses.clear()
    s.arp.address_removed(s.address)
    s.arp.address_removed(s.address)
    s.run(NEVER - 1)
    give(s, ask(s.address))
    assert messages(s) == []


def test_six_addresses_and_media_without_macs_are_not_arps_business() -> None:
    s = Station(1)
    s.arp.address_added(InterfaceAddress(bytes(16), 64), 0)
    assert messages(s) == []


def test_conflicts_are_seen_without_an_announcement() -> None:
    s = Station(1)
    give(s, Arp.request(PEER, s.address, s.address))
    assert [m for _, m in messages(s)] == [Arp.request(s.mac, s.address, s.address)]
    assert s.counters.get("arp.conflict") == 1


def test_the_end_of_probing_is_told() -> None:
    s = Station(1, config=HostConfig(arp_probes=1))
    told: list[tuple[bytes, int]] = []
    s.arp.assigned = lambda address, now: told.append((address.address, address.state))
    s.arp.address_added(s.own, 0)
    s.run(NEVER - 1)
    assert told == [(s.address, PREFERRED)]
