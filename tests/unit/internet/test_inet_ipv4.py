# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net, Node, ip_frame

from capas.base.checksum import ones_sum
from capas.base.clock import SECOND
from capas.base.frame import GSO_TCPV4, Frame, Offload
from capas.internet import types as kinds
from capas.wire import ipv4 as wire
from capas.wire.address import parse
from capas.wire.ipv4 import Ipv4Header

A, B = "10.0.0.1", "10.0.0.2"


def pair(**settings) -> tuple[Net, Node, Node]:
    net = Net()
    a, b = net.node("a", **settings), net.node("b", **settings)
    segment = net.segment()
    a.plug(segment, A + "/24")
    b.plug(segment, B + "/24")
    net.settle()
    return net, a, b


def inject(node: Node, packet: bytes, index: int = 1, frame: Frame | None = None) -> None:
    """A packet arrives by Ethernet, addressed to the node."""
    interface = node.interfaces[index]
    data = interface.mac + b"\x02\0\0\0\xee\xee" + b"\x08\0" + packet
    interface.receive(Frame(data), node.net.now)


def packet(
    src: str = A, dst: str = B, payload: bytes = b"data", protocol: int = 253, **fields
) -> bytes:
    header = Ipv4Header(parse(src), parse(dst), protocol, 0, **fields)
    total = header.header_length + len(payload)
    return Ipv4Header(parse(src), parse(dst), protocol, total, **fields).build() + payload


def test_a_packet_arrives_as_it_was_sent() -> None:
    net, a, b = pair()
    assert a.send(B, b"hello", tos=0x28, ttl=9)
    net.settle()
    (got,) = b.recorder.packets
    assert got.payload == b"hello"
    header = Ipv4Header.parse(got.frame.data, got.l3)
    assert header is not None
    assert (header.src, header.dst) == (parse(A), parse(B))
    assert (header.tos, header.ttl, header.flags, header.protocol) == (0x28, 9, wire.DF, 253)


def test_padding_of_short_frames_is_not_payload() -> None:
    _, _, b = pair()
    inject(b, packet(payload=b"x") + bytes(25))
    assert [p.payload for p in b.recorder.packets] == [b"x"]


GOOD = packet()


@pytest.mark.rfc("1122", "3.2.1")
@pytest.mark.parametrize(
    ("counter", "data"),
    [
        ("ipv4.truncated", GOOD[:19]),
        ("ipv4.bad_header", b"\x55" + GOOD[1:]),
        ("ipv4.bad_header", b"\x44" + GOOD[1:]),
        ("ipv4.bad_length", GOOD[:-1]),
        ("ipv4.bad_length", GOOD[:2] + b"\0\x10" + GOOD[4:]),
        ("ipv4.bad_checksum", GOOD[:9] + b"\x11" + GOOD[10:]),
        ("ipv4.martian_source", packet(src="127.0.0.1")),
        ("ipv4.martian_source", packet(src="224.0.0.1")),
        ("ipv4.martian_source", packet(src="255.255.255.255")),
        ("ipv4.martian_source", packet(src="10.0.0.255")),
        ("ipv4.martian_source", packet(src="0.0.0.5")),
        ("ipv4.martian_source", packet(src="0.0.0.0")),
        ("ipv4.martian_source", packet(src=B)),
        ("ipv4.martian_source", packet(src="250.1.1.1")),
        ("ipv4.martian_destination", packet(dst="127.0.0.1")),
        ("ipv4.martian_destination", packet(dst="0.0.0.0")),
        ("ipv4.martian_destination", packet(dst="240.0.0.1")),
        ("ipv4.multicast_not_joined", packet(dst="224.5.6.7")),
        ("ipv4.not_ours", packet(dst="10.0.0.77")),
        ("ipv4.unknown_protocol", packet(protocol=200)),
        ("ipv4.source_route", packet(options=b"\x83\x07\x04" + parse("10.0.0.9") + b"\0")),
        ("ipv4.bad_option", packet(options=b"\x07\x01\0\0")),
        ("ipv4.bad_option", packet(options=b"\x07\x07\x03\0\0\0\0\0")),
        # some room, but too little for an address or a time; an overflow that overflows
        ("ipv4.bad_option", packet(options=b"\x07\x07\x05\0\0\0\0\0")),
        ("ipv4.bad_option", packet(options=b"\x44\x08\x06\0\0\0\0\0")),
        ("ipv4.bad_option", packet(options=b"\x44\x08\x05\x01\0\0\0\0")),
        ("ipv4.bad_option", packet(options=b"\x44\x08\x09\xf0\0\0\0\0")),
        ("ipv4.fragment_bad_size", packet(flags=wire.MF, payload=b"odd")),
        ("ipv4.fragment_too_long", packet(offset=65528, payload=bytes(16))),
    ],
)
def test_bad_packets_are_dropped_and_counted(counter: str, data: bytes) -> None:
    _, _, b = pair()
    inject(b, data)
    assert b.counters.get(counter) == 1, b.counters.snapshot()
    assert b.recorder.packets == []


def test_broadcasts_reach_all_and_the_sender() -> None:
    for dst in ("255.255.255.255", "10.0.0.255"):
        net, a, b = pair()
        assert a.send(dst, b"all", src=A, ttl=1)
        net.settle()
        assert [p.payload for p in b.recorder.packets] == [b"all"]
        assert [p.payload for p in a.recorder.packets] == [b"all"]
        assert a.send(dst, b"others", src=A, loop=False)
        net.settle()
        assert len(b.recorder.packets) == 2
        assert len(a.recorder.packets) == 1


@pytest.mark.rfc("1122", "3.3.6")
def test_unicast_in_a_link_broadcast_is_dropped() -> None:
    net, _, b = pair()
    b.interfaces[1].receive(Frame(b"\xff" * 6 + bytes(6) + b"\x08\0" + GOOD), net.now)
    assert b.counters.get("ipv4.unicast_in_broadcast") == 1


@pytest.mark.rfc("1122", "3.2.1.3")
def test_0000_may_send_broadcasts() -> None:
    net, _, b = pair()
    data = b"\xff" * 6 + bytes(6) + b"\x08\0" + packet("0.0.0.0", "255.255.255.255")
    b.interfaces[1].receive(Frame(data), net.now)
    assert len(b.recorder.packets) == 1


@pytest.mark.parametrize("dst", [A, "127.0.0.1", "127.8.9.10"])
def test_own_addresses_are_reached_by_the_loopback(dst: str) -> None:
    net, a, _ = pair()
    assert a.send(dst, b"self")
    net.settle()
    (got,) = a.recorder.packets
    assert got.interface is a.lo
    assert got.frame.data[12:16] == parse("127.0.0.1" if dst.startswith("127.") else dst)


def test_too_big_with_df_is_refused_and_without_is_fragmented() -> None:
    net, a, b = pair()
    assert not a.send(B, bytes(1481))
    assert a.counters.get("ipv4.too_big") == 1
    assert a.send(B, bytes(1480))
    payload = bytes(range(256)) * 40
    assert a.send(B, payload, df=False)
    net.settle()
    assert [p.payload for p in b.recorder.packets] == [bytes(1480), payload]
    assert a.counters.get("ipv4.fragments_sent") == 7
    assert not a.send(B, bytes(65516), df=False)
    assert a.counters.get("ipv4.too_long") == 1


def test_identifications_differ_where_fragments_may_meet() -> None:
    net, a, b = pair()
    for _ in range(3):
        a.send(B, b"x", df=False)
    net.settle()
    idents = [p.frame.data[p.l3 + 4 : p.l3 + 6] for p in b.recorder.packets]
    assert len(dict.fromkeys(idents)) == 3


def test_a_partial_checksum_is_finished_before_fragmentation() -> None:
    net, a, b = pair()
    stack = a.stack.net
    route = stack.route(parse(B))
    assert route is not None
    payload = bytes(6) + b"\x12\x34" + bytes(range(200)) * 20
    offload = Offload(0, 6)
    assert stack.ipv4.send(route, parse(A), parse(B), 253, (payload,), offload, 0, 0, 0, False)
    net.settle()
    (got,) = b.recorder.packets
    assert ones_sum(got.payload, 0x1234) == 0xFFFF


def test_offload_facts_count_from_the_ip_header() -> None:
    net = Net()
    a, b = net.node("a"), net.node("b")
    segment = net.segment()
    a.plug(segment, A + "/24", offload=True)
    b.plug(segment, B + "/24", offload=True)
    stack = a.stack.net
    route = stack.route(parse(B))
    assert route is not None
    header = bytes(12) + b"\x50\x10" + bytes(6)
    offload = Offload(0, 16, GSO_TCPV4, 1460)
    pieces = (header, bytes(14600))
    assert stack.send(route, parse(A), parse(B), 253, pieces, offload, 0)
    net.settle()
    (got,) = b.recorder.packets
    frame = got.frame
    assert (frame.csum_start, frame.csum_offset, frame.gso_size) == (34, 16, 1460)
    assert len(got.payload) == 14620


def test_options_are_sent_and_skipped() -> None:
    net, a, b = pair()
    stack = a.stack.net
    route = stack.route(parse(B))
    assert route is not None
    alert = wire.ROUTER_ALERT_OPTION
    assert stack.ipv4.send(
        route, parse(A), parse(B), 253, (b"x",), None, 0, 0, 0, True, alert + b"\x99\x03\x01\0"
    )
    net.settle()
    (got,) = b.recorder.packets
    assert (got.l4 - got.l3, got.payload) == (28, b"x")


def test_a_failed_neighbour_is_told_to_the_transport() -> None:
    net, a, _ = pair()
    a.send("10.0.0.99", b"lost")
    net.run(10 * SECOND)
    (error,) = a.recorder.errors
    assert error.kind == kinds.UNREACHABLE_HOST
    assert (error.src, error.dst, error.quote) == (parse(A), parse("10.0.0.99"), b"lost")


def test_addresses_come_and_go() -> None:
    net, a, b = pair()
    interface = a.interfaces[1]
    a.stack.add_address(interface, parse("10.0.0.9"), 24, net.now)
    assert a.stack.net.is_local(parse("10.0.0.9"))
    assert b.send("10.0.0.9", b"x")
    net.settle()
    assert len(a.recorder.packets) == 1
    assert a.stack.remove_address(interface, parse("10.0.0.9"), net.now)
    assert not a.stack.remove_address(interface, parse("10.0.0.9"), net.now)
    assert not a.stack.net.is_local(parse("10.0.0.9"))
    assert a.stack.net.is_broadcast(parse("10.0.0.255"))
    assert a.stack.net.route(parse(B)) is not None
    assert a.stack.remove_address(interface, parse(A), net.now)
    assert not a.stack.net.is_broadcast(parse("10.0.0.255"))
    assert a.stack.net.route(parse(B)) is None
    assert a.stack.net.route(parse(A)) is None


def test_probed_addresses_work_when_the_probes_stay_unanswered() -> None:
    net, a, _ = pair(arp_probes=3)
    assert not a.stack.net.is_local(parse(A))
    net.run(20 * SECOND)
    assert a.stack.net.is_local(parse(A))
    seen = []
    a.stack.nd.conflict = lambda interface, own, now: seen.append(own.address)
    a.stack.add_address(a.interfaces[1], parse(B), 24, net.now)
    net.run(20 * SECOND)
    assert seen
    assert all(address == parse(B) for address in seen)
    assert not a.stack.net.is_local(parse(B))


def test_bytes_without_a_link_header() -> None:
    net = Net()
    a = net.node("a")
    interface = a.plug(net.segment(), A + "/24", ip=True)
    interface.receive(ip_frame(packet(src="10.0.0.7", dst=A)), net.now)
    assert [p.payload for p in a.recorder.packets] == [b"data"]
