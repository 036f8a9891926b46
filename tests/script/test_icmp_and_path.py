# SPDX-License-Identifier: Apache-2.0
"""ICMP errors about segments, path MTU, black holes, addresses (RFC 9293 §3.9.2, RFC 5927)."""

import errno
from struct import pack

import pytest
from tcp_states import established, state, syn_received, syn_sent

from capas.base.checksum import checksum, pseudo_sum
from capas.base.clock import SECOND
from capas.testing.script import Peer, Script
from capas.testing.segments import build, ip_header
from capas.wire.tcp import ACK, RST, SYN

ROUTER = bytes((192, 0, 2, 77))
ROUTER6 = bytes.fromhex("20010db8000000000000000000000077")


def icmp(peer: Peer, type: int, code: int, seq: int, word: int = 0, length: int = 8) -> None:
    """An ICMP error that quotes the host's segment at ``seq`` (counted from its ISS)."""
    script = peer.script
    quote = build(
        script.local, script.remote, peer.to, peer.port, peer.host_iss + seq, 0, ACK, 0, 0, b"", b""
    )
    quote = quote[: (20 if script.family == 4 else 40) + length]
    message = pack("!BBHL", type, code, 0, word) + quote
    if script.family == 4:
        total = checksum(message)
        router, protocol = ROUTER, 1
    else:
        router, protocol = ROUTER6, 58
        total = checksum(message, pseudo_sum(router, script.local, 58, len(message)))
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    script.deliver(ip_header(router, script.local, protocol, len(message)) + message)


@pytest.mark.rfc("9293", "3.9.2.2", "SHLD-26")
@pytest.mark.rfc("5461", "4")
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (3, errno.ECONNREFUSED),
        (2, errno.ECONNREFUSED),
        (1, errno.EHOSTUNREACH),
        (13, errno.EHOSTUNREACH),
    ],
)
def test_an_error_ends_an_active_open(code: int, error: int) -> None:
    script, c, peer = syn_sent()
    icmp(peer, 3, code, 0)
    assert state(c) == "CLOSED"
    with pytest.raises(OSError) as caught:
        script.receive(c)
    assert caught.value.errno in (error, errno.ENOPROTOOPT)


@pytest.mark.rfc("9293", "3.9.2.2", "MUST-56")
@pytest.mark.rfc("9293", "3.9.2.2", "SHLD-25")
@pytest.mark.parametrize(("type", "code"), [(3, 0), (3, 1), (3, 5), (11, 0), (11, 1), (12, 0)])
def test_soft_errors_are_remembered_and_nothing_more(type: int, code: int) -> None:
    script, c, peer = established()
    script.send(c, b"x")
    peer.drain()
    icmp(peer, type, code, 1)
    assert state(c) == "ESTABLISHED"
    assert c.life.soft_error
    script.run(3000 * SECOND)
    assert c.take_error() == c.life.soft_error  # the reason of the timeout


@pytest.mark.rfc("5927", "5.2")
@pytest.mark.parametrize("code", [2, 3, 13])
def test_hard_errors_are_soft_once_synchronized(code: int) -> None:
    script, c, peer = established()
    script.send(c, b"x")
    icmp(peer, 3, code, 1)
    assert state(c) == "ESTABLISHED"


@pytest.mark.rfc("5927", "4.1")
@pytest.mark.parametrize("seq", [-100, 2, 100_000])
def test_an_error_about_nothing_outstanding_is_not_believed(seq: int) -> None:
    script, c, peer = syn_sent()
    icmp(peer, 3, 3, seq)
    assert state(c) == "SYN-SENT"
    assert script.counter("tcp.icmp_out_of_window") == 1


@pytest.mark.rfc("9293", "3.9.2.2", "MUST-55")
@pytest.mark.rfc("6633", "5")
def test_source_quench_is_ignored() -> None:
    script, c, peer = established()
    script.send(c, b"x")
    before = c.cc.cwnd
    icmp(peer, 4, 0, 1)
    assert (c.cc.cwnd, c.life.soft_error) == (before, 0)


@pytest.mark.rfc("9293", "3.9.2.2", "MUST-54")
def test_an_error_does_not_end_a_passive_open() -> None:
    _, c, peer = syn_received()
    icmp(peer, 3, 1, 0)
    assert state(c) == "SYN-RECEIVED"


def test_an_error_for_nobody_is_counted() -> None:
    script = Script()
    peer = script.peer()
    peer.host_iss = 0
    icmp(peer, 3, 3, 0)
    assert script.counter("tcp.icmp_no_connection") == 1


# -- path MTU ----------------------------------------------------------------------------------


@pytest.mark.rfc("1191", "6.4")
@pytest.mark.rfc("8201", "5.4")
@pytest.mark.rfc("9293", "3.7.2")
@pytest.mark.parametrize(("family", "mtu"), [(4, 1000), (6, 1300)])
def test_too_big_cuts_and_repeats_at_once(family: int, mtu: int) -> None:
    script = Script(family=family, tcp_congestion="reno")
    c, peer = script.passive(mss=1460 if family == 4 else 1440, sack_ok=True)
    full = c.tx.mss
    script.send(c, b"x" * 5 * full)
    assert len(peer.drain()) == 5
    cwnd = c.cc.cwnd
    if family == 4:
        icmp(peer, 3, 4, 1, mtu)
    else:
        icmp(peer, 2, 0, 1, mtu)
    small = mtu - (40 if family == 4 else 60)
    assert c.tx.mss == small
    again = peer.drain()
    assert again
    assert all(len(seen.data) <= small for seen in again)
    assert peer.relative(again[0].seq) == 1
    # It is no sign of congestion (RFC 1191 §6.4): the window keeps its segments.
    script.run(SECOND // 100)
    peer.send(ACK, ack=1 + 2 * small)
    peer.send(ACK, ack=1 + 5 * full)
    assert c.cc.ssthresh >= 1 << 30
    assert c.cc.cwnd >= cwnd * small // full - small
    assert script.counter("tcp.fast_recovery") == 0


@pytest.mark.rfc("5927", "7")
@pytest.mark.rfc("8899", "4.6.1")
def test_too_big_about_nothing_outstanding_is_not_believed() -> None:
    _script, c, peer = established()
    icmp(peer, 3, 4, 500, 600)
    assert c.tx.mss == 1460


@pytest.mark.rfc("1191", "3")
def test_too_big_with_an_absurd_mtu_has_a_floor() -> None:
    script, c, peer = established()
    script.send(c, b"x" * 1460)
    icmp(peer, 3, 4, 1, 68)
    assert c.tx.mss >= 500


@pytest.mark.rfc("4821", "7.7")
@pytest.mark.rfc("2923", "2.1")
def test_a_black_hole_is_suspected_after_r1() -> None:
    script, c, peer = established()
    script.send(c, b"x" * 1460)
    peer.drain()
    script.run(20 * SECOND)
    sizes = [len(seen.data) for seen in peer.drain()]
    assert sizes[0] == 1460
    assert sizes[-1] <= 1024
    assert script.counter("tcp.mtu_black_hole") >= 1


# -- addresses ---------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.9.2.3", "MUST-57")
@pytest.mark.parametrize("dst", [bytes((224, 0, 0, 1)), bytes((255,) * 4), bytes((192, 0, 2, 255))])
def test_a_syn_to_a_group_or_everybody_is_dropped(dst: bytes) -> None:
    script = Script()
    script.listen()
    script.deliver(build(script.remote, dst, 5, 80, 1, 0, SYN, 100, 0, b"", b""))
    assert not script.strays
    assert not script.host.tcp.table


@pytest.mark.rfc("9293", "3.9.2.3", "MUST-63")
@pytest.mark.parametrize("src", [bytes(4), bytes((224, 0, 0, 5)), bytes((255,) * 4)])
def test_a_syn_from_an_impossible_address_is_dropped(src: bytes) -> None:
    script = Script()
    script.listen()
    script.deliver(build(src, script.local, 5, 80, 1, 0, SYN, 100, 0, b"", b""))
    assert not script.strays
    assert not script.host.tcp.table


@pytest.mark.rfc("9293", "3.1", "MUST-2")
@pytest.mark.rfc("9293", "3.1", "MUST-3")
@pytest.mark.parametrize("family", [4, 6])
def test_a_wrong_checksum_is_dropped(family: int) -> None:
    script = Script(family=family)
    script.listen()
    peer = script.peer()
    packet = bytearray(peer.packet(SYN))
    packet[-1] ^= 1
    script.deliver(bytes(packet))
    peer.expect_nothing()
    assert script.counter("tcp.bad_checksum") == 1


@pytest.mark.rfc("9293", "3.1")
@pytest.mark.parametrize("offset", [0, 4, 6, 15])
def test_an_impossible_header_length_is_dropped(offset: int) -> None:
    script = Script()
    script.listen()
    segment = pack("!HHLLBBHHH", 40_000, 80, 1, 0, offset << 4, SYN, 100, 0, 0)
    total = checksum(segment, pseudo_sum(script.remote, script.local, 6, len(segment)))
    segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
    script.deliver(ip_header(script.remote, script.local, 6, len(segment)) + segment)
    assert not script.strays
    assert script.counter("tcp.bad_header") == 1


@pytest.mark.rfc("9293", "3.9.2", "MUST-49")
@pytest.mark.rfc("9293", "3.9.2", "MUST-48")
def test_ttl_and_traffic_class_can_be_set() -> None:
    script, c, peer = established()
    c.path.ttl = 3
    c.path.tos = 0xB8
    script.send(c, b"x")
    seen = peer.expect(ACK)
    assert (seen.ttl, seen.tos) == (3, 0xB8)


@pytest.mark.rfc("9293", "3.9.1.1", "MUST-44")
@pytest.mark.rfc("9293", "3.9.1.1", "MUST-45")
def test_one_local_address_for_all_segments() -> None:
    script = Script()
    c, peer = script.active()
    script.host.add_address(script.interface, "192.0.2.9/24", script.now)
    script.send(c, b"x")
    peer.expect(ACK, b"x")
    assert c.local_address == script.local


@pytest.mark.rfc("9293", "3.9.1.1", "MUST-42")
@pytest.mark.rfc("9293", "3.9.1.1", "MUST-43")
@pytest.mark.rfc("9293", "3.9.1.1", "MUST-41")
def test_listeners_of_one_port_on_two_addresses() -> None:
    from capas.transport.ports import Binding

    script = Script()
    script.host.add_address(script.interface, "192.0.2.9/24", script.now)
    tcp = script.host.tcp
    other = bytes((192, 0, 2, 9))
    first = tcp.listen(tcp.bindings.bind(Binding(script.local, 80)), 5, script.now)
    second = tcp.listen(tcp.bindings.bind(Binding(other, 80)), 5, script.now)
    script.peer().send(SYN)
    script.deliver(build(script.remote, other, 7, 80, 1, 0, SYN, 100, 0, b"", b""))
    assert (first.half_open, second.half_open) == (1, 1)
    with pytest.raises(OSError, match="in use"):
        tcp.bindings.bind(Binding(script.local, 80))


def test_a_refused_connection() -> None:
    script, c, peer = syn_sent()
    peer.send(RST | ACK, seq=0, ack=1)
    with pytest.raises(ConnectionRefusedError):
        script.send(c, b"x")


def test_no_route_no_connection() -> None:
    script = Script()
    with pytest.raises(OSError, match="unreachable"):
        script.host.tcp.connect(
            __import__("capas.transport.ports", fromlist=["Binding"]).Binding(b"", 0),
            bytes((198, 51, 100, 1)),
            80,
            script.now,
        )


@pytest.mark.rfc("1191", "6")
@pytest.mark.rfc("8201", "5.2")
@pytest.mark.parametrize("family", [4, 6])
def test_too_big_holds_for_every_connection_on_the_path(family: int) -> None:
    script = Script(family=family)
    listener = script.listen()
    told, first = script.passive(listener, 40_000)
    other, second = script.passive(listener, 40_001)
    script.send(told, b"a" * 1400)
    first.drain()
    if family == 4:
        icmp(first, 3, 4, 1, 1300)
    else:
        icmp(first, 2, 0, 1, 1300)
    script.send(other, b"b" * 1400)
    seen = second.drain()
    assert sum(len(segment.data) for segment in seen) == 1400
    assert len(seen[0].data) == 1300 - 20 - (20 if family == 4 else 40)
    assert script.counter("ipv4.too_big") == script.counter("ipv6.too_big") == 0
