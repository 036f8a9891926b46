# SPDX-License-Identifier: Apache-2.0
"""Robustness against blind attacks (RFC 5961) and old duplicates (RFC 7323 §5, RFC 6191, 1337)."""

import pytest
from tcp_states import established, in_state, state, time_wait

from capas.base.clock import MS, SECOND
from capas.testing.script import Peer, Script
from capas.transport.tcp.connection import TcpConnection
from capas.wire.tcp import ACK, FIN, PSH, RST, SYN

DAY = 24 * 3600 * SECOND


def stamped(**settings: object) -> tuple[Script, TcpConnection, Peer]:
    script = Script(**settings)  # type: ignore[arg-type]
    c, peer = script.passive(ts=True)
    return script, c, peer


# -- challenge acknowledgements -----------------------------------------------------------------


@pytest.mark.rfc("5961", "7")
def test_challenges_are_limited_per_connection() -> None:
    script, _, peer = established()
    for _ in range(20):
        peer.send(RST, seq=150)
    assert len(peer.drain()) == 1
    script.run(500 * MS)
    peer.send(SYN, seq=150)
    peer.expect(ACK)
    peer.expect_nothing()


@pytest.mark.rfc("5961", "7")
def test_challenges_are_limited_per_host() -> None:
    script = Script(tcp_challenge_ack_limit=10, tcp_invalid_ratelimit=0)
    _, peer = script.passive()
    for _ in range(100):
        peer.send(RST, seq=150)
    first = len(peer.drain())
    assert 5 <= first <= 15  # the limit is blurred against counting attacks (CVE-2016-5696)
    assert script.counter("tcp.challenge_limited") == 100 - first
    script.run(SECOND)
    peer.send(RST, seq=150)
    peer.expect(ACK)


@pytest.mark.rfc("5961", "5.2")
def test_forged_data_with_a_wild_ack_is_not_taken() -> None:
    _, c, peer = established()
    peer.send(ACK, b"evil", ack=-(1 << 20))
    peer.expect(ACK)
    assert c.rx.buffered == 0


@pytest.mark.rfc("5961", "3.2")
def test_insecure_resets_can_be_had() -> None:
    _, c, peer = established(tcp_insecure_rst=True)
    peer.send(RST, seq=150)
    assert state(c) == "CLOSED"


@pytest.mark.rfc("9293", "3.10.7.4", "first")
def test_acks_of_invalid_empty_segments_are_limited() -> None:
    """Two ends out of step must not answer each other for ever."""
    _, _, peer = established()
    for _ in range(50):
        peer.send(ACK, seq=100)
    assert len(peer.drain()) == 1


# -- PAWS --------------------------------------------------------------------------------------


@pytest.mark.rfc("7323", "5.3", "R1")
def test_an_old_timestamp_is_acknowledged_and_dropped() -> None:
    _, c, peer = stamped()
    peer.send(ACK, b"good")
    peer.expect(ACK, ack=105)
    peer.send(ACK, b"old!", seq=105, ts=(500, 0))
    peer.expect(ACK, ack=105)
    assert c.rx.buffered == 4


@pytest.mark.rfc("7323", "5.3", "R1")
def test_a_reset_is_not_subject_to_paws() -> None:
    _, c, peer = stamped()
    peer.send(RST, seq=101, ts=(1, 0))
    assert state(c) == "CLOSED"


@pytest.mark.rfc("7323", "5.3", "R2")
def test_a_segment_outside_the_window_does_not_move_ts_recent() -> None:
    """Otherwise one forged old segment would have PAWS drop everything that follows."""
    script, c, peer = stamped()
    peer.send(ACK, b"forged", seq=101 - 50, ts=(0x70000000, 0))
    peer.drain()
    peer.send(ACK, b"good")
    peer.expect(ACK, ack=105)
    assert script.receive(c) == b"good"


@pytest.mark.rfc("7323", "5.3", "R3")
def test_only_the_left_edge_moves_ts_recent() -> None:
    _, _, peer = stamped()
    peer.send(ACK, b"b", seq=102, ts=9000)  # out of order: the echo stays
    assert peer.expect(ACK, ack=101).ts_ecr < 9000
    peer.send(ACK, b"a", seq=101, ts=9500)
    assert peer.expect(ACK, ack=103).ts_ecr == 9500


@pytest.mark.rfc("7323", "4.3")
def test_a_delayed_ack_echoes_the_earliest_segment() -> None:
    script, c, peer = stamped()
    c.options.quickack = 0
    peer.send(ACK, b"a" * 1000, ts=5000)
    peer.expect_nothing()
    peer.send(ACK, b"b" * 1000, ts=5010)
    assert peer.expect(ACK, ack=2101).ts_ecr == 5000
    assert script.receive(c) is not None


@pytest.mark.rfc("7323", "5.5")
def test_ts_recent_is_outdated_after_24_days() -> None:
    script, c, peer = stamped()
    script.run(25 * DAY)
    peer.send(ACK, b"back", ts=(1, 0))
    peer.expect(ACK, ack=105)
    assert script.receive(c) == b"back"


@pytest.mark.rfc("7323", "3.2")
def test_a_missing_timestamp_does_not_end_the_connection() -> None:
    _, c, peer = stamped()
    peer.send(ACK, b"bare", ts=False)
    assert state(c) == "ESTABLISHED"
    assert peer.expect(ACK).ts_val >= 0


@pytest.mark.rfc("7323", "3.2")
def test_every_segment_carries_timestamps_once_agreed() -> None:
    script, c, peer = stamped()
    script.send(c, b"data")
    peer.expect(ACK, b"data")
    script.shutdown(c)
    assert peer.expect(FIN | ACK).ts_val >= 0
    peer.send(ACK | FIN)
    seen = peer.expect(ACK)
    assert seen.ts_val >= 0
    assert seen.order == [8]


@pytest.mark.rfc("7323", "5.4")
def test_the_timestamp_clock_ticks_in_milliseconds() -> None:
    script, c, peer = stamped()
    script.send(c, b"a")
    first = peer.expect(ACK).ts_val
    peer.send(ACK)
    script.run(10 * SECOND)
    script.send(c, b"b")
    assert (peer.expect(ACK).ts_val - first) & 0xFFFFFFFF == 10_000


@pytest.mark.rfc("7323", "7.1")
def test_timestamp_offsets_differ_by_remote_address_and_host() -> None:
    first = [Script(seed=seed).passive(ts=True)[0].neg.ts_offset for seed in (1, 2)]
    assert first[0] != first[1]


# -- TIME-WAIT ---------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.6.1", "MAY-2")
def test_a_new_syn_with_a_higher_number_reopens() -> None:
    script, old, peer = time_wait()
    old_end = old.tx.snd_nxt & 0xFFFFFFFF
    peer.host_iss = -1
    peer.send(SYN, seq=5000)
    seen = peer.expect(SYN | ACK, ack=5001)
    assert state(old) == "CLOSED"
    # MAY-2 asks for an ISS beyond the old connection's last number.
    assert 0 < (seen.seq - old_end) & 0xFFFFFFFF < 0x80000000
    assert script.counter("tcp.time_wait_reused") == 1


@pytest.mark.rfc("9293", "3.6.1", "MAY-2")
def test_the_new_iss_is_beyond_a_fast_connections_last_number() -> None:
    """4 MB in no time outrun the clock of RFC 6528; the next ISS must still be higher."""
    script = Script(tcp_send_buffer=8 << 20, tcp_send_buffer_max=8 << 20)
    c, peer = script.passive(wscale=10, wnd=60_000_000)
    sent = script.send(c, b"x" * (4 << 20))
    script.shutdown(c)
    while peer.rcv < sent + 2:
        peer.drain()
        peer.send(ACK)
    peer.send(FIN | ACK)
    assert state(c) == "TIME-WAIT"
    old_end = c.tx.snd_nxt & 0xFFFFFFFF
    peer.drain()
    peer.host_iss = -1
    peer.send(SYN, seq=peer.nxt + 1000)
    seen = peer.expect(SYN | ACK)
    assert 0 < (seen.seq - old_end) & 0xFFFFFFFF < 0x80000000


@pytest.mark.rfc("6191", "2")
def test_an_old_syn_does_not_reopen() -> None:
    _, old, peer = time_wait()
    peer.send(SYN, seq=50)
    peer.expect(ACK, seq=2, ack=102)
    assert state(old) == "TIME-WAIT"


def waiting_with_timestamps() -> tuple[Script, TcpConnection, Peer]:
    script, c, peer = stamped()
    script.shutdown(c)
    peer.send(ACK | FIN)
    peer.drain()
    assert state(c) == "TIME-WAIT"
    return script, c, peer


@pytest.mark.rfc("6191", "2")
@pytest.mark.rfc("9293", "3.6.1", "SHLD-4")
def test_a_newer_timestamp_reopens_whatever_the_number() -> None:
    script, old, peer = waiting_with_timestamps()
    script.run(5 * MS)
    peer.host_iss = -1
    peer.send(SYN, seq=7)
    peer.expect(SYN | ACK, ack=8)
    assert state(old) == "CLOSED"


@pytest.mark.rfc("6191", "2")
def test_an_older_timestamp_does_not_reopen_whatever_the_number() -> None:
    _, old, peer = waiting_with_timestamps()
    peer.send(SYN, seq=5000, ts=(3, 0))
    assert state(old) == "TIME-WAIT"


@pytest.mark.rfc("6191", "2")
def test_time_wait_is_kept_if_nobody_listens() -> None:
    script = Script()
    listener = script.listen()
    c, peer = script.passive(listener)
    script.call(listener.close)
    script.shutdown(c)
    peer.send(ACK | FIN)
    peer.drain()
    peer.send(SYN, seq=5000)
    peer.expect(ACK, ack=102)
    assert state(c) == "TIME-WAIT"


@pytest.mark.rfc("1337", "3")
@pytest.mark.parametrize("flags", [RST, RST | ACK])
def test_a_reset_does_not_assassinate_time_wait(flags: int) -> None:
    _, c, peer = in_state("TIME-WAIT")
    peer.send(flags, seq=102)
    assert state(c) == "TIME-WAIT"
    peer.send(ACK | PSH, b"old duplicate", seq=60)
    peer.expect(ACK, seq=2, ack=102)
    assert state(c) == "TIME-WAIT"


@pytest.mark.rfc("9293", "3.6.1")
def test_connections_in_time_wait_are_capped() -> None:
    script = Script(tcp_time_wait_limit=3)
    listener = script.listen()
    made = []
    for port in range(1, 6):
        c, peer = script.passive(listener, port=port)
        script.shutdown(c)
        peer.send(ACK | FIN)
        made.append(state(c))
    assert made == ["TIME-WAIT"] * 5
    assert len(script.host.tcp.connections()) == 3
    assert script.counter("tcp.time_wait_full") == 2


@pytest.mark.rfc("7323", "5.3", "R3")
@pytest.mark.rfc("5961", "5.2")
def test_a_wild_acknowledgement_does_not_move_ts_recent() -> None:
    script, c, peer = stamped()
    peer.send(ACK, b"evil", seq=101, ack=9999, ts=(0x7000_0000, 0))
    peer.drain()
    peer.nxt = 101
    peer.send(ACK, b"good")
    peer.expect(ACK, ack=105)
    assert script.receive(c) == b"good"


@pytest.mark.rfc("5961", "3.2")
@pytest.mark.parametrize("sack", [False, True])
def test_a_reset_behind_a_gap_is_exact_only_where_the_gap_was_told(sack: bool) -> None:
    """Linux takes the end of what was SACKed for RCV.NXT: a peer knows no better number."""
    c, peer = Script().passive(sack_ok=sack)
    peer.send(ACK | PSH, b"x" * 100, seq=201)
    peer.drain()
    peer.send(RST, seq=301)
    assert state(c) == ("CLOSED" if sack else "ESTABLISHED")
    assert len(peer.drain()) == (0 if sack else 1)
