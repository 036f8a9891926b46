# SPDX-License-Identifier: Apache-2.0
"""Urgent data on the wire and at the user's end (RFC 9293 §3.8.5, RFC 6093)."""

import errno

import pytest
from tcp_states import established

from capas.base.clock import SECOND
from capas.testing.script import Script
from capas.transport.endpoint import READ, URGENT
from capas.transport.tcp import urgent
from capas.transport.tcp.connection import TcpConnection
from capas.wire.tcp import ACK, FIN, URG


def peek(script: Script, c: TcpConnection) -> bytes | None:
    return script.call(lambda now: c.receive(100, now, peek=True))


def send_urgent(script: Script, c: TcpConnection, data: bytes) -> None:
    def send(now: int) -> None:
        assert c.send(data, now) == len(data)
        urgent.sent(c)

    script.call(send)


def errno_of_receive(c: TcpConnection) -> int:
    with pytest.raises(OSError) as caught:
        urgent.receive(c, taking=True)
    assert caught.value.errno is not None
    return caught.value.errno


@pytest.mark.rfc("9293", "3.8.5", "MUST-30")
@pytest.mark.rfc("9293", "3.8.5", "MUST-32")
@pytest.mark.rfc("9293", "3.8.5", "MUST-33")
def test_the_user_is_told_of_urgent_data_and_where_it_ends() -> None:
    script, c, peer = established()
    peer.send(ACK, b"ab")
    assert not c.endpoint.readiness & URGENT
    peer.send(ACK | URG, b"cd!ef", up=3)
    assert script.counter("tcp.urgent_in") == 1
    assert c.endpoint.readiness & URGENT
    assert urgent.unread(c) == 4 and not urgent.at_mark(c)
    assert peek(script, c) == script.receive(c) == b"abcd"
    assert urgent.at_mark(c) and urgent.unread(c) == 0
    assert urgent.receive(c, taking=False) == urgent.receive(c, taking=True) == b"!"
    assert not c.endpoint.readiness & URGENT
    assert errno_of_receive(c) == errno.EINVAL  # taken
    assert peek(script, c) == script.receive(c) == b"ef"
    assert not urgent.at_mark(c)


@pytest.mark.rfc("6093", "4.2")
def test_in_line_the_mark_is_a_place_to_stop_at() -> None:
    script, c, peer = established()
    c.options.oobinline = True
    peer.send(ACK | URG, b"ab!cd", up=3)
    assert c.endpoint.readiness & URGENT and urgent.unread(c) == 5
    assert script.receive(c) == b"ab"
    assert urgent.at_mark(c) and errno_of_receive(c) == errno.EINVAL
    assert peek(script, c) == script.receive(c) == b"!cd"
    assert not c.endpoint.readiness & URGENT


def test_an_octet_out_of_line_alone_is_nothing_to_read() -> None:
    script, c, peer = established()
    peer.send(ACK | URG, b"!", up=1)
    assert c.endpoint.readiness & (READ | URGENT) == URGENT
    assert peek(script, c) is None
    assert urgent.receive(c, taking=True) == b"!"
    peer.send(ACK, b"x")
    assert c.endpoint.readiness & READ
    assert script.receive(c) == b"x"
    assert not c.endpoint.readiness & READ


@pytest.mark.rfc("9293", "3.8.5", "MUST-31")
@pytest.mark.rfc("6093", "3.1")
def test_the_pointer_may_come_long_before_the_octet() -> None:
    script, c, peer = established()
    peer.send(ACK | URG, b"x" * 1000, up=2001)
    assert errno_of_receive(c) == errno.EAGAIN
    assert script.receive(c) == b"x" * 1000
    peer.send(ACK, b"y" * 1000)
    peer.send(ACK, b"!z")  # without the flag, as no sender would
    assert c.endpoint.readiness & URGENT
    assert urgent.receive(c, taking=True) == b"!"
    assert script.receive(c) == b"y" * 1000
    assert script.receive(c) == b"z"
    peer.send(ACK | URG, b"a", up=60_000)
    peer.send(FIN | ACK)
    assert urgent.receive(c, taking=True) == b""  # it will never come
    assert [script.receive(c) for _ in range(2)] == [b"a", b""]


def test_the_octet_may_come_out_of_order() -> None:
    script, c, peer = established()
    peer.send(ACK | URG, b"!b", seq=103, up=1)
    assert urgent.receive(c, taking=True) == b"!"
    assert script.receive(c) is None
    peer.send(ACK, b"xy", seq=101)
    assert script.receive(c) == b"xy"
    assert script.receive(c) == b"b"


def test_a_newer_mark_leaves_the_older_octet_in_line() -> None:
    script, c, peer = established()
    peer.send(ACK | URG, b"a1", up=2)
    peer.send(ACK | URG, b"b2", up=2)
    assert urgent.receive(c, taking=True) == b"2"
    assert script.receive(c) == b"a1b"
    peer.send(ACK | URG, b"3", up=1)  # the mark before it is where the next read begins
    assert urgent.receive(c, taking=True) == b"3"
    peer.send(ACK, b"c")
    assert script.receive(c) == b"c"
    peer.send(ACK | URG, b"old", seq=101, up=1)  # acknowledged long ago
    assert errno_of_receive(c) == errno.EINVAL


@pytest.mark.rfc("9293", "3.4", "MUST-66")
def test_the_pointer_is_taken_at_a_zero_window() -> None:
    script, c, peer = established(tcp_receive_buffer=4000, tcp_receive_buffer_max=4000)
    while c.rx.window():
        peer.send(ACK, b"x" * min(1460, c.rx.window()))
    peer.send(ACK | URG, b"!", up=1)
    assert script.counter("tcp.urgent_in") == 1
    assert errno_of_receive(c) == errno.EAGAIN


@pytest.mark.rfc("9293", "3.8.5", "MUST-62")
def test_urgent_data_sent_points_behind_its_last_byte() -> None:
    script, c, peer = established()
    script.send(c, b"a")
    peer.expect(ACK, b"a", up=0)
    send_urgent(script, c, b"bc")
    peer.expect(ACK | URG, b"bc", up=2)  # Nagle's rule is not for urgent data
    peer.send(ACK)
    script.send(c, b"d")
    peer.expect(ACK, b"d", up=0)


@pytest.mark.rfc("9293", "3.8.5", "MUST-62")
def test_each_segment_points_to_the_mark() -> None:
    script, c, peer = established(super_frames=True)
    script.send(c, b"x" * 2920)
    peer.expect(ACK, up=0, length=2920)
    send_urgent(script, c, b"y" * 2000)
    script.send(c, b"z" * 3000)
    peer.expect(ACK | URG, up=2000, length=1460)
    peer.expect(ACK | URG, up=540, length=540)
    peer.expect(ACK, up=0)
    script.run(2 * SECOND)  # nothing is acknowledged: the first run comes again, cut
    again = [seen for seen in peer.drain() if seen.flags & URG]
    assert {(seen.up, len(seen.data)) for seen in again} == {(4920, 1460)}
