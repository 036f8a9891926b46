# SPDX-License-Identifier: Apache-2.0
"""SEGMENT ARRIVES in the other states, step by step and state by state (RFC 9293 §3.10.7.4)."""

import errno

import pytest
from tcp_states import OTHER, SYNCHRONIZED, in_state, rcv_nxt, snd_nxt, state

from capas.base.clock import MS, SECOND
from capas.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

every_state = pytest.mark.parametrize("name", OTHER)
synchronized = pytest.mark.parametrize("name", SYNCHRONIZED)
RECEIVING = ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2")
CLOSED_BY_PEER = ("CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT")


# -- first: sequence number --------------------------------------------------------------------


@every_state
@pytest.mark.rfc("9293", "3.10.7.4", "first")
@pytest.mark.parametrize("offset", [-50, 1 << 20, 1 << 30])
def test_unacceptable_text_is_acknowledged(name: str, offset: int) -> None:
    _script, c, peer = in_state(name)
    peer.send(ACK, b"old text", seq=rcv_nxt(name) + offset, ack=snd_nxt(name))
    peer.expect(ACK, seq=snd_nxt(name), ack=rcv_nxt(name), length=0)
    peer.expect_nothing()
    assert state(c) == name.removesuffix("-ACTIVE")
    assert c.rx.buffered == 0


@every_state
@pytest.mark.rfc("9293", "3.10.7.4", "first")
@pytest.mark.parametrize("offset", [-1, 1 << 20])
def test_an_unacceptable_empty_segment_is_acknowledged(name: str, offset: int) -> None:
    _, c, peer = in_state(name)
    peer.send(ACK, seq=rcv_nxt(name) + offset)
    peer.expect(ACK, seq=snd_nxt(name), ack=rcv_nxt(name))
    assert state(c) == name.removesuffix("-ACTIVE")


@every_state
@pytest.mark.rfc("9293", "3.10.7.4", "first")
@pytest.mark.rfc("5961", "3.2")
@pytest.mark.parametrize("offset", [-1, 1 << 20])
def test_an_unacceptable_reset_is_dropped(name: str, offset: int) -> None:
    _, c, peer = in_state(name)
    peer.send(RST, seq=rcv_nxt(name) + offset)
    peer.expect_nothing()
    assert state(c) == name.removesuffix("-ACTIVE")


@pytest.mark.rfc("9293", "3.10.7.4", "first")
@pytest.mark.parametrize("name", RECEIVING)
def test_a_segment_across_the_left_edge_is_trimmed(name: str) -> None:
    script, c, peer = in_state(name)
    peer.send(ACK, b"abcdef", ack=snd_nxt(name))
    peer.drain()
    peer.send(ACK, b"defghi", seq=104, ack=snd_nxt(name))
    peer.expect(ACK, ack=110)
    assert script.receive(c) == b"abcdefghi"


@pytest.mark.rfc("9293", "3.10.7.4", "first")
@pytest.mark.parametrize("name", RECEIVING)
def test_a_segment_across_the_right_edge_is_trimmed(name: str) -> None:
    _, c, peer = in_state(name, tcp_receive_buffer=4000, tcp_receive_buffer_max=4000)
    window = c.rx.window()
    peer.send(ACK | FIN, b"x" * (window + 10), ack=snd_nxt(name))
    peer.expect(ACK, ack=101 + window)
    assert c.rx.buffered == window
    assert state(c) != "CLOSE-WAIT"


@pytest.mark.rfc("9293", "3.10.7.4", "first", "MUST-66")
@pytest.mark.parametrize("name", RECEIVING)
def test_a_closed_window_still_takes_acks_and_resets(name: str) -> None:
    script, c, peer = in_state(name, tcp_receive_buffer=3000, tcp_receive_buffer_max=3000)
    while c.rx.window():
        peer.send(ACK, b"x" * c.rx.window(), ack=snd_nxt(name))
    filled = c.rx.buffered
    assert peer.drain()[-1].wnd == 0
    if name == "ESTABLISHED":
        script.send(c, b"answer")
        peer.expect(ACK, b"answer")
        peer.send(ACK, b"y", ack=7)  # the text is refused, the acknowledgement taken
        peer.expect(ACK, ack=101 + filled, wnd=0)
        assert c.tx.snd_una == c.tx.snd_nxt
    peer.send(RST, seq=101 + filled)
    assert state(c) == "CLOSED"


# -- second: RST -------------------------------------------------------------------------------


@every_state
@pytest.mark.rfc("9293", "3.10.7.4", "second")
@pytest.mark.rfc("5961", "3.2")
def test_a_reset_at_rcv_nxt(name: str) -> None:
    script, c, peer = in_state(name)
    peer.send(RST, seq=rcv_nxt(name))
    peer.expect_nothing()
    if name == "TIME-WAIT":
        assert state(c) == "TIME-WAIT"  # RFC 1337 §3: it hides the connection's end from nobody
        return
    assert state(c) == "CLOSED"
    errors = {
        "SYN-RECEIVED": 0,  # back to LISTEN, nobody is told
        "SYN-RECEIVED-ACTIVE": errno.ECONNREFUSED,
        "CLOSE-WAIT": errno.EPIPE,  # Linux; the RFC says "connection reset"
        "CLOSING": 0,
        "LAST-ACK": 0,
    }
    assert c.take_error() == errors.get(name, errno.ECONNRESET)
    assert not script.host.tcp.connections()


@pytest.mark.rfc("9293", "3.10.7.4", "second")
def test_a_reset_ends_time_wait_if_so_configured() -> None:
    _, c, peer = in_state("TIME-WAIT", tcp_rfc1337=False)
    peer.send(RST, seq=102)
    assert state(c) == "CLOSED"


@every_state
@pytest.mark.rfc("5961", "3.2")
@pytest.mark.rfc("9293", "3.10.7.4", "second")
def test_a_reset_elsewhere_in_the_window_is_challenged(name: str) -> None:
    _, c, peer = in_state(name)
    peer.send(RST, seq=rcv_nxt(name) + 1)
    peer.expect(ACK, seq=snd_nxt(name), ack=rcv_nxt(name))
    assert state(c) == name.removesuffix("-ACTIVE")


@pytest.mark.rfc("9293", "3.5.3", "SHLD-2")
def test_a_reset_may_carry_text() -> None:
    _, c, peer = in_state("ESTABLISHED")
    peer.send(RST | ACK, b"why", seq=101)
    assert state(c) == "CLOSED"


# -- third: security ---------------------------------------------------------------------------


@every_state
@pytest.mark.rfc("9293", "3.10.7.4", "third")
@pytest.mark.rfc("9293", "A.1")
def test_the_traffic_class_is_no_reason_to_drop(name: str) -> None:
    _, _c, peer = in_state(name)
    peer.send(RST, seq=rcv_nxt(name) + 1, ecn=0xB8)
    peer.expect(ACK)


# -- fourth: SYN -------------------------------------------------------------------------------


@synchronized
@pytest.mark.rfc("9293", "3.10.7.4", "fourth")
@pytest.mark.rfc("5961", "4.2")
@pytest.mark.parametrize("offset", [0, 5, -1, 1 << 20])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_a_syn_is_challenged(name: str, offset: int, flags: int) -> None:
    if name == "TIME-WAIT" and flags == SYN and offset >= 0:
        pytest.skip("may open a new connection: test_time_wait")
    _, c, peer = in_state(name)
    peer.send(flags, seq=rcv_nxt(name) + offset, ack=1)
    peer.expect(ACK, seq=snd_nxt(name), ack=rcv_nxt(name))
    peer.expect_nothing()
    assert state(c) == name


@pytest.mark.rfc("9293", "3.10.7.4", "fourth")
def test_a_syn_in_the_window_returns_syn_received_to_listen() -> None:
    script, c, peer = in_state("SYN-RECEIVED")
    peer.send(SYN, seq=101)
    assert state(c) == "CLOSED"
    assert not script.host.tcp.connections()


@pytest.mark.rfc("9293", "3.10.7.4", "fourth")
def test_a_syn_in_the_window_of_an_active_syn_received_is_challenged() -> None:
    _, c, peer = in_state("SYN-RECEIVED-ACTIVE")
    peer.send(SYN, seq=101)
    peer.expect(ACK, seq=1, ack=101)
    assert state(c) == "SYN-RECEIVED"


@pytest.mark.rfc("9293", "3.10.7.4", "first")
def test_a_repeated_syn_is_answered_again() -> None:
    _, c, peer = in_state("SYN-RECEIVED")
    peer.send(SYN, seq=100)
    peer.expect(SYN | ACK, seq=0, ack=101)
    assert state(c) == "SYN-RECEIVED"


# -- fifth: ACK --------------------------------------------------------------------------------


@every_state
@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
def test_without_ack_a_segment_is_dropped(name: str) -> None:
    _, c, peer = in_state(name)
    peer.send(FIN, b"text", seq=rcv_nxt(name))
    peer.expect_nothing()
    assert state(c) == name.removesuffix("-ACTIVE")
    assert c.rx.buffered == 0


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
@pytest.mark.parametrize("name", ["SYN-RECEIVED", "SYN-RECEIVED-ACTIVE"])
@pytest.mark.parametrize("ack", [0, 2, 1000, -4])
def test_syn_received_resets_an_unacceptable_ack(name: str, ack: int) -> None:
    _, c, peer = in_state(name)
    peer.send(ACK, ack=ack)
    peer.expect(RST, seq=ack)
    assert state(c) == "SYN-RECEIVED"


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
@pytest.mark.parametrize("name", ["SYN-RECEIVED", "SYN-RECEIVED-ACTIVE"])
def test_syn_received_is_established_by_the_ack(name: str) -> None:
    script, c, peer = in_state(name)
    peer.send(ACK | PSH, b"x", ack=1, wnd=1234)
    assert state(c) == "ESTABLISHED"
    assert c.tx.snd_wnd == 1234
    peer.expect(ACK, ack=102)
    assert script.receive(c) == b"x"


@synchronized
@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
@pytest.mark.rfc("5961", "5.2")
@pytest.mark.parametrize("ack", [1, 1000])
def test_an_ack_of_what_was_never_sent_is_answered(name: str, ack: int) -> None:
    _, c, peer = in_state(name)
    peer.send(ACK, b"text", seq=rcv_nxt(name), ack=snd_nxt(name) + ack)
    peer.expect(ACK, seq=snd_nxt(name), ack=rcv_nxt(name))
    assert state(c) == name
    assert c.rx.buffered == 0


@pytest.mark.rfc("5961", "5.2")
@pytest.mark.parametrize("name", RECEIVING)
def test_an_ack_older_than_the_largest_window_is_answered_and_its_text_dropped(name: str) -> None:
    _, c, peer = in_state(name)
    peer.send(ACK, b"text", seq=rcv_nxt(name), ack=snd_nxt(name) - 70_000)
    peer.expect(ACK, seq=snd_nxt(name), ack=rcv_nxt(name))
    assert c.rx.buffered == 0


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
@pytest.mark.parametrize("name", ["ESTABLISHED", "FIN-WAIT-2"])
def test_a_duplicate_ack_is_ignored_and_its_text_taken(name: str) -> None:
    script, c, peer = in_state(name)
    if name == "ESTABLISHED":
        script.send(c, b"more")
        peer.expect(ACK, b"more")
        peer.send(ACK)
    acknowledged = c.tx.snd_una - c.tx.iss
    peer.send(ACK | PSH, b"text", ack=acknowledged - 1)
    peer.expect(ACK, ack=105)
    assert script.receive(c) == b"text"
    assert c.tx.snd_una - c.tx.iss == acknowledged


@pytest.mark.rfc("5961", "5.2")
def test_an_ack_of_what_was_before_our_first_number_is_answered_and_its_text_dropped() -> None:
    _, c, peer = in_state("ESTABLISHED")
    peer.send(ACK | PSH, b"forged", ack=0)
    peer.expect(ACK, seq=1, ack=101)
    assert c.rx.buffered == 0


@pytest.mark.rfc("9293", "3.10.7.4", "first")
def test_a_peer_that_has_filled_the_window_acknowledges_at_its_edge() -> None:
    script, c, peer = in_state("ESTABLISHED")
    script.send(c, b"x" * 100)
    peer.drain()
    edge = c.rx.rcv_adv - c.rx.irs + 100
    peer.send(ACK, seq=edge, ack=101)
    assert c.tx.snd_una - c.tx.iss == 101
    peer.send(RST, seq=edge)
    peer.expect(ACK, seq=101, ack=101)  # asked, as anywhere in the window but at RCV.NXT
    peer.send(ACK, seq=edge + 1, ack=101)
    assert script.counter("tcp.out_of_window") == 1


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
def test_established_advances_snd_una_and_the_window() -> None:
    script, c, peer = in_state("ESTABLISHED")
    script.send(c, b"x" * 1000)
    peer.expect(ACK, seq=1, length=1000)
    peer.send(ACK, ack=501, wnd=777)
    assert (c.tx.snd_una - c.tx.iss, c.tx.snd_wnd) == (501, 777)
    # An older segment must not change the window: SND.WL1, SND.WL2.
    peer.send(ACK, b"ab", seq=101, ack=501, wnd=888)
    peer.send(ACK, seq=101, ack=501, wnd=999)
    assert c.tx.snd_wnd == 888


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
@pytest.mark.parametrize(
    ("name", "after"),
    [("FIN-WAIT-1", "FIN-WAIT-2"), ("CLOSING", "TIME-WAIT"), ("LAST-ACK", "CLOSED")],
)
def test_the_ack_of_our_fin(name: str, after: str) -> None:
    _, c, peer = in_state(name)
    peer.send(ACK, ack=1)
    assert state(c) == name
    peer.send(ACK, ack=2)
    assert state(c) == after
    assert c.error == 0


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
@pytest.mark.parametrize("name", ["FIN-WAIT-2", "CLOSE-WAIT", "TIME-WAIT"])
def test_an_ack_alone_changes_nothing(name: str) -> None:
    _, c, peer = in_state(name)
    peer.send(ACK, ack=snd_nxt(name))
    peer.expect_nothing()
    assert state(c) == name


# -- sixth: URG --------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.10.7.4", "sixth")
@pytest.mark.rfc("9293", "3.8.5", "MUST-30")
@pytest.mark.parametrize("name", RECEIVING)
def test_the_urgent_pointer_is_taken(name: str) -> None:
    _, c, peer = in_state(name)
    peer.send(ACK | URG, b"abc", ack=snd_nxt(name), up=2)
    assert c.rx.mark is not None and c.rx.mark.seq == 102
    peer.send(ACK | URG, b"d", ack=snd_nxt(name), up=1)
    assert c.rx.mark.seq == 104
    peer.send(ACK | URG, seq=105, ack=snd_nxt(name), up=0)
    peer.send(ACK | URG, b"c", seq=103, ack=snd_nxt(name), up=1)  # it never moves back
    assert c.rx.mark.seq == 105


@pytest.mark.rfc("9293", "3.10.7.4", "sixth")
@pytest.mark.parametrize("name", CLOSED_BY_PEER)
def test_the_urgent_pointer_is_ignored_after_the_peers_fin(name: str) -> None:
    _, c, peer = in_state(name)
    peer.send(ACK | URG, ack=snd_nxt(name) - 1, up=2)
    assert c.rx.mark is None


# -- seventh: text -----------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.10.7.4", "seventh")
@pytest.mark.parametrize("name", RECEIVING)
def test_text_is_delivered_and_acknowledged(name: str) -> None:
    script, c, peer = in_state(name)
    peer.send(ACK | PSH, b"text", ack=snd_nxt(name))
    peer.expect(ACK, seq=snd_nxt(name), ack=105)
    assert script.receive(c) == b"text"


@pytest.mark.rfc("9293", "3.10.7.4", "seventh", "SHLD-31")
@pytest.mark.parametrize("name", RECEIVING)
def test_text_out_of_order_is_kept(name: str) -> None:
    script, c, peer = in_state(name)
    peer.send(ACK, b"def", seq=104, ack=snd_nxt(name))
    peer.expect(ACK, ack=101)
    assert script.receive(c) is None
    peer.send(ACK, b"abc", seq=101, ack=snd_nxt(name))
    peer.expect(ACK, ack=107)
    assert script.receive(c) == b"abcdef"


@pytest.mark.rfc("9293", "3.10.7.4", "seventh")
@pytest.mark.parametrize("name", CLOSED_BY_PEER)
def test_text_after_the_peers_fin_is_ignored(name: str) -> None:
    _script, c, peer = in_state(name)
    peer.send(ACK, b"text", seq=102, ack=snd_nxt(name) if name == "CLOSE-WAIT" else 1)
    assert c.rx.buffered == 0
    assert state(c) == name


@pytest.mark.rfc("9293", "3.10.7.4", "seventh", "MUST-58")
@pytest.mark.rfc("9293", "3.10.7.4", "MUST-59")
def test_a_batch_is_acknowledged_once() -> None:
    script, _c, peer = in_state("ESTABLISHED")
    script.deliver_all([peer.packet(ACK, b"x" * 1000) for _ in range(5)])
    peer.expect(ACK, ack=5101)
    peer.expect_nothing()


# -- eighth: FIN -------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.10.7.4", "eighth")
@pytest.mark.rfc("9293", "3.6", "MUST-12")
@pytest.mark.parametrize(
    ("name", "ack", "after"),
    [
        ("SYN-RECEIVED", 1, "CLOSE-WAIT"),
        ("SYN-RECEIVED-ACTIVE", 1, "CLOSE-WAIT"),
        ("ESTABLISHED", 1, "CLOSE-WAIT"),
        ("FIN-WAIT-1", 1, "CLOSING"),
        ("FIN-WAIT-1", 2, "TIME-WAIT"),
        ("FIN-WAIT-2", 2, "TIME-WAIT"),
    ],
)
def test_a_fin_moves_on(name: str, ack: int, after: str) -> None:
    script, c, peer = in_state(name)
    peer.send(FIN | ACK, b"bye", ack=ack)
    peer.expect(ACK, ack=105)
    assert state(c) == after
    assert script.receive(c) == b"bye"
    assert script.receive(c) == b""


@pytest.mark.rfc("9293", "3.10.7.4", "eighth")
@pytest.mark.parametrize("name", CLOSED_BY_PEER)
def test_a_repeated_fin_is_acknowledged(name: str) -> None:
    _, c, peer = in_state(name)
    peer.send(FIN | ACK, seq=101, ack=1)
    peer.expect(ACK, seq=snd_nxt(name), ack=102)
    assert state(c) == name


@pytest.mark.rfc("9293", "3.10.7.4", "eighth")
def test_a_repeated_fin_restarts_time_wait() -> None:
    script, c, peer = in_state("TIME-WAIT")
    script.run(59 * SECOND)
    peer.send(FIN | ACK, seq=101, ack=2)
    peer.expect(ACK)
    script.run(59 * SECOND)
    assert state(c) == "TIME-WAIT"
    script.run(2 * SECOND)
    assert state(c) == "CLOSED"


@pytest.mark.rfc("9293", "3.10.7.4", "eighth")
@pytest.mark.parametrize("name", RECEIVING)
def test_a_fin_waits_for_the_text_before_it(name: str) -> None:
    script, c, peer = in_state(name)
    peer.send(FIN | ACK, b"def", seq=104, ack=snd_nxt(name))
    assert state(c) == {"FIN-WAIT-1": "FIN-WAIT-2"}.get(name, name)
    peer.send(ACK, b"abc", seq=101, ack=snd_nxt(name))
    peer.drain()
    assert state(c) == {"ESTABLISHED": "CLOSE-WAIT"}.get(name, "TIME-WAIT")
    assert script.receive(c) == b"abcdef"


@pytest.mark.rfc("9293", "3.10.7.4", "eighth")
@pytest.mark.parametrize("name", RECEIVING)
def test_a_bare_fin_waits_for_the_text_before_it(name: str) -> None:
    script, c, peer = in_state(name)
    peer.send(FIN | ACK, seq=104, ack=snd_nxt(name))
    peer.expect(ACK, ack=101)
    peer.send(ACK, b"abc", seq=101, ack=snd_nxt(name))
    peer.expect(ACK, ack=105)
    assert script.receive(c) == b"abc"
    assert script.receive(c) == b""


# -- timers of the states ----------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.6.1", "MUST-13")
def test_time_wait_lasts_two_msl() -> None:
    script, c, _ = in_state("TIME-WAIT")
    script.run(60 * SECOND - MS)
    assert state(c) == "TIME-WAIT"
    script.run(MS)
    assert state(c) == "CLOSED"
    assert not script.host.tcp.connections()
