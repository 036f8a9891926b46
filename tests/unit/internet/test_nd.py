# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net, Node

from capas.base.clock import MS, SECOND
from capas.base.frame import Frame
from capas.link.interface import TENTATIVE
from capas.link.neighbor import REACHABLE, STALE
from capas.wire import icmp
from capas.wire.address import ALL_NODES6, ANY6, link_local6, parse, solicited_node
from capas.wire.icmp import Message
from capas.wire.ipv6 import Fragment, Ipv6Header
from capas.wire.ndp import (
    NeighborAdvertisement,
    NeighborSolicitation,
    Options,
    RouterAdvertisement,
)

PEER_MAC = b"\x02\0\0\0\xaa\xaa"
PEER = parse("fe80::aa:aa")
OURS = parse("2001:db8::1")


def host(**settings) -> tuple[Net, Node]:
    net = Net()
    a = net.node("a", **settings)
    segment = net.segment()
    a.plug(segment, "2001:db8::1/64")
    return net, a


def settled(**settings) -> tuple[Net, Node]:
    net, a = host(**settings)
    net.run(20 * SECOND)
    net.segments[0].log.clear()
    a.counters.values.clear()
    return net, a


def wire(src: bytes, dst: bytes, kind: int, built: tuple[bytes, bytes], **fields) -> bytes:
    code = fields.pop("code", 0)
    data = Message(kind, code, *built).build6(src, dst)
    fields.setdefault("hop_limit", 255)
    return Ipv6Header(src, dst, 58, len(data), **fields).build() + data


def hear(node: Node, packet: bytes) -> None:
    interface = node.interfaces[1]
    mac = interface.mac if packet[24] != 0xFF else b"\x33\x33" + packet[36:40]
    interface.receive(Frame(mac + PEER_MAC + b"\x86\xdd" + packet), node.net.now)


def said(net: Net, *types: int) -> list[tuple[Ipv6Header, Message, bytes]]:
    """(header, message, destination MAC) of the ICMPv6 messages of some types sent."""
    net.settle()
    found = []
    for frame in net.segments[0].log:
        data = frame.data
        if data[12:14] != b"\x86\xdd" or data[20] != 58:
            continue
        message = Message.parse(data, 54, len(data), icmp.pseudo6(data, 14, 54, len(data)))
        assert message is not None
        if message.type in types:
            header = Ipv6Header.parse(data, 14)
            assert header is not None
            found.append((header, message, data[:6]))
    net.segments[0].log.clear()
    return found


def neighbor(node: Node, address: bytes):
    return node.interfaces[1].neighbors6.table.get(address)


# -- neighbour solicitations and advertisements ---------------------------------------------------


@pytest.mark.rfc("4861", "7.2.4")
def test_a_solicitation_is_answered() -> None:
    net, a = settled()
    ns = NeighborSolicitation(OURS, Options(source_mac=PEER_MAC))
    hear(a, wire(PEER, solicited_node(OURS), 135, ns.build()))
    ((header, message, mac),) = said(net, 136)
    na = NeighborAdvertisement.parse(message.rest, message.body)
    assert na == NeighborAdvertisement(
        OURS, False, True, True, Options(target_mac=a.interfaces[1].mac)
    )
    assert (header.src, header.dst, header.hop_limit) == (OURS, PEER, 255)
    assert mac == PEER_MAC
    entry = neighbor(a, PEER)
    assert entry is not None
    assert entry.mac == PEER_MAC
    assert entry.state == STALE or entry.state_at(net.now) != REACHABLE


@pytest.mark.rfc("4861", "7.2.4")
def test_a_prober_is_answered_by_multicast() -> None:
    net, a = settled()
    hear(a, wire(ANY6, solicited_node(OURS), 135, NeighborSolicitation(OURS).build()))
    ((header, message, _),) = said(net, 136)
    na = NeighborAdvertisement.parse(message.rest, message.body)
    assert na is not None
    assert (header.dst, na.solicited, na.override) == (ALL_NODES6, False, True)


def test_routers_say_they_are() -> None:
    net, a = settled(forwarding=True)
    hear(a, wire(PEER, OURS, 135, NeighborSolicitation(OURS, Options(PEER_MAC)).build()))
    ((_, message, _),) = said(net, 136)
    assert message.rest[0] & 0x80


GOOD = NeighborSolicitation(OURS, Options(source_mac=PEER_MAC)).build()
SELF = solicited_node(OURS)


@pytest.mark.rfc("4861", "7.1")
@pytest.mark.parametrize(
    ("counter", "packet"),
    [
        ("nd.invalid", wire(PEER, SELF, 135, GOOD, hop_limit=254)),
        ("nd.invalid", wire(PEER, SELF, 135, GOOD, code=1)),
        ("nd.malformed", wire(PEER, SELF, 135, (bytes(4), OURS[:15]))),
        ("nd.malformed", wire(PEER, SELF, 135, (bytes(4), OURS + b"\x01\0" + bytes(6)))),
        ("nd.malformed", wire(PEER, SELF, 135, (bytes(4), ALL_NODES6))),
        ("nd.malformed", wire(ANY6, SELF, 135, GOOD)),
        ("nd.malformed", wire(ANY6, ALL_NODES6, 135, NeighborSolicitation(OURS).build())),
        (
            "nd.malformed",
            wire(PEER, ALL_NODES6, 136, NeighborAdvertisement(PEER, solicited=True).build()),
        ),
        ("nd.malformed", wire(OURS[:15] + b"\x09", ALL_NODES6, 134, (bytes(4), bytes(8)))),
        ("nd.malformed", wire(PEER, ALL_NODES6, 134, (bytes(4), bytes(7)))),
        ("nd.malformed", wire(ANY6, ALL_NODES6, 133, (bytes(4), Options(PEER_MAC).build()))),
        ("nd.own_source", wire(OURS, SELF, 135, GOOD)),
        ("nd.malformed", wire(PEER, OURS, 137, (bytes(4), bytes(31)))),
        ("nd.address_conflict", wire(PEER, ALL_NODES6, 136, NeighborAdvertisement(OURS).build())),
    ],
)
def test_bad_messages(counter: str, packet: bytes) -> None:
    net, a = settled()
    hear(a, packet)
    assert a.counters.get(counter) == 1, a.counters.snapshot()
    assert said(net, 133, 134, 135, 136, 137) == []
    assert neighbor(a, PEER) is None
    assert a.stack.net.is_local(OURS)


@pytest.mark.rfc("6980", "5")
@pytest.mark.parametrize("atomic", [True, False])
def test_fragmented_messages_are_ignored(atomic: bool) -> None:
    net, a = settled()
    data = wire(PEER, SELF, 135, GOOD)[40:]
    parts = [(0, data, False)] if atomic else [(0, data[:24], True), (24, data[24:], False)]
    for offset, piece, more in parts:
        rest = Fragment(58, offset, more, 5).build() + piece
        hear(a, Ipv6Header(PEER, SELF, 44, len(rest), 255).build() + rest)
    assert a.counters.get("nd.fragmented") == 1
    assert said(net, 136) == []


def test_solicitations_for_others_are_not_ours() -> None:
    net, a = settled()
    other = parse("2001:db8::2")
    hear(a, wire(PEER, OURS, 135, NeighborSolicitation(other, Options(PEER_MAC)).build()))
    assert said(net, 136) == []
    assert neighbor(a, PEER) is None


@pytest.mark.rfc("4861", "7.2.2")
def test_resolution() -> None:
    net, a = settled()
    to = parse("2001:db8::77")
    a.send("2001:db8::77", b"one")
    a.send("2001:db8::77", b"two")
    ((header, message, mac),) = said(net, 135)
    ns = NeighborSolicitation.parse(message.rest, message.body)
    assert ns == NeighborSolicitation(to, Options(source_mac=a.interfaces[1].mac))
    assert (header.src, header.dst) == (OURS, solicited_node(to))
    assert mac == b"\x33\x33\xff\x00\x00\x77"
    answer = NeighborAdvertisement(to, False, True, True, Options(target_mac=PEER_MAC))
    hear(a, wire(to, OURS, 136, answer.build()))
    sent = [f.data for f in net.segments[0].queue and [f for _, f in net.segments[0].queue]]
    assert [data[54:] for data in sent] == [b"one", b"two"]
    assert all(data[:6] == PEER_MAC for data in sent)
    assert neighbor(a, to).state_at(net.now) == REACHABLE


@pytest.mark.rfc("4861", "7.2.5")
def test_unasked_advertisements_make_no_entries() -> None:
    _, a = settled()
    answer = NeighborAdvertisement(PEER, False, False, True, Options(target_mac=PEER_MAC))
    hear(a, wire(PEER, ALL_NODES6, 136, answer.build()))
    assert neighbor(a, PEER) is None


# -- duplicate address detection ------------------------------------------------------------------


@pytest.mark.rfc("4862", "5.4.2")
def test_an_address_is_tested_before_it_is_used() -> None:
    net, a = host(dad_transmits=1)
    own = a.interfaces[1].addresses[-1]
    assert own.state == TENTATIVE
    assert not a.stack.net.is_local(OURS)
    probes = said(net, 135)
    assert [header.src for header, _, _ in probes] == [ANY6]
    ns = NeighborSolicitation.parse(probes[0][1].rest, probes[0][1].body)
    assert ns is not None
    assert ns.options.source_mac is None
    assert ns.options.nonce is not None
    net.run(999 * MS)
    assert not a.stack.net.is_local(OURS)
    net.run(1 * MS)
    assert a.stack.net.is_local(OURS)
    assert a.stack.net.route(parse("2001:db8::5")) is not None


def test_tentative_addresses_neither_answer_nor_receive() -> None:
    net, a = host(dad_transmits=1)
    said(net)
    hear(a, wire(PEER, solicited_node(OURS), 135, GOOD))
    hear(a, Ipv6Header(PEER, OURS, 253, 1).build() + b"x")
    assert said(net, 136) == []
    assert a.recorder.packets == []
    net.run(5 * SECOND)
    assert a.stack.net.is_local(OURS)


@pytest.mark.rfc("4862", "5.4.4")
@pytest.mark.rfc("4862", "5.4.3")
@pytest.mark.parametrize("how", ["advertised", "probed"])
def test_somebody_elses_address_is_given_up(how: str) -> None:
    net, a = host(dad_transmits=3)
    lost = []
    a.stack.nd.conflict = lambda interface, own, now: lost.append(own.address)
    said(net)
    if how == "advertised":
        na = NeighborAdvertisement(OURS, False, False, True, Options(target_mac=PEER_MAC))
        hear(a, wire(OURS, ALL_NODES6, 136, na.build()))
    else:
        hear(a, wire(ANY6, solicited_node(OURS), 135, NeighborSolicitation(OURS).build()))
    assert lost == [OURS]
    assert a.counters.get("nd.dad_failed") == 1
    net.run(10 * SECOND)
    assert not a.stack.net.is_local(OURS)
    assert a.interfaces[1].groups[solicited_node(OURS)] == 1  # the link-local address's


@pytest.mark.rfc("7527", "4.2")
def test_our_own_probe_coming_back_is_no_conflict() -> None:
    net, a = host(dad_transmits=2)
    ((header, message, _),) = said(net, 135)
    hear(a, wire(header.src, header.dst, 135, (message.rest, message.body)))
    assert a.counters.get("nd.dad_looped") == 1
    net.run(5 * SECOND)
    assert a.stack.net.is_local(OURS)


def test_two_hosts_with_one_address() -> None:
    net = Net()
    segment = net.segment()
    a, b = net.node("a", dad_transmits=1), net.node("b", dad_transmits=1)
    a.plug(segment, "2001:db8::1/64")
    net.run(5 * SECOND)
    b.plug(segment, "2001:db8::1/64", "2001:db8::2/64")
    net.run(5 * SECOND)
    assert a.stack.net.is_local(OURS)
    assert not b.stack.net.is_local(OURS)
    assert b.stack.net.is_local(parse("2001:db8::2"))
    assert b.send("2001:db8::1", b"x")
    net.settle()
    assert len(a.recorder.packets) == 1


@pytest.mark.rfc("4429", "3.3")
def test_optimistic_addresses_are_used_at_once() -> None:
    net, a = host(dad_transmits=1, optimistic_dad=True)
    assert a.stack.net.is_local(OURS)
    said(net)
    hear(a, wire(PEER, SELF, 135, GOOD))
    ((_, message, _),) = said(net, 136)
    na = NeighborAdvertisement.parse(message.rest, message.body)
    assert na is not None
    assert not na.override
    taken = NeighborAdvertisement(OURS, False, False, True, Options(target_mac=PEER_MAC))
    hear(a, wire(OURS, ALL_NODES6, 136, taken.build()))
    assert not a.stack.net.is_local(OURS)


def test_removing_a_tentative_address_stops_the_test() -> None:
    net, a = host(dad_transmits=1)
    assert a.stack.remove_address(a.interfaces[1], OURS, net.now)
    net.run(5 * SECOND)
    assert not a.stack.net.is_local(OURS)


def test_every_interface_has_a_link_local_address() -> None:
    _, a = settled(dad_transmits=1)
    assert a.stack.nd.link_local(a.interfaces[1]) == link_local6(a.interfaces[1].mac)


def test_a_medium_without_link_layer_needs_no_discovery() -> None:
    net = Net()
    a = net.node("a", dad_transmits=1)
    interface = a.plug(net.segment(), "2001:db8::1/64", ip=True)
    assert a.stack.net.is_local(OURS)
    assert a.stack.nd.link_local(interface) is not None
    interface.receive(Frame(wire(PEER, OURS, 135, GOOD)), net.now)
    assert a.counters.get("nd.no_link_layer") == 1


def test_an_advertised_router_that_ceases() -> None:
    _net, a = settled()
    ra = RouterAdvertisement(options=Options(source_mac=PEER_MAC))
    hear(a, wire(PEER, ALL_NODES6, 134, ra.build()))
    assert a.stack.net.route(parse("2001:db8:9::1")) is not None
    na = NeighborAdvertisement(PEER, False, True, True, Options(target_mac=PEER_MAC))
    hear(a, wire(PEER, OURS, 136, na.build()))
    assert a.stack.net.route(parse("2001:db8:9::1")) is None
