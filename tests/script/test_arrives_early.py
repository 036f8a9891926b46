# SPDX-License-Identifier: Apache-2.0
"""SEGMENT ARRIVES in CLOSED, LISTEN and SYN-SENT (RFC 9293 §3.10.7.1 to §3.10.7.3)."""

import errno

import pytest
from tcp_states import only, state, syn_sent

from capas.testing.script import Script
from capas.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

# -- CLOSED ------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.10.7.1")
@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | SYN, RST | FIN | ACK])
def test_closed_drops_a_reset(flags: int) -> None:
    peer = Script().peer(to=81)
    peer.send(flags, seq=100, ack=5)
    peer.expect_nothing(1_000_000)


@pytest.mark.rfc("9293", "3.10.7.1")
@pytest.mark.rfc("9293", "3.5.2")
@pytest.mark.parametrize(
    ("flags", "data", "length"),
    [
        (SYN, b"", 1),
        (FIN, b"", 1),
        (SYN | FIN, b"", 2),
        (0, b"abc", 3),
        (SYN, b"ab", 3),
        (0, b"", 0),
    ],
)
@pytest.mark.parametrize("family", [4, 6])
def test_closed_answers_without_ack(flags: int, data: bytes, length: int, family: int) -> None:
    peer = Script(family=family).peer(to=81)
    peer.send(flags, data, seq=100)
    peer.expect(RST | ACK, seq=0, ack=100 + length, wnd=0)


@pytest.mark.rfc("9293", "3.10.7.1")
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK, ACK | PSH])
def test_closed_answers_an_ack_with_its_number(flags: int) -> None:
    peer = Script().peer(to=81)
    peer.send(flags, b"x", seq=100, ack=777)
    peer.expect(RST, seq=777, ack=0)


# -- LISTEN ------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.10.7.2", "first")
@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | SYN])
def test_listen_ignores_a_reset(flags: int) -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(flags, ack=1)
    peer.expect_nothing()
    assert not script.host.tcp.connections()


@pytest.mark.rfc("9293", "3.10.7.2", "second")
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK])
def test_listen_resets_an_ack(flags: int) -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(flags, ack=4711)
    peer.expect(RST, seq=4711)
    assert not script.host.tcp.connections()


@pytest.mark.rfc("9293", "3.10.7.2", "third")
@pytest.mark.parametrize("family", [4, 6])
def test_listen_takes_a_syn(family: int) -> None:
    script = Script(family=family)
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, mss=1000)
    peer.expect(SYN | ACK, seq=0, ack=101, mss=1460 if family == 4 else 1440)
    c = only(script)
    assert state(c) == "SYN-RECEIVED"
    assert listener.accept(script.now) is None
    peer.send(ACK)
    assert state(c) == "ESTABLISHED"
    assert listener.accept(script.now) is c


@pytest.mark.rfc("9293", "3.10.7.2", "third")
def test_text_in_a_syn_is_left_for_later() -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(SYN, b"early")
    peer.expect(SYN | ACK, ack=101)
    peer.send(ACK | PSH, b"early", seq=101)
    peer.expect(ACK, ack=106)
    assert script.receive(only(script)) == b"early"


@pytest.mark.rfc("9293", "3.10.7.2", "third")
def test_a_fin_in_a_syn_is_left_for_later() -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(SYN | FIN)
    peer.expect(SYN | ACK, ack=101)
    peer.send(ACK | FIN, seq=101)
    peer.expect(ACK, ack=102)
    assert state(only(script)) == "CLOSE-WAIT"


@pytest.mark.rfc("9293", "3.10.7.2", "fourth")
@pytest.mark.parametrize("flags", [0, FIN, PSH, URG, FIN | URG | PSH])
def test_listen_drops_anything_else(flags: int) -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(flags, b"data")
    peer.expect_nothing(1_000_000)
    assert not script.host.tcp.connections()


# -- SYN-SENT ----------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.10.7.3", "first")
@pytest.mark.parametrize("ack", [0, 2, -5, 1 << 20])
@pytest.mark.parametrize("flags", [ACK, SYN | ACK])
def test_syn_sent_resets_an_unacceptable_ack(ack: int, flags: int) -> None:
    _, c, peer = syn_sent()
    peer.send(flags, ack=ack)
    peer.expect(RST, seq=ack)
    assert state(c) == "SYN-SENT"


@pytest.mark.rfc("9293", "3.10.7.3", "first")
@pytest.mark.parametrize("ack", [0, 2])
def test_syn_sent_drops_a_reset_with_an_unacceptable_ack(ack: int) -> None:
    _, c, peer = syn_sent()
    peer.send(RST | ACK, ack=ack)
    peer.expect_nothing()
    assert state(c) == "SYN-SENT"


@pytest.mark.rfc("9293", "3.10.7.3", "second")
def test_syn_sent_is_refused_by_a_reset() -> None:
    script, c, peer = syn_sent()
    peer.send(RST | ACK, seq=0, ack=1)
    peer.expect_nothing()
    assert state(c) == "CLOSED"
    with pytest.raises(ConnectionRefusedError):
        script.receive(c)


@pytest.mark.rfc("9293", "3.10.7.3", "second")
def test_syn_sent_drops_a_reset_without_ack() -> None:
    _, c, peer = syn_sent()
    peer.send(RST, seq=0)
    peer.expect_nothing()
    assert state(c) == "SYN-SENT"


@pytest.mark.rfc("9293", "3.10.7.3", "fourth")
def test_syn_sent_is_established_by_a_syn_ack() -> None:
    script, c, peer = syn_sent()
    peer.send(SYN | ACK, ack=1, mss=1000)
    peer.expect(ACK, seq=1, ack=101)
    assert state(c) == "ESTABLISHED"
    assert script.send(c, b"x" * 1500) == 1500
    peer.expect(ACK, seq=1, length=1000)


@pytest.mark.rfc("9293", "3.10.7.3", "fourth")
def test_text_and_fin_of_a_syn_ack_are_processed() -> None:
    script, c, peer = syn_sent()
    peer.send(SYN | ACK | FIN, b"hello", ack=1)
    peer.expect(ACK, seq=1, ack=107)
    assert state(c) == "CLOSE-WAIT"
    assert script.receive(c) == b"hello"
    assert script.receive(c) == b""


@pytest.mark.rfc("9293", "3.10.7.3", "fourth")
@pytest.mark.rfc("9293", "3.5", "MUST-10")
def test_simultaneous_open() -> None:
    _, c, peer = syn_sent()
    peer.send(SYN, mss=1460)
    peer.expect(SYN | ACK, seq=0, ack=101)
    assert state(c) == "SYN-RECEIVED"
    peer.send(SYN | ACK, seq=100, ack=1)
    assert state(c) == "ESTABLISHED"


@pytest.mark.rfc("9293", "3.5", "MUST-10")
def test_simultaneous_open_ended_by_a_bare_ack() -> None:
    script, c, peer = syn_sent()
    peer.send(SYN)
    peer.expect(SYN | ACK)
    peer.send(ACK | PSH, b"hi")
    assert state(c) == "ESTABLISHED"
    peer.expect(ACK, ack=103)
    assert script.receive(c) == b"hi"


@pytest.mark.rfc("9293", "3.5", "MUST-11")
def test_active_and_passive_opens_are_told_apart() -> None:
    script, c, peer = syn_sent()
    peer.send(SYN)
    peer.expect(SYN | ACK)
    peer.send(RST, seq=101)
    assert state(c) == "CLOSED"
    with pytest.raises(ConnectionRefusedError):
        script.receive(c)
    script.listen()
    other = script.peer(port=2)
    other.send(SYN)
    other.expect(SYN | ACK)
    other.send(RST, seq=101)
    assert not script.host.tcp.connections()
    other.send(SYN, seq=500)
    other.expect(SYN | ACK, ack=501)


@pytest.mark.rfc("9293", "3.10.7.3", "fifth")
@pytest.mark.parametrize("flags", [0, FIN, PSH, ACK, ACK | FIN])
def test_syn_sent_drops_what_has_neither_syn_nor_rst(flags: int) -> None:
    _, c, peer = syn_sent()
    peer.send(flags, b"x", ack=1)
    peer.expect_nothing()
    assert state(c) == "SYN-SENT"


@pytest.mark.rfc("9293", "3.5", "figure 9")
def test_recovery_from_an_old_duplicate_syn() -> None:
    """Figure 9: the old SYN is answered, its owner resets, the listener listens on."""
    script = Script()
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, seq=90)
    peer.expect(SYN | ACK, ack=91)
    peer.send(RST, seq=91)
    assert not script.host.tcp.connections()
    peer.nxt, peer.host_iss = 100, -1
    peer.send(SYN, seq=100)
    peer.expect(SYN | ACK, ack=101)
    peer.send(ACK)
    assert listener.accept(script.now) is not None


@pytest.mark.rfc("9293", "3.5.1", "figure 10")
def test_half_open_discovered_by_the_active_side() -> None:
    """Figure 10: a rebooted peer's SYN is answered by an ACK, which it resets."""
    script = Script()
    c, peer = script.passive()
    peer.send(SYN, seq=400, ack=0)
    peer.expect(ACK, seq=1, ack=101)
    peer.send(RST, seq=101)
    assert state(c) == "CLOSED"
    assert c.error == errno.ECONNRESET


@pytest.mark.rfc("9293", "3.5.1", "figure 11")
def test_half_open_discovered_by_data() -> None:
    """Figure 11: data for a peer that knows of no connection brings a reset."""
    script = Script()
    c, peer = script.passive()
    script.send(c, b"hello")
    peer.expect(ACK, b"hello")
    peer.send(RST, seq=101)
    with pytest.raises(ConnectionResetError):
        script.send(c, b"more")


@pytest.mark.rfc("9293", "3.5.1", "figure 12")
def test_an_old_duplicate_syn_resets_two_passive_ends() -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(SYN, seq=300)
    answer = peer.expect(SYN | ACK, ack=301)
    peer.send(RST, seq=answer.ack)
    assert not script.host.tcp.connections()


@pytest.mark.rfc("9293", "3.10.4")
def test_close_in_listen_and_syn_sent() -> None:
    script, c, peer = syn_sent()
    script.close(c)
    assert state(c) == "CLOSED"
    peer.send(SYN | ACK, ack=1)
    peer.expect(RST, seq=1)
    listener = script.listen(81)
    script.call(listener.close)
    other = script.peer(to=81)
    other.send(SYN)
    other.expect(RST | ACK)


@pytest.mark.rfc("9293", "3.10.7.1")
@pytest.mark.parametrize(("silent", "to_syn", "to_ack"), [(0, 1, 1), (1, 0, 1), (2, 0, 0)])
def test_a_closed_port_may_be_told_to_keep_silent(silent: int, to_syn: int, to_ack: int) -> None:
    script = Script(tcp_blackhole=silent)
    for flags, answers in ((SYN, to_syn), (ACK, to_ack)):
        peer = script.peer(81, 4000 + flags)
        peer.send(flags, seq=100, ack=1)
        assert len(peer.drain()) == answers
