# SPDX-License-Identifier: Apache-2.0
"""How connections end: CLOSE, ABORT, linger, data nobody reads (RFC 9293 §3.6, §3.10)."""

import errno

import pytest
from tcp_states import (
    close_wait,
    established,
    fin_wait_1,
    fin_wait_2,
    in_state,
    state,
    syn_received_active,
)

from capas.base.clock import SECOND
from capas.wire.tcp import ACK, FIN, PSH, RST, SYN


@pytest.mark.rfc("9293", "3.6", "figure 12")
def test_normal_close() -> None:
    script, c, peer = established()
    script.shutdown(c)
    peer.expect(FIN | ACK, seq=1, ack=101)
    peer.send(ACK, ack=2)
    assert state(c) == "FIN-WAIT-2"
    peer.send(FIN | ACK)
    peer.expect(ACK, seq=2, ack=102)
    assert state(c) == "TIME-WAIT"
    script.run(60 * SECOND)
    assert state(c) == "CLOSED"
    assert not script.host.tcp.table


@pytest.mark.rfc("9293", "3.6", "figure 13")
def test_simultaneous_close() -> None:
    _, c, peer = fin_wait_1()
    peer.send(FIN | ACK, ack=1)
    peer.expect(ACK, seq=2, ack=102)
    assert state(c) == "CLOSING"
    peer.send(ACK, ack=2)
    assert state(c) == "TIME-WAIT"


@pytest.mark.rfc("9293", "3.6", "MUST-12")
def test_the_passive_end_of_a_close() -> None:
    script, c, peer = close_wait()
    script.send(c, b"rest")
    peer.expect(ACK, b"rest")
    script.shutdown(c)
    peer.expect(FIN | ACK, seq=5)
    peer.send(ACK, ack=6)
    assert state(c) == "CLOSED"
    assert not script.host.tcp.table


@pytest.mark.rfc("9293", "3.10.4")
def test_the_fin_follows_all_data() -> None:
    script, c, peer = established()
    script.send(c, b"x" * 40_000)
    script.shutdown(c)
    with pytest.raises(BrokenPipeError):
        script.send(c, b"more")
    while state(c) == "FIN-WAIT-1":
        last = peer.drain()
        peer.send(ACK)
    assert last[-1].flags & FIN
    assert peer.rcv == 40_002


@pytest.mark.rfc("9293", "3.10.4")
def test_close_in_syn_received_waits_for_established() -> None:
    script, c, peer = syn_received_active()
    script.shutdown(c)
    script.run(SECOND)
    peer.expect(SYN | ACK, seq=0)  # what is repeated is the SYN, not a FIN
    peer.send(ACK, ack=1)
    peer.expect(FIN | ACK, seq=1)
    assert state(c) == "FIN-WAIT-1"
    peer.send(ACK, ack=2)
    assert state(c) == "FIN-WAIT-2"


@pytest.mark.rfc("9293", "3.6.1")
def test_half_closed_connections_still_receive() -> None:
    script, c, peer = fin_wait_2()
    for i in range(10):
        script.run(30 * SECOND)
        peer.send(ACK, b"%d" % i)
    assert script.receive(c) == b"0123456789"
    assert state(c) == "FIN-WAIT-2"


@pytest.mark.rfc("9293", "3.10.5")
@pytest.mark.parametrize(
    "name", ["SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT"]
)
def test_abort_resets(name: str) -> None:
    script, c, peer = in_state(name)
    script.abort(c)
    seen = peer.drain()
    assert len(seen) == 1
    assert seen[0].flags & RST
    assert state(c) == "CLOSED"
    assert not script.host.tcp.table


@pytest.mark.rfc("9293", "3.10.5")
@pytest.mark.parametrize("name", ["CLOSING", "LAST-ACK", "TIME-WAIT"])
def test_abort_is_silent_once_everything_is_said(name: str) -> None:
    script, c, peer = in_state(name)
    script.abort(c)
    peer.expect_nothing()
    assert state(c) == "CLOSED"
    assert not script.host.tcp.table


@pytest.mark.rfc("9293", "3.6.1", "SHLD-3")
@pytest.mark.rfc("2525", "2.17")
@pytest.mark.parametrize("name", ["ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2"])
def test_close_with_unread_data_resets(name: str) -> None:
    script, c, peer = in_state(name)
    peer.send(ACK, b"unread")
    peer.drain()
    script.close(c)
    assert peer.drain()[-1].flags & RST
    assert state(c) == "CLOSED"


@pytest.mark.rfc("9293", "3.6.1", "SHLD-3")
@pytest.mark.parametrize("name", ["FIN-WAIT-1", "FIN-WAIT-2"])
def test_data_after_close_resets(name: str) -> None:
    script, c, peer = in_state(name)
    script.close(c)
    peer.send(ACK, b"too late")
    seen = peer.drain()
    assert seen[-1].flags & RST
    assert state(c) == "CLOSED"


@pytest.mark.rfc("9293", "3.9.1.4")
def test_linger_zero_resets() -> None:
    script, c, peer = established()
    script.send(c, b"lost")
    peer.drain()
    c.options.linger = 0
    script.close(c)
    peer.expect(RST | ACK, seq=5, ack=101)
    assert state(c) == "CLOSED"


@pytest.mark.rfc("9293", "3.9.1.4")
def test_close_delivers_what_was_queued() -> None:
    script, c, peer = established()
    script.send(c, b"last words")
    script.close(c)
    assert [seen.data for seen in peer.drain()] == [b"last words", b""]
    peer.send(ACK | FIN)
    peer.expect(ACK)
    assert state(c) == "TIME-WAIT"


def test_fin_wait_2_of_a_closed_socket_ends() -> None:
    """Linux tcp_fin_timeout; RFC 9293 lets a connection stay half-closed only while it is used."""
    script, c, peer = fin_wait_2()
    script.run(300 * SECOND)
    assert state(c) == "FIN-WAIT-2"
    script.close(c)
    script.run(60 * SECOND - 1)
    assert state(c) == "FIN-WAIT-2"
    script.run(1)
    assert state(c) == "CLOSED"
    peer.expect_nothing()


def test_fin_wait_2_begins_its_time_when_the_fin_is_acknowledged() -> None:
    script, c, peer = established()
    script.close(c)
    peer.expect(FIN | ACK)
    peer.send(ACK)
    script.run(59 * SECOND)
    peer.send(FIN | ACK)
    peer.expect(ACK)
    assert state(c) == "TIME-WAIT"


@pytest.mark.rfc("9293", "3.10.3")
def test_data_before_a_reset_can_still_be_read() -> None:
    script, c, peer = established()
    peer.send(ACK, b"before")
    peer.send(RST, seq=peer.nxt)
    assert script.receive(c) == b"before"
    with pytest.raises(ConnectionResetError):
        script.receive(c)
    assert script.receive(c) == b""


@pytest.mark.rfc("9293", "3.10.2")
def test_send_after_the_end_raises() -> None:
    script, c, peer = established()
    script.shutdown(c)
    with pytest.raises(BrokenPipeError):
        script.send(c, b"x")
    peer.send(RST, seq=101)
    assert c.take_error() == errno.ECONNRESET
    with pytest.raises(BrokenPipeError):
        script.send(c, b"x")


def test_closing_a_listener_resets_what_nobody_accepted() -> None:
    from capas.testing.script import Script

    script = Script()
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN)
    peer.expect(SYN | ACK)
    peer.send(ACK)
    script.call(listener.close)
    peer.expect(RST | ACK, seq=1)
    assert not script.host.tcp.table


@pytest.mark.rfc("1122", "4.2.2.13")
def test_what_was_received_before_is_no_data_after_close() -> None:
    """The peer's last acknowledgement was lost, and its repeat carries its FIN as well."""
    script, c, peer = established()
    peer.send(ACK | PSH, b"x" * 100)
    assert script.receive(c) == b"x" * 100
    peer.send(ACK, wnd=0)
    script.send(c, b"y" * 500)
    script.close(c)
    peer.drain()
    peer.send(ACK | FIN | PSH, b"x" * 100, seq=101)
    peer.expect(ACK, seq=1, ack=202)
    peer.send(ACK, seq=202, wnd=65_535)
    peer.expect(FIN | ACK, seq=1, length=500)
    assert state(c) == "CLOSING"
    assert script.counter("tcp.data_after_close") == 0
