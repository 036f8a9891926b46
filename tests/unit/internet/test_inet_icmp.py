# SPDX-License-Identifier: Apache-2.0
import pytest
from inet_double import Net, Node

from capas.base.checksum import verify
from capas.base.clock import SECOND
from capas.base.frame import CSUM_PARTIAL, GSO_TCPV4, GSO_TCPV6, Frame
from capas.internet import types as kinds
from capas.internet.echo import QUEUE, REPLY
from capas.internet.errors_out import TokenBucket, quote
from capas.wire import icmp, ipv4
from capas.wire.address import parse
from capas.wire.icmp import Message
from capas.wire.ipv4 import Ipv4Header
from capas.wire.ipv6 import Fragment, Ipv6Header

ADDRESSES = {4: ("10.0.0.1", "10.0.0.2"), 6: ("2001:db8::1", "2001:db8::2")}
ROUTER = bytes((198, 51, 100, 1)), b"\x20\x01" + bytes(13) + b"\x99"


def pair(**settings) -> tuple[Net, Node, Node]:
    net = Net()
    a, b = net.node("a", **settings), net.node("b", **settings)
    segment = net.segment()
    a.plug(segment, "10.0.0.1/24", "2001:db8::1/64")
    b.plug(segment, "10.0.0.2/24", "2001:db8::2/64")
    a.route("0.0.0.0/0", "10.0.0.2", a.interfaces[1])
    a.route("::/0", "2001:db8::2", a.interfaces[1])
    net.run(5 * SECOND)
    segment.log.clear()
    return net, a, b


class Bell:
    """An endpoint's readiness, for one session."""

    def __init__(self) -> None:
        self.readiness = 0

    def set_ready(self, bits: int) -> None:
        self.readiness |= bits

    def clear(self, bits: int) -> None:
        self.readiness &= ~bits


def deliver(node: Node, packet: bytes, group: bool = False) -> None:
    interface = node.interfaces[1]
    mac = b"\xff" * 6 if group else interface.mac
    kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
    interface.receive(Frame(mac + b"\x02" + bytes(5) + kind + packet), node.net.now)


def make(family: int, src: bytes, dst: bytes, protocol: int, payload: bytes, **fields) -> bytes:
    if family == 4:
        header = Ipv4Header(src, dst, protocol, 20 + len(payload), **fields)
        return header.build() + payload
    return Ipv6Header(src, dst, protocol, len(payload), **fields).build() + payload


def error_packet(
    family: int, type: int, code: int, quoted: bytes, rest: bytes = bytes(4), to: str = ""
) -> bytes:
    """An ICMP error from some router to node a."""
    src = ROUTER[family == 6]
    dst = parse(to or ADDRESSES[family][0])
    message = Message(type, code, rest, quoted)
    if family == 4:
        return make(4, src, dst, 1, message.build())
    return make(6, src, dst, 58, message.build6(src, dst))


def quoted(family: int, payload: bytes = b"12345678", **fields) -> bytes:
    """A packet node a could have sent to node b's network, as protocol 253."""
    src, dst = ADDRESSES[family][0], "203.0.113.9" if family == 4 else "2001:db8:9::9"
    return make(family, parse(src), parse(dst), 253, payload, **fields)


# -- echo -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 56, 1472, 5000])
def test_echo(family: int, size: int) -> None:
    net, a, _ = pair()
    bell = Bell()
    session = a.stack.icmp.open_echo(bell)
    dst = parse(ADDRESSES[family][1])
    payload = bytes(i & 255 for i in range(size))
    assert session.send(dst, 7, payload, net.now)
    assert session.receive() is None
    net.settle()
    assert bell.readiness == 1
    result = session.receive()
    assert result is not None
    assert bell.readiness == 0
    assert (result.source, result.kind, result.sequence) == (dst, REPLY, 7)
    assert (result.payload, result.size, result.ttl) == (payload, size, 64)
    assert session.receive() is None


def test_sessions_see_their_own_replies_only() -> None:
    net, a, _ = pair()
    one, two = a.stack.icmp.open_echo(), a.stack.icmp.open_echo()
    assert one.identifier != two.identifier
    one.send(parse("10.0.0.2"), 1, b"", net.now)
    net.settle()
    assert two.receive() is None
    assert one.receive() is not None
    one.send(parse("10.0.0.2"), 2, b"", net.now)
    one.close()
    net.settle()
    assert a.counters.get("icmp.echo_unexpected") == 1


def test_a_session_holds_a_bounded_number_of_results() -> None:
    net, a, _ = pair()
    session = a.stack.icmp.open_echo()
    for i in range(QUEUE + 3):
        session.send(parse("127.0.0.1"), i, b"", net.now)
        net.settle()
    assert a.counters.get("icmp.echo_queue_full") == 3


def test_no_route_no_echo() -> None:
    net = Net()
    session = net.node("alone").stack.icmp.open_echo()
    assert not session.send(parse("192.0.2.1"), 1, b"", 0)


@pytest.mark.rfc("1122", "3.2.2.6")
def test_broadcast_echo_requests_are_ignored() -> None:
    net, a, b = pair()
    session = a.stack.icmp.open_echo()
    session.send(parse("10.0.0.255"), 1, b"", net.now)
    net.settle()
    assert b.counters.get("icmp.echo_broadcast_ignored") == 1
    assert session.receive() is None


@pytest.mark.rfc("4443", "4.2")
def test_multicast_echo_requests_are_answered_from_unicast() -> None:
    net, a, _ = pair()
    session = a.stack.icmp.open_echo()
    session.send(parse("ff02::1"), 1, b"", net.now)
    net.settle()
    result = session.receive()
    assert result is not None
    assert result.source[0] == 0xFE


@pytest.mark.rfc("1122", "3.2.2.6")
def test_record_route_comes_back_with_our_address() -> None:
    net, a, b = pair()
    options = b"\x07\x0b\x04" + bytes(8) + b"\0"
    route = a.stack.net.route(parse("10.0.0.2"))
    assert route is not None
    request = icmp.echo(icmp.ECHO_REQUEST, 1, 1, b"x").build()
    a.stack.ipv4.send(
        route, parse("10.0.0.1"), parse("10.0.0.2"), 1, (request,), None, 0, 0, 0, True, options
    )
    net.settle()
    reply = net.segments[0].log[-1].data
    assert reply[34:45] == b"\x07\x0b\x08" + parse("10.0.0.2") + bytes(4)
    assert verify(reply[14:46])
    assert b.counters.get("icmp.echo_answered") == 1


def test_timestamp_reply() -> None:
    net, _, b = pair()
    request = Message(icmp.TIMESTAMP_REQUEST, 0, b"\0\1\0\2", b"\0\0\0\7" + bytes(8)).build()
    deliver(b, make(4, parse("10.0.0.1"), parse("10.0.0.2"), 1, request))
    net.settle()
    reply = Message.parse(net.segments[0].log[-1].data, 34, 54)
    assert reply is not None
    assert (reply.type, reply.rest, reply.body[:4]) == (14, b"\0\1\0\2", b"\0\0\0\7")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("counter", "change"),
    [
        ("icmp.truncated", lambda m: m[:7]),
        ("icmp.bad_checksum", lambda m: m[:2] + bytes((m[2] ^ 1,)) + m[3:]),
        ("icmp.unknown_type", None),
    ],
)
def test_bad_messages_are_counted(family: int, counter: str, change) -> None:
    _, _, b = pair()
    src, dst = (parse(text) for text in ADDRESSES[family])
    message = Message(200, 0)
    data = message.build() if family == 4 else message.build6(src, dst)
    protocol = 1 if family == 4 else 58
    deliver(b, make(family, src, dst, protocol, change(data) if change else data))
    assert b.counters.get(counter) == 1


# -- errors out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
def test_unknown_protocols_are_answered(family: int) -> None:
    net, a, b = pair()
    del b.stack.ipv4.protocols[253], b.stack.ipv6.protocols[253]
    a.send(ADDRESSES[family][1], b"0123456789")
    net.settle()
    (error,) = a.recorder.errors
    assert error.quote == b"0123456789"
    assert error.reporter == parse(ADDRESSES[family][1])
    expected = (3, 2, kinds.UNREACHABLE_PROTO) if family == 4 else (4, 1, 11)
    assert (error.type, error.code, error.kind) == expected
    if family == 6:
        assert error.pointer == 6


@pytest.mark.rfc("1812", "4.3.2.3")
@pytest.mark.rfc("4443", "2.4", "c")
@pytest.mark.parametrize(("family", "limit"), [(4, 576), (6, 1280)])
def test_errors_quote_as_much_as_fits(family: int, limit: int) -> None:
    net, a, b = pair()
    del b.stack.ipv4.protocols[253], b.stack.ipv6.protocols[253]
    a.send(ADDRESSES[family][1], bytes(1400))
    net.settle()
    frame = net.segments[0].log[-1].data
    assert len(frame) - 14 == limit
    if family == 4:
        assert frame[15] == 0xC0  # RFC 1812 §4.3.2.5


def port(node: Node, packet: bytes, group: bool = False) -> int:
    """Ask for a port unreachable about a packet; how many errors went out."""
    interface = node.interfaces[1]
    mac = b"\x01\0\x5e\0\0\1" if group else interface.mac
    kind = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
    frame = Frame(mac + b"\x02" + bytes(5) + kind + packet)
    before = node.counters.get("icmp.errors_sent")
    node.stack.net.send_icmp_port_unreachable(interface, frame, 14, node.net.now)
    return node.counters.get("icmp.errors_sent") - before


A4, B4 = parse("10.0.0.1"), parse("10.0.0.2")
A6, B6 = parse("2001:db8::1"), parse("2001:db8::2")


@pytest.mark.rfc("1122", "3.2.2")
@pytest.mark.rfc("1812", "4.3.2.7")
@pytest.mark.parametrize(
    ("what", "packet", "group", "sent"),
    [
        ("a datagram", make(4, A4, B4, 17, bytes(8)), False, 1),
        ("an echo request", make(4, A4, B4, 1, b"\x08" + bytes(7)), False, 1),
        ("an ICMP error", make(4, A4, B4, 1, b"\x03" + bytes(7)), False, 0),
        ("a redirect", make(4, A4, B4, 1, b"\x05" + bytes(7)), False, 0),
        ("a broadcast", make(4, A4, parse("10.0.0.255"), 17, bytes(8)), False, 0),
        ("the limited broadcast", make(4, A4, b"\xff" * 4, 17, bytes(8)), False, 0),
        ("a multicast", make(4, A4, parse("224.0.0.251"), 17, bytes(8)), False, 0),
        ("a link broadcast", make(4, A4, B4, 17, bytes(8)), True, 0),
        ("a later fragment", make(4, A4, B4, 17, bytes(8), offset=8), False, 0),
        ("a first fragment", make(4, A4, B4, 17, bytes(8), flags=ipv4.MF), False, 1),
        ("from 0.0.0.0", make(4, bytes(4), B4, 17, bytes(8)), False, 0),
        ("from a broadcast", make(4, parse("10.0.0.255"), B4, 17, bytes(8)), False, 0),
        ("from a multicast", make(4, parse("224.0.0.1"), B4, 17, bytes(8)), False, 0),
        ("from the loopback", make(4, parse("127.0.0.1"), B4, 17, bytes(8)), False, 0),
        ("from class E", make(4, parse("240.0.0.1"), B4, 17, bytes(8)), False, 0),
        ("unroutable", make(4, parse("203.0.113.1"), B4, 17, bytes(8)), False, 0),
    ],
)
def test_what_is_answered_v4(what: str, packet: bytes, group: bool, sent: int) -> None:
    _, _, b = pair()
    assert port(b, packet, group) == sent


LATER = Fragment(17, 8, False, 1).build() + bytes(8)


@pytest.mark.rfc("4443", "2.4", "e")
@pytest.mark.parametrize(
    ("what", "packet", "group", "sent"),
    [
        ("a datagram", make(6, A6, B6, 17, bytes(8)), False, 1),
        ("an echo request", make(6, A6, B6, 58, b"\x80" + bytes(7)), False, 1),
        ("an error", make(6, A6, B6, 58, b"\x01" + bytes(7)), False, 0),
        ("a redirect", make(6, A6, B6, 58, b"\x89" + bytes(7)), False, 0),
        ("a multicast", make(6, A6, parse("ff02::1"), 17, bytes(8)), False, 0),
        ("a link multicast", make(6, A6, B6, 17, bytes(8)), True, 0),
        ("from ::", make(6, bytes(16), B6, 17, bytes(8)), False, 0),
        ("from a multicast", make(6, parse("ff02::1"), B6, 17, bytes(8)), False, 0),
        ("a later fragment", make(6, A6, B6, 44, LATER), False, 0),
    ],
)
def test_what_is_answered_v6(what: str, packet: bytes, group: bool, sent: int) -> None:
    _, _, b = pair()
    assert port(b, packet, group) == sent


@pytest.mark.rfc("4443", "2.4", "f")
def test_errors_are_limited_in_rate() -> None:
    net, _, b = pair(icmp_rate=10, icmp_burst=5)
    packet = make(4, A4, B4, 17, bytes(8))
    assert sum(port(b, packet) for _ in range(20)) == 5
    assert b.counters.get("icmp.rate_limited") == 15
    net.now += SECOND // 2
    assert sum(port(b, packet) for _ in range(20)) == 5
    net.now += SECOND // 10
    assert sum(port(b, packet) for _ in range(20)) == 1


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket()
    assert bucket.take(1, 2, 0)
    assert bucket.take(1, 2, 1000 * SECOND)
    assert bucket.take(1, 2, 1000 * SECOND)
    assert not bucket.take(1, 2, 1000 * SECOND)


def test_super_frames_are_quoted_as_their_first_segment() -> None:
    tcp = bytes(12) + b"\x50\x10" + bytes(6)
    super4 = make(4, A4, B4, 6, tcp + bytes(14600))
    frame = Frame(bytes(14) + super4, 0, CSUM_PARTIAL, 34, 16, GSO_TCPV4, 1460)
    header = Ipv4Header.parse(quote(frame, 14, 548))
    assert header is not None
    assert header.total_length == 1500
    assert len(quote(frame, 14, 548)) == 548
    super6 = make(6, A6, B6, 6, tcp + bytes(14600))
    frame = Frame(bytes(14) + super6, 0, CSUM_PARTIAL, 54, 16, GSO_TCPV6, 1440)
    parsed = Ipv6Header.parse(quote(frame, 14, 1232))
    assert parsed is not None
    assert parsed.payload_length == 1460


# -- errors in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "type", "code", "kind"),
    [
        (4, 3, 0, kinds.UNREACHABLE_NET),
        (4, 3, 1, kinds.UNREACHABLE_HOST),
        (4, 3, 3, kinds.UNREACHABLE_PORT),
        (4, 3, 5, kinds.SOURCE_ROUTE_FAILED),
        (4, 3, 13, kinds.ADMIN),
        (4, 11, 0, kinds.TIME_EXCEEDED),
        (4, 11, 1, kinds.REASSEMBLY_EXCEEDED),
        (4, 12, 0, kinds.PARAMETER_PROBLEM),
        (6, 1, 0, kinds.UNREACHABLE_NET),
        (6, 1, 1, kinds.ADMIN),
        (6, 1, 2, kinds.SCOPE),
        (6, 1, 3, kinds.UNREACHABLE_HOST),
        (6, 1, 4, kinds.UNREACHABLE_PORT),
        (6, 1, 5, kinds.REJECT),
        (6, 3, 0, kinds.TIME_EXCEEDED),
        (6, 3, 1, kinds.REASSEMBLY_EXCEEDED),
        (6, 4, 0, kinds.PARAMETER_PROBLEM),
        (6, 4, 1, kinds.UNKNOWN_NEXT_HEADER),
        (6, 4, 2, kinds.UNKNOWN_OPTION),
        (6, 4, 3, kinds.INCOMPLETE_CHAIN),
    ],
)
def test_errors_reach_the_transport(family: int, type: int, code: int, kind: int) -> None:
    _, a, _ = pair()
    deliver(a, error_packet(family, type, code, quoted(family)))
    (error,) = a.recorder.errors
    assert (error.kind, error.type, error.code) == (kind, type, code)
    assert error.reporter == ROUTER[family == 6]
    assert (error.protocol, error.quote, error.ttl) == (253, b"12345678", 64)
    assert error.errno == kinds.KIND_ERRNO[kind]


@pytest.mark.rfc("5927", "4.1")
@pytest.mark.parametrize("family", [4, 6])
def test_errors_about_what_we_did_not_send_are_dropped(family: int) -> None:
    _, a, _ = pair()
    src = parse("203.0.113.5" if family == 4 else "2001:db8:5::5")
    strange = make(family, src, ROUTER[family == 6], 253, bytes(8))
    deliver(a, error_packet(family, 3 if family == 4 else 1, 1, strange))
    assert a.counters.get("icmp.quote_not_ours") == 1
    assert a.recorder.errors == []


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 19, 27, 39, 47])
def test_short_quotes_are_dropped(family: int, size: int) -> None:
    _, a, _ = pair()
    packet = quoted(family)[:size]
    deliver(a, error_packet(family, 3 if family == 4 else 1, 1, packet))
    if family == 6 or size < 28:
        assert a.counters.get("icmp.bad_quote") == 1
        assert a.recorder.errors == []


def test_odd_errors_are_counted() -> None:
    _, a, _ = pair()
    deliver(a, error_packet(4, 3, 99, quoted(4)))
    deliver(a, error_packet(6, 1, 99, quoted(6)))
    deliver(a, error_packet(6, 100, 0, quoted(6)))
    assert a.counters.get("icmp.unknown_code") == 3
    deliver(a, error_packet(4, 3, 1, quoted(4, offset=8)))
    assert a.counters.get("icmp.quote_fragment") == 1
    deliver(a, error_packet(4, 4, 0, quoted(4)))  # RFC 6633: source quench is ignored
    assert a.recorder.errors == []


@pytest.mark.parametrize("family", [4, 6])
def test_local_traceroute_errors_reach_the_session(family: int) -> None:
    _, a, _ = pair()
    session = a.stack.icmp.open_echo()
    kind = icmp.ECHO_REQUEST if family == 4 else icmp.ECHO_REQUEST6
    request = icmp.echo(kind, session.identifier, 5, b"").build()
    src, dst = parse(ADDRESSES[family][0]), ROUTER[family == 6]
    packet = make(family, src, dst, 1 if family == 4 else 58, request)
    deliver(a, error_packet(family, 11 if family == 4 else 3, 0, packet))
    result = session.receive()
    assert result is not None
    assert (result.kind, result.sequence) == (kinds.TIME_EXCEEDED, 5)
    assert result.source == ROUTER[family == 6]
