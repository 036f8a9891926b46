# SPDX-License-Identifier: Apache-2.0
"""Timers: retransmission (RFC 6298), keep-alive, user timeout, giving up (RFC 9293 §3.8)."""

import errno

import pytest
from tcp_states import established, state

from capas.base.clock import MS, SECOND
from capas.testing.script import Peer, Script
from capas.transport.tcp import timers as tt
from capas.transport.tcp.connection import TcpConnection
from capas.wire.tcp import ACK, FIN, RST


def measured(rtt: int = 100 * MS, **settings: object) -> tuple[Script, TcpConnection, Peer]:
    """A connection whose round trip is known: RTO = SRTT + 200 ms (or 4 RTTVAR)."""
    script = Script(tcp_tlp=False, **settings)  # type: ignore[arg-type]
    c, peer = script.active()
    for _ in range(30):
        script.send(c, b"x")
        peer.expect(ACK)
        script.run(rtt)
        peer.send(ACK)
    return script, c, peer


@pytest.mark.rfc("6298", "2", "2.2")
def test_the_first_sample() -> None:
    script = Script()
    c, peer = script.connect()
    script.run(400 * MS)
    peer.send(18, mss=1460)  # SYN | ACK
    assert c.rtt.srtt == 400 * MS
    assert c.rtt.rttvar == 200 * MS
    assert c.rtt.rto == 1200 * MS


def test_the_deviation_that_is_told_has_no_floor() -> None:
    """Linux's tcpi_rttvar is mdev_us >> 2, while its RTO keeps 200 ms above SRTT."""
    _, c, _ = measured()
    assert c.rtt.rto >= 200 * MS
    assert c.info().rttvar == c.rtt.mdev < 5 * MS


@pytest.mark.rfc("6298", "5", "5.4")
@pytest.mark.rfc("6298", "5", "5.5")
@pytest.mark.rfc("9293", "3.8.1", "MUST-19")
def test_the_rto_doubles() -> None:
    script, c, peer = measured()
    script.send(c, b"lost")
    peer.expect(ACK, b"lost")
    rto = c.rtt.rto
    for n in range(5):
        peer.expect(ACK, b"lost", after=rto << n)


@pytest.mark.rfc("6298", "5", "5.3")
def test_progress_restarts_the_timer() -> None:
    script, c, peer = measured()
    script.send(c, b"x" * 4380)
    peer.drain()
    rto = c.rtt.rto
    script.run(rto - MS)
    peer.send(ACK, ack=peer.rcv - 2920)
    script.run(c.rtt.rto - MS)
    peer.expect_nothing()
    script.run(MS)
    assert peer.queue


@pytest.mark.rfc("6298", "5", "5.2")
def test_the_timer_stops_when_everything_is_acknowledged() -> None:
    script, c, peer = measured()
    script.send(c, b"x")
    peer.expect(ACK)
    peer.send(ACK)
    peer.expect_nothing(100 * SECOND)


@pytest.mark.rfc("6298", "3", "Karn")
@pytest.mark.rfc("9293", "3.8.1", "MUST-18")
def test_a_repeated_segment_is_no_sample() -> None:
    script, c, peer = measured()
    before = c.rtt.srtt
    script.send(c, b"lost")
    peer.expect(ACK)
    peer.expect(ACK, b"lost", after=c.rtt.rto)
    script.run(5 * MS)
    peer.send(ACK)
    assert c.rtt.srtt == before


@pytest.mark.rfc("6298", "5", "5.5")
def test_new_data_acknowledged_ends_the_backoff() -> None:
    script, c, peer = measured()
    rto = c.rtt.rto
    script.send(c, b"lost")
    script.run(3 * SECOND)
    peer.drain()
    assert c.rtt.backoff
    peer.send(ACK)
    assert c.rtt.rto > rto  # Karn: until there is a new sample
    script.send(c, b"new")
    peer.expect(ACK, b"new")
    script.run(100 * MS)
    peer.send(ACK)
    assert c.rtt.rto <= rto + MS
    assert c.rtt.backoff == 0


@pytest.mark.rfc("6298", "2", "2.5")
def test_the_rto_has_a_ceiling() -> None:
    script, c, peer = measured(tcp_rto_max=2 * SECOND)
    script.send(c, b"lost")
    script.run(60 * SECOND)
    times = [seen.time for seen in peer.drain()]
    assert times[-1] - times[-2] == 2 * SECOND


@pytest.mark.rfc("5681", "3.1")
def test_a_timeout_shuts_the_window_to_one_segment() -> None:
    script, c, peer = measured()
    script.send(c, b"x" * 14_600)
    peer.drain()
    script.run(c.rtt.rto)
    peer.expect(ACK, seq=31, length=1460)
    peer.expect_nothing()
    assert c.cc.cwnd == 1460
    peer.send(ACK, ack=31 + 1460)
    assert len(peer.drain()) == 2  # slow start


@pytest.mark.rfc("9293", "3.8.3", "MUST-20")
def test_data_is_given_up_after_r2() -> None:
    script, c, peer = measured(tcp_retries2=4)
    script.send(c, b"lost")
    script.run(600 * SECOND)
    assert len(peer.drain()) == 5
    assert state(c) == "CLOSED"
    with pytest.raises(TimeoutError):
        script.receive(c)


@pytest.mark.rfc("9293", "3.8.3", "SHLD-11")
def test_r2_is_at_least_a_hundred_seconds() -> None:
    script, c, peer = measured()
    script.send(c, b"lost")
    script.run(100 * SECOND)
    assert state(c) == "ESTABLISHED"
    script.run(3600 * SECOND)
    assert state(c) == "CLOSED"
    peer.drain()


@pytest.mark.rfc("9293", "3.8.3", "MUST-20")
def test_a_fin_is_repeated_too() -> None:
    script, c, peer = measured()
    script.shutdown(c)
    peer.expect(FIN | ACK)
    peer.expect(FIN | ACK, after=c.rtt.rto)
    peer.send(ACK)
    peer.expect_nothing(100 * SECOND)


@pytest.mark.rfc("9293", "3.8.3", "MUST-21")
@pytest.mark.rfc("9293", "3.10.8")
def test_the_user_timeout() -> None:
    script, c, _peer = measured()
    c.options.user_timeout = 10 * SECOND
    script.send(c, b"lost")
    script.run(10 * SECOND - MS)
    assert state(c) == "ESTABLISHED"
    script.run(MS)
    assert state(c) == "CLOSED"
    assert c.take_error() == errno.ETIMEDOUT


def test_progress_restarts_the_user_timeout() -> None:
    script, c, peer = measured()
    c.options.user_timeout = SECOND
    for _ in range(20):
        script.send(c, b"x")
        peer.expect(ACK)
        script.run(100 * MS)
        peer.send(ACK)
    script.run(10 * SECOND)
    assert state(c) == "ESTABLISHED"


# -- keep-alive --------------------------------------------------------------------------------


def kept_alive(**options: int) -> tuple[Script, TcpConnection, Peer]:
    script = Script()

    def setup(c: TcpConnection) -> None:
        c.options.keepalive = True
        c.options.keepidle = 10 * SECOND
        c.options.keepintvl = 2 * SECOND
        c.options.keepcnt = 3
        for name, value in options.items():
            setattr(c.options, name, value)

    c, peer = script.active(setup)
    return script, c, peer


@pytest.mark.rfc("9293", "3.8.4", "MUST-24")
@pytest.mark.rfc("9293", "3.8.4", "MUST-25")
def test_keep_alive_is_off_unless_asked_for() -> None:
    _script, c, peer = established()
    peer.expect_nothing(100_000 * SECOND)
    assert state(c) == "ESTABLISHED"


@pytest.mark.rfc("9293", "3.8.4", "MUST-28")
def test_keep_alive_waits_two_hours_by_default() -> None:
    script = Script()

    def setup(c: TcpConnection) -> None:
        c.options.keepalive = True

    _, peer = script.active(setup)
    peer.expect(ACK, seq=0, length=0, after=7200 * SECOND)


@pytest.mark.rfc("9293", "3.8.4", "MUST-26")
@pytest.mark.rfc("9293", "3.8.4", "MUST-27")
@pytest.mark.rfc("9293", "3.8.4", "SHLD-12")
def test_an_idle_peer_is_probed_and_answers() -> None:
    _script, c, peer = kept_alive()
    for _ in range(3):
        peer.expect(ACK, seq=0, length=0, after=10 * SECOND)
        peer.send(ACK)
    assert state(c) == "ESTABLISHED"


@pytest.mark.rfc("9293", "3.8.4", "MUST-29")
def test_one_unanswered_probe_proves_nothing() -> None:
    script, c, peer = kept_alive()
    peer.expect(ACK, seq=0, after=10 * SECOND)
    peer.expect(ACK, seq=0, after=2 * SECOND)
    peer.expect(ACK, seq=0, after=2 * SECOND)
    assert state(c) == "ESTABLISHED"
    peer.expect(RST | ACK, seq=1, after=2 * SECOND)
    assert state(c) == "CLOSED"
    with pytest.raises(TimeoutError):
        script.receive(c)


def test_traffic_puts_probes_off() -> None:
    script, _c, peer = kept_alive()
    for _ in range(10):
        script.run(5 * SECOND)
        peer.send(ACK, b"x")
    assert all(seen.ack > 101 for seen in peer.drain())
    assert script.counter("tcp.keepalive_probes") == 0


def test_a_probe_is_answered() -> None:
    _, _, peer = established()
    peer.send(ACK, seq=100)
    peer.expect(ACK, seq=1, ack=101)


@pytest.mark.rfc("5482", "3")
def test_the_user_timeout_rules_keep_alive() -> None:
    script, c, peer = kept_alive(user_timeout=11 * SECOND)
    script.run(12 * SECOND)
    assert state(c) == "CLOSED"
    assert len(peer.drain()) == 2


def shut(**settings: object) -> tuple[Script, TcpConnection, Peer]:
    """The peer's window is shut, and something waits for it."""
    script = Script(**settings)  # type: ignore[arg-type]
    c, peer = script.passive()
    peer.send(ACK, wnd=0)
    script.send(c, b"y" * 500)
    return script, c, peer


def stay_shut(script: Script, peer: Peer, seconds: int) -> None:
    """The peer answers each probe, and never opens its window."""
    for _ in range(seconds):
        script.run(SECOND)
        for seen in peer.drain():
            if not seen.flags & RST:
                peer.send(ACK, wnd=0)


@pytest.mark.rfc("9293", "3.8.4", "MUST-27")
def test_keep_alive_leaves_a_shut_window_to_its_probes() -> None:
    """Only an idle connection is asked; where data waits, window probes go out anyway."""
    script, c, peer = shut()
    c.options.keepidle, c.options.keepintvl, c.options.keepcnt = 2 * SECOND, SECOND, 3
    c.options.keepalive = True
    c.timers.set(tt.KEEPALIVE, script.now + c.options.keepidle)
    script.run(20 * SECOND)
    assert state(c) == "ESTABLISHED"
    assert script.counter("tcp.keepalive_probes") == 0
    probes = script.counter("tcp.window_probes")
    assert probes >= 4
    peer.send(ACK)
    assert b"".join(seen.data for seen in peer.drain()).endswith(b"y" * 500)


@pytest.mark.rfc("5482", "3")
@pytest.mark.parametrize("late", [False, True])
def test_the_user_timeout_counts_what_cannot_leave(late: bool) -> None:
    script = Script()
    c, peer = script.passive()
    peer.send(ACK, wnd=0)
    if not late:
        c.options.user_timeout = 3 * SECOND
    script.send(c, b"y" * 500)
    c.options.user_timeout = 3 * SECOND
    stay_shut(script, peer, 20)
    assert state(c) == "CLOSED"
    assert c.take_error() == errno.ETIMEDOUT


@pytest.mark.rfc("5482", "3")
def test_a_window_that_opens_starts_the_user_timeout_anew() -> None:
    script = Script()
    c, peer = script.passive()
    c.options.user_timeout = 3 * SECOND
    peer.send(ACK, wnd=0)
    script.send(c, b"y" * 500)
    script.run(2 * SECOND + 900 * MS)
    peer.drain()
    peer.send(ACK, wnd=65_535)
    peer.expect(ACK, b"y" * 500)
    script.run(SECOND)
    assert state(c) == "ESTABLISHED"
    peer.send(ACK)
    script.run(10 * SECOND)
    assert state(c) == "ESTABLISHED"


@pytest.mark.rfc("9293", "3.8.6.1")
def test_a_closed_socket_does_not_wait_for_a_window_for_ever() -> None:
    """A peer that answers each probe and never opens would hold it (Linux tcp_probe_timer)."""
    script, c, peer = shut()
    script.close(c)
    stay_shut(script, peer, 600)
    assert state(c) == "CLOSED"
    assert not script.host.tcp.table
