# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net, Node

from capas.base.clock import SECOND
from capas.base.frame import Frame
from capas.wire.address import parse
from capas.wire.icmp import Message
from capas.wire.ipv4 import MF, Ipv4Header
from capas.wire.ipv6 import Fragment, Ipv6Header, hop_by_hop

SRC4, DST4 = parse("10.0.0.1"), parse("10.0.0.2")
SRC6, DST6 = parse("2001:db8::1"), parse("2001:db8::2")
DATA = bytes(range(48))


def host(**settings) -> tuple[Net, Node, Node]:
    net = Net()
    a, b = net.node("a"), net.node("b", **settings)
    segment = net.segment()
    a.plug(segment, "10.0.0.1/24", "2001:db8::1/64")
    b.plug(segment, "10.0.0.2/24", "2001:db8::2/64")
    net.run(5 * SECOND)
    segment.log.clear()
    return net, a, b


def fragment(
    family: int,
    offset: int,
    payload: bytes,
    more: bool,
    ident: int = 7,
    protocol: int = 253,
    tos: int = 0,
    src: bytes = b"",
) -> bytes:
    if family == 4:
        header = Ipv4Header(
            src or SRC4,
            DST4,
            protocol,
            20 + len(payload),
            64,
            tos,
            ident,
            MF if more else 0,
            offset,
        )
        return header.build() + payload
    rest = Fragment(protocol, offset, more, ident).build() + payload
    return Ipv6Header(src or SRC6, DST6, 44, len(rest), 64, tos).build() + rest


def give(node: Node, *packets: bytes) -> list[bytes]:
    """Deliver packets; the payloads that came out."""
    interface = node.interfaces[1]
    before = len(node.recorder.packets)
    for packet in packets:
        kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        interface.receive(Frame(interface.mac + bytes(6) + kind + packet), node.net.now)
    return [p.payload for p in node.recorder.packets[before:]]


families = pytest.mark.parametrize("family", [4, 6])


def held(node: Node) -> tuple[int, int]:
    parts = (node.stack.ipv4.reassembly, node.stack.ipv6.reassembly)
    return sum(len(r.datagrams) for r in parts), sum(r.bytes_held for r in parts)


@families
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)])
def test_any_order(family: int, order: tuple[int, ...]) -> None:
    _, _, b = host()
    parts = [
        fragment(family, 0, DATA[:16], True),
        fragment(family, 16, DATA[16:32], True),
        fragment(family, 32, DATA[32:], False),
    ]
    assert give(b, *(parts[i] for i in order)) == [DATA]
    assert held(b) == (0, 0)
    assert b.counters.get(f"ipv{family}.reassembled") == 1


@families
def test_the_result_is_a_whole_packet(family: int) -> None:
    _, _, b = host()
    give(b, fragment(family, 0, DATA[:16], True), fragment(family, 16, DATA[16:], False))
    (got,) = b.recorder.packets
    assert got.l3 == 0
    if family == 4:
        header = Ipv4Header.parse(got.frame.data)
        assert header is not None
        assert (header.total_length, header.flags, header.offset) == (68, 0, 0)
    else:
        parsed = Ipv6Header.parse(got.frame.data)
        assert parsed is not None
        assert (parsed.payload_length, parsed.next_header) == (48, 253)


@families
def test_flows_do_not_mix(family: int) -> None:
    _, _, b = host()
    other = parse("10.0.0.9") if family == 4 else parse("2001:db8::9")
    assert give(b, fragment(family, 0, DATA[:16], True)) == []
    assert give(b, fragment(family, 16, DATA[16:], False, ident=8)) == []
    assert give(b, fragment(family, 16, DATA[16:], False, src=other)) == []
    assert held(b)[0] == 3
    assert give(b, fragment(family, 16, DATA[16:], False)) == [DATA]


@families
def test_an_exact_duplicate_is_ignored(family: int) -> None:
    _, _, b = host()
    first = fragment(family, 0, DATA[:16], True)
    assert give(b, first, first, fragment(family, 16, DATA[16:], False)) == [DATA]
    assert b.counters.get("ip.fragment_duplicate") == 1


@pytest.mark.rfc("5722", "4")
@families
@pytest.mark.parametrize(
    ("offset", "size"), [(8, 16), (0, 8), (8, 8), (16, 8), (0, 32), (24, 16), (0, 16)]
)
def test_an_overlap_condemns_the_datagram(family: int, offset: int, size: int) -> None:
    _, _, b = host()
    out = give(
        b,
        fragment(family, 0, DATA[:16], True),
        fragment(family, 16, DATA[16:32], True),
        fragment(family, offset, bytes(size), True),
        fragment(family, 32, DATA[32:], False),
        fragment(family, 0, DATA[:16], True),
        fragment(family, 16, DATA[16:32], True),
    )
    assert out == []
    assert b.counters.get("ip.fragment_overlap") == 1
    assert b.counters.get("ip.fragment_condemned") == 3
    assert held(b) == (1, 0)


@families
@pytest.mark.parametrize("second", [(16, 8, False), (48, 16, True), (48, 8, False), (64, 8, True)])
def test_the_end_may_not_move(family: int, second: tuple[int, int, bool]) -> None:
    _, _, b = host()
    offset, size, more = second
    assert (
        give(b, fragment(family, 40, DATA[40:], False), fragment(family, offset, bytes(size), more))
        == []
    ), second
    if second == (16, 8, False):
        assert b.counters.get("ip.fragment_end_moved") == 1


@pytest.mark.rfc("8200", "4.5")
@families
def test_time_is_up(family: int) -> None:
    net, _, b = host()
    give(b, fragment(family, 0, DATA[:16], True))
    net.run(SECOND * 29)
    give(b, fragment(family, 16, DATA[16:32], True))
    net.run(SECOND)
    assert held(b) == (0, 0)
    assert b.counters.get("ip.reassembly_timeout") == 1
    net.settle()
    frame = net.segments[0].log[-1].data
    at = 34 if family == 4 else 54
    message = Message.parse(frame, at, len(frame), 0, False)
    assert message is not None
    assert (message.type, message.code) == ((11, 1) if family == 4 else (3, 1))
    assert message.body[-16:] == DATA[:16]


@pytest.mark.rfc("8200", "4.5")
@pytest.mark.rfc("792", "")
@families
def test_no_error_without_the_first_fragment(family: int) -> None:
    net, _, b = host()
    give(b, fragment(family, 16, DATA[16:32], True))
    net.run(SECOND * 31)
    assert held(b) == (0, 0)
    assert b.counters.get("icmp.errors_sent") == 0


def test_a_condemned_datagram_is_forgotten_in_silence() -> None:
    net, _, b = host()
    give(b, fragment(4, 0, DATA[:16], True), fragment(4, 8, DATA[:16], True))
    net.run(SECOND * 31)
    assert held(b) == (0, 0)
    assert b.counters.get("icmp.errors_sent") == 0
    assert b.counters.get("ip.reassembly_timeout") == 0


@families
def test_flows_are_capped(family: int) -> None:
    _, _, b = host(reassembly_flows=3)
    for ident in range(5):
        give(b, fragment(family, 0, DATA[:16], True, ident=ident))
    assert held(b)[0] == 3
    assert b.counters.get("ip.reassembly_flows") == 2
    assert give(b, fragment(family, 16, DATA[16:], False, ident=4)) == [DATA]
    assert give(b, fragment(family, 16, DATA[16:], False, ident=0)) == []


@families
def test_bytes_are_capped(family: int) -> None:
    _, _, b = host(reassembly_bytes=5000)
    for ident in range(10):
        give(b, fragment(family, 0, bytes(1000), True, ident=ident))
    assert held(b)[1] <= 5000
    assert b.counters.get("ip.reassembly_bytes") == 6


@families
def test_fragments_are_capped(family: int) -> None:
    _, _, b = host(reassembly_fragments=4)
    for i in range(6):
        give(b, fragment(family, 16 * i, bytes(16), True))
    assert b.counters.get("ip.reassembly_fragments") == 1
    assert held(b) == (1, 0)


def test_a_datagram_that_alone_is_too_much() -> None:
    _, _, b = host(reassembly_bytes=500)
    assert give(b, fragment(4, 0, bytes(1000), True)) == []
    assert held(b) == (0, 0)


@pytest.mark.rfc("3128", "2")
def test_tiny_tcp_fragments_are_dropped() -> None:
    _, _, b = host()
    give(b, fragment(4, 8, bytes(16), False, protocol=6))
    assert b.counters.get("ipv4.fragment_tiny") == 1


@pytest.mark.rfc("6946", "4")
def test_atomic_fragments_are_whole_packets() -> None:
    _, _, b = host()
    give(b, fragment(6, 0, DATA[:16], True))
    assert give(b, fragment(6, 0, DATA, False)) == [DATA]
    assert b.counters.get("ipv6.atomic_fragments") == 1
    assert give(b, fragment(6, 16, DATA[16:], False)) == [DATA]


@pytest.mark.rfc("7112", "5")
@pytest.mark.parametrize(
    ("protocol", "payload", "whole"),
    [
        (6, bytes(16), False),
        (6, bytes(24), True),
        (17, bytes(8), True),
        (58, b"\x80" + bytes(7), True),
        (60, hop_by_hop(17, b""), False),
        (60, hop_by_hop(17, b"") + bytes(8), True),
        (60, b"\x11\x05" + bytes(6), False),
    ],
)
def test_first_fragments_hold_the_header_chain(protocol: int, payload: bytes, whole: bool) -> None:
    _, _, b = host()
    give(b, fragment(6, 0, payload, True, protocol=protocol))
    assert b.counters.get("ipv6.fragment_tiny") == (not whole)
    assert held(b)[0] == whole


def test_headers_before_the_fragment_header_are_kept() -> None:
    _, _, b = host()

    def part(offset: int, payload: bytes, more: bool) -> bytes:
        rest = hop_by_hop(60, b"\x05\x02\0\0") + hop_by_hop(44, b"")
        rest += Fragment(253, offset, more, 3).build() + payload
        return Ipv6Header(SRC6, DST6, 0, len(rest)).build() + rest

    assert give(b, part(0, DATA[:16], True), part(16, DATA[16:], False)) == [DATA]
    (got,) = b.recorder.packets
    assert got.l4 == 40 + 16
    assert got.frame.data[48] == 253


@pytest.mark.rfc("3168", "5.3")
@families
@pytest.mark.parametrize(
    ("one", "two", "result"),
    [(2, 2, 2), (2, 3, 3), (1, 3, 3), (3, 3, 3), (2, 1, 2), (0, 0, 0), (0, 2, 0), (0, 3, None)],
)
def test_congestion_marks_survive(family: int, one: int, two: int, result: int | None) -> None:
    _, _, b = host()
    out = give(
        b,
        fragment(family, 0, DATA[:16], True, tos=0x28 | one),
        fragment(family, 16, DATA[16:], False, tos=0x28 | two),
    )
    if result is None:
        assert out == []
        assert b.counters.get("ip.fragment_ecn") == 1
        return
    (got,) = b.recorder.packets
    data = got.frame.data
    tos = data[1] if family == 4 else (data[0] << 4 | data[1] >> 4) & 0xFF
    assert tos == 0x28 | result


def test_options_of_the_first_fragment_are_kept() -> None:
    net, a, b = host()
    route = a.stack.net.route(DST4)
    assert route is not None
    options = b"\x94\x04\0\0" + b"\x07\x07\x04\0\0\0\0\x01"
    payload = bytes(4000)
    assert a.stack.ipv4.send(
        route, SRC4, DST4, 253, (payload,), None, net.now, 0, 0, False, options
    )
    net.settle()
    (got,) = b.recorder.packets
    assert got.payload == payload
    assert got.frame.data[20:32] == options
    sizes = [(f.data[14] & 15) * 4 for f in net.segments[0].log if f.data[12:14] == b"\x08\0"]
    assert sizes == [32, 24, 24]
