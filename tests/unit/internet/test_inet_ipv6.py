# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net, Node

from capas.base.clock import SECOND
from capas.base.frame import Frame
from capas.internet import types as kinds
from capas.wire import icmp, ipv6
from capas.wire.address import parse
from capas.wire.icmp import Message
from capas.wire.ipv6 import Fragment, Ipv6Header, hop_by_hop

A, B = "2001:db8::1", "2001:db8::2"


def pair(**settings) -> tuple[Net, Node, Node]:
    net = Net()
    a, b = net.node("a", **settings), net.node("b", **settings)
    segment = net.segment()
    a.plug(segment, A + "/64")
    b.plug(segment, B + "/64")
    net.run(5 * SECOND)
    for node in (a, b):
        node.counters.values.clear()
    return net, a, b


def packet(first: int, rest: bytes, src: str = A, dst: str = B) -> bytes:
    return Ipv6Header(parse(src), parse(dst), first, len(rest)).build() + rest


def inject(node: Node, data: bytes) -> None:
    interface = node.interfaces[1]
    sender = node.net.nodes[0].interfaces[1].mac
    interface.receive(Frame(interface.mac + sender + b"\x86\xdd" + data), node.net.now)


def errors(net: Net) -> list[tuple[int, int, int]]:
    """(type, code, word) of the ICMPv6 errors sent since the last call."""
    found = []
    log = net.segments[0].log
    net.settle()
    for frame in log:
        if frame.data[12:14] == b"\x86\xdd" and frame.data[20] == 58 and frame.data[54] < 128:
            message = Message.parse(frame.data, 54, len(frame.data), 0, False)
            assert message is not None
            found.append((message.type, message.code, message.word))
    log.clear()
    return found


def test_a_packet_arrives_as_it_was_sent() -> None:
    net, a, b = pair()
    assert a.send(B, b"hello", tos=0x2B, ttl=9)
    net.settle()
    (got,) = b.recorder.packets
    assert got.payload == b"hello"
    header = Ipv6Header.parse(got.frame.data, got.l3)
    assert header == Ipv6Header(parse(A), parse(B), 253, 5, 9, 0x2B, 0)


GOOD = packet(253, b"data")


@pytest.mark.rfc("8200", "3")
@pytest.mark.parametrize(
    ("counter", "data"),
    [
        ("ipv6.truncated", GOOD[:39]),
        ("ipv6.bad_header", b"\x40" + GOOD[1:]),
        ("ipv6.bad_length", GOOD[:-1]),
        ("ipv6.martian_source", packet(253, b"", src="ff02::1")),
        ("ipv6.martian_source", packet(253, b"", src="::1")),
        ("ipv6.martian_source", packet(253, b"", src="::ffff:10.0.0.1")),
        ("ipv6.martian_source", packet(253, b"", src=B)),
        ("ipv6.martian_destination", packet(253, b"", dst="::1")),
        ("ipv6.martian_destination", packet(253, b"", dst="::")),
        ("ipv6.multicast_not_joined", packet(253, b"", dst="ff02::99")),
        ("ipv6.multicast_not_joined", packet(253, b"", dst="ff01::1")),
        ("ipv6.multicast_not_joined", packet(253, b"", dst="ff00::1")),
        ("ipv6.not_ours", packet(253, b"", dst="2001:db8::77")),
        ("ipv6.no_next_header", packet(59, b"anything")),
        ("ipv6.extension_truncated", packet(60, b"\xfd")),
        ("ipv6.extension_truncated", packet(60, b"\xfd\x09" + bytes(6))),
        ("ipv6.bad_option", packet(60, b"\xfd\0\x01\x04\0\0\0\x01")),
        ("ipv6.bad_option", packet(0, b"\xfd\0\x05\x20\0\0\0\0")),
        # nine headers where eight are allowed, RFC 8504 §5.3
        ("ipv6.extension_limit", packet(60, hop_by_hop(60, b"") * 8 + hop_by_hop(253, b""))),
        ("ipv6.fragment_truncated", packet(44, bytes(7))),
        ("ipv6.fragment_bad_size", packet(44, Fragment(253, 8, False, 1).build())),
    ],
)
def test_bad_packets_are_dropped_and_counted(counter: str, data: bytes) -> None:
    net, _, b = pair()
    inject(b, data)
    assert b.counters.get(counter) == 1, b.counters.snapshot()
    assert b.recorder.packets == []
    assert errors(net) == []


@pytest.mark.rfc("4443", "3.4")
@pytest.mark.parametrize(
    ("counter", "first", "rest", "error"),
    [
        ("ipv6.unknown_next_header", 200, bytes(8), (4, 1, 6)),
        ("ipv6.unknown_next_header", 60, hop_by_hop(200, b""), (4, 1, 40)),
        # hop-by-hop options anywhere but first
        ("ipv6.unknown_next_header", 60, hop_by_hop(0, b"") + hop_by_hop(253, b""), (4, 1, 40)),
        ("ipv6.routing_header", 43, b"\xfd\x02\0\x01" + bytes(20), (4, 0, 42)),
        ("ipv6.unknown_option", 60, hop_by_hop(253, b"\x80\x01\0"), (4, 2, 42)),
        ("ipv6.unknown_option", 0, hop_by_hop(253, b"\xc2\x04\0\1\0\0"), (4, 2, 42)),
        ("ipv6.fragment_bad_size", 44, Fragment(253, 0, True, 1).build() + bytes(9), (4, 0, 4)),
        (
            "ipv6.fragment_too_long",
            44,
            Fragment(253, 65528, False, 1).build() + bytes(16),
            (4, 0, 42),
        ),
        ("ipv6.fragment_tiny", 44, Fragment(6, 0, True, 1).build() + bytes(8), (4, 3, 0)),
    ],
)
def test_problems_are_answered(
    counter: str, first: int, rest: bytes, error: tuple[int, int, int]
) -> None:
    net, _, b = pair()
    inject(b, packet(first, rest))
    assert b.counters.get(counter) == 1, b.counters.snapshot()
    assert errors(net) == [error]


@pytest.mark.rfc("8200", "4.2")
def test_action_bits_of_unknown_options() -> None:
    net, a, b = pair()
    a.stack.net.join(parse("ff02::123"), a.interfaces[1], net.now)
    b.stack.net.join(parse("ff02::123"), b.interfaces[1], net.now)
    for action, expected, answered in ((0, 1, 0), (1, 0, 0), (2, 0, 1), (3, 0, 1)):
        for dst in (B, "ff02::123"):
            inject(b, packet(60, hop_by_hop(253, bytes((action << 6 | 9, 0))), dst=dst))
            assert len(b.recorder.packets) == expected, (action, dst)
            b.recorder.packets.clear()
            # action 3 is silent about multicasts
            want = 0 if action == 3 and dst != B else answered
            assert len(errors(net)) == want, (action, dst)


def test_headers_are_walked_to_the_payload() -> None:
    _, _, b = pair()
    alert = b"\x05\x02\0\0"
    rest = hop_by_hop(60, alert) + hop_by_hop(43, b"\x1e\x03abc") + b"\x2c\0\0\0" + bytes(4)
    rest += Fragment(60, 0, False, 3).build() + hop_by_hop(253, b"")
    inject(b, packet(0, rest + b"deep"))
    (got,) = b.recorder.packets
    assert got.payload == b"deep"


@pytest.mark.rfc("8504", "5.3")
def test_long_chains_and_many_options_are_dropped() -> None:
    _, _, b = pair()
    inject(b, packet(60, hop_by_hop(60, b"") * 8 + hop_by_hop(253, b"")))
    assert b.counters.get("ipv6.extension_limit") == 1
    inject(b, packet(60, hop_by_hop(253, b"\x1e\0" * 9)))
    assert b.counters.get("ipv6.option_limit") == 1
    assert b.recorder.packets == []


def test_source_fragmentation_and_the_refusal_of_it() -> None:
    net, a, b = pair()
    payload = bytes(range(256)) * 30
    assert not a.send(B, payload)
    assert a.send(B, payload, df=False)
    net.settle()
    assert [p.payload for p in b.recorder.packets] == [payload]
    assert a.counters.get("ipv6.fragments_sent") == 6
    assert not a.send(B, bytes(65536), df=False)


@pytest.mark.parametrize("dst", [A, "::1"])
def test_own_addresses_are_reached_by_the_loopback(dst: str) -> None:
    net, a, _ = pair()
    assert a.send(dst, b"self")
    net.settle()
    (got,) = a.recorder.packets
    assert got.interface is a.lo
    assert got.frame.data[8:24] == parse(dst)


@pytest.mark.rfc("4007", "6")
def test_link_local_addresses_belong_to_their_link() -> None:
    net = Net()
    a = net.node("a")
    one, two = a.plug(net.segment(), "fe80::1/64"), a.plug(net.segment(), "2001:db8::1/64")
    data = packet(253, b"x", src="fe80::99", dst="fe80::1")
    two.receive(Frame(two.mac + bytes(6) + b"\x86\xdd" + data), 0)
    assert a.counters.get("ipv6.other_zone") == 1
    one.receive(Frame(one.mac + bytes(6) + b"\x86\xdd" + data), 0)
    assert len(a.recorder.packets) == 1


def test_multicast_to_members_and_ourselves() -> None:
    net, a, b = pair()
    group = "ff02::abcd"
    b.stack.net.join(parse(group), b.interfaces[1], net.now)
    a.stack.net.join(parse(group), a.interfaces[1], net.now)
    assert a.send(group, b"all")
    assert a.send(group, b"others", loop=False)
    net.settle()
    assert [p.payload for p in b.recorder.packets] == [b"all", b"others"]
    assert [p.payload for p in a.recorder.packets] == [b"all"]
    assert b.recorder.packets[0].frame.data[14 + 7] == 1


def test_a_failed_neighbour_is_told_to_the_transport() -> None:
    net, a, _ = pair()
    a.send("2001:db8::99", b"lost")
    net.run(10 * SECOND)
    (error,) = a.recorder.errors
    assert (error.kind, error.dst) == (kinds.UNREACHABLE_HOST, parse("2001:db8::99"))
    assert error.quote == b"lost"


def test_a_link_below_1280_has_no_ipv6() -> None:
    net = Net()
    a = net.node("a")
    interface = a.plug(net.segment(), mtu=600)
    net.run(5 * SECOND)
    assert [own.address for own in interface.addresses] == []


def test_addresses_come_and_go() -> None:
    net, a, b = pair()
    interface = a.interfaces[1]
    extra = parse("2001:db8::9")
    a.stack.add_address(interface, extra, 64, net.now)
    assert b.send("2001:db8::9")
    net.settle()
    assert len(a.recorder.packets) == 1
    assert a.stack.remove_address(interface, extra, net.now)
    assert not a.stack.remove_address(interface, extra, net.now)
    assert not a.stack.net.is_local(extra)
    assert a.stack.net.route(parse(B)) is not None
    a.stack.remove_address(interface, parse(A), net.now)
    assert a.stack.net.route(parse(B)) is None
    assert a.stack.net.route(parse("fe80::5")) is not None


def test_constants_of_the_wire() -> None:
    assert ipv6.ICMPV6 == icmp.ICMPV6
