# SPDX-License-Identifier: Apache-2.0
"""Loss recovery: SACK, fast retransmit, NewReno, RACK-TLP, PRR, undo (RFC 2018 to RFC 9937)."""

from typing import Any

import pytest
from tcp_states import established, state

from capas.base.clock import MS, SECOND
from capas.testing.script import Peer, Script
from capas.transport.tcp import recovery
from capas.transport.tcp.connection import TcpConnection
from capas.wire.tcp import ACK, FIN, PSH

MSS = 1000
RTT = 100 * MS


def flight(
    segments: int = 10, *, sack: bool = True, ts: bool = False, **settings: Any
) -> tuple[Script, TcpConnection, Peer]:
    """``segments`` segments of 1000 bytes out, none acknowledged; the RTT is 100 ms."""
    settings = {"tcp_congestion": "reno", "tcp_tlp": False} | settings
    script = Script(**settings)

    c, peer = script.connect()
    script.run(RTT)
    peer.send(18, mss=MSS + (12 if ts else 0), sack_ok=sack, ts=ts or None)
    peer.drain()
    assert c.rtt.srtt == RTT
    script.send(c, b"".join(bytes((65 + i,)) * MSS for i in range(segments)))
    assert [script_seq(peer, seen) for seen in peer.drain()] == [
        1 + MSS * i for i in range(min(segments, 10))
    ]
    script.run(RTT)
    return script, c, peer


def script_seq(peer: Peer, seen: Any) -> int:
    return peer.relative(seen.seq)


def at(n: int) -> int:
    """The sequence number of segment ``n`` (0 is the first)."""
    return 1 + MSS * n


def block(first: int, last: int) -> tuple[int, int]:
    """A SACK block of segments ``first`` to ``last`` inclusive."""
    return at(first), at(last + 1)


def sent(peer: Peer) -> list[int]:
    """Which segments the host sent, by number."""
    return [(script_seq(peer, seen) - 1) // MSS for seen in peer.drain() if seen.data]


# -- SACK generation ---------------------------------------------------------------------------


def receiving(**syn: Any) -> tuple[Script, TcpConnection, Peer]:
    script = Script()
    c, peer = script.passive(sack_ok=True, **syn)
    return script, c, peer


@pytest.mark.rfc("2018", "4")
def test_the_first_block_holds_the_newest_segment() -> None:
    _, _, peer = receiving()
    peer.send(ACK, b"x" * 100, seq=301)
    peer.expect(ACK, ack=101, sack=((301, 401),))
    peer.send(ACK, b"x" * 100, seq=501)
    peer.expect(ACK, ack=101, sack=((501, 601), (301, 401)))
    peer.send(ACK, b"x" * 100, seq=701)
    peer.expect(ACK, ack=101, sack=((701, 801), (501, 601), (301, 401)))
    peer.send(ACK, b"x" * 100, seq=401)
    peer.expect(ACK, ack=101, sack=((301, 601), (701, 801)))


@pytest.mark.rfc("2018", "3")
@pytest.mark.parametrize(("ts", "most"), [(None, 4), (True, 3)])
def test_as_many_blocks_as_fit(ts: bool | None, most: int) -> None:
    _, _, peer = receiving(ts=ts)
    for i in range(8):
        peer.send(ACK, b"x", seq=201 + 2 * i)
    assert len(peer.drain()[-1].sack) == most


@pytest.mark.rfc("2018", "4")
def test_blocks_end_with_the_gap() -> None:
    script, c, peer = receiving()
    peer.send(ACK, b"def", seq=104)
    peer.expect(ACK, sack=((104, 107),))
    peer.send(ACK, b"abc", seq=101)
    peer.expect(ACK, ack=107, sack=())
    assert script.receive(c) == b"abcdef"


@pytest.mark.rfc("2018", "2")
def test_no_blocks_unless_permitted() -> None:
    _, _, peer = established()
    peer.send(ACK, b"x", seq=200)
    peer.expect(ACK, ack=101, sack=())


@pytest.mark.rfc("2018", "4")
def test_data_leaving_while_there_is_a_gap_carries_blocks() -> None:
    script, c, peer = receiving()
    peer.send(ACK, b"def", seq=104)
    peer.drain()
    script.send(c, b"answer")
    peer.expect(ACK, b"answer", sack=((104, 107),))


@pytest.mark.rfc("2883", "4.1.1")
def test_a_duplicate_segment_is_reported() -> None:
    _, _, peer = receiving()
    peer.send(ACK, b"x" * 100)
    peer.expect(ACK, ack=201)
    peer.send(ACK, b"x" * 100, seq=101)
    peer.expect(ACK, ack=201, sack=((101, 201),))
    peer.send(ACK, b"x" * 100)
    peer.expect(ACK, ack=301, sack=())  # reported once


@pytest.mark.rfc("2883", "4.1.2")
def test_a_duplicate_below_a_gap_is_reported_before_the_gap() -> None:
    _, _, peer = receiving()
    peer.send(ACK, b"x" * 100)
    peer.send(ACK, b"x" * 100, seq=301)
    peer.drain()
    peer.send(ACK, b"x" * 100, seq=101)
    peer.expect(ACK, ack=201, sack=((101, 201), (301, 401)))


@pytest.mark.rfc("2883", "4.2.1")
def test_a_duplicate_above_the_gap_is_followed_by_its_block() -> None:
    _, _, peer = receiving()
    peer.send(ACK, b"x" * 200, seq=301)
    peer.expect(ACK, ack=101, sack=((301, 501),))
    peer.send(ACK, b"x" * 100, seq=301)
    peer.expect(ACK, ack=101, sack=((301, 401), (301, 501)))


@pytest.mark.rfc("2883", "4.1")
def test_a_partial_duplicate_is_reported() -> None:
    _, _, peer = receiving()
    peer.send(ACK, b"x" * 100)
    peer.drain()
    peer.send(ACK, b"x" * 100, seq=151)
    peer.expect(ACK, ack=251, sack=((151, 201),))


# -- fast retransmit ---------------------------------------------------------------------------


@pytest.mark.rfc("5681", "3.2")
@pytest.mark.rfc("6582", "3.2")
def test_three_duplicates_repeat_the_first_segment_without_sack() -> None:
    _, c, peer = flight(sack=False)
    for _ in range(2):
        peer.send(ACK, ack=1)
        assert sent(peer) == []
    peer.send(ACK, ack=1)
    assert sent(peer) == [0]
    assert c.recovery.phase == recovery.RECOVERY
    assert c.cc.ssthresh == 5 * MSS


@pytest.mark.rfc("3042", "2")
@pytest.mark.parametrize("sack", [False, True])
def test_limited_transmit(sack: bool) -> None:
    _script, c, peer = flight(20, sack=sack, tcp_rack=False)
    for n in (1, 2):
        blocks = (block(1, n),) if sack else ()
        peer.send(ACK, ack=1, sack=blocks)
        assert sent(peer) == [9 + n]
    assert c.cc.cwnd == 10 * MSS


@pytest.mark.rfc("6582", "3.2", "step 5")
def test_a_partial_acknowledgement_repeats_the_next_hole() -> None:
    _, c, peer = flight(sack=False)
    for _ in range(8):
        peer.send(ACK, ack=1)
    assert sent(peer)[0] == 0
    peer.send(ACK, ack=at(4))
    assert sent(peer)[0] == 4
    assert c.recovery.phase == recovery.RECOVERY
    peer.send(ACK, ack=at(10))
    assert c.recovery.phase == recovery.OPEN
    assert c.cc.cwnd == 5 * MSS


@pytest.mark.rfc("6582", "3.2", "step 3")
def test_old_duplicates_after_recovery_start_no_other() -> None:
    script, c, peer = flight(sack=False)
    for _ in range(5):
        peer.send(ACK, ack=1)
    peer.send(ACK, ack=at(10))
    peer.drain()
    script.send(c, b"y" * 3 * MSS)
    peer.drain()
    for _ in range(2):
        peer.send(ACK, ack=at(10))
    assert sent(peer) == []
    assert c.counters.get("tcp.fast_recovery") == 1


@pytest.mark.rfc("6675", "5")
def test_sack_names_what_is_lost() -> None:
    _, c, peer = flight(tcp_rack=False)
    peer.send(ACK, ack=1, sack=(block(1, 1),))
    peer.send(ACK, ack=1, sack=(block(1, 2),))
    assert sent(peer) == []
    peer.send(ACK, ack=1, sack=(block(1, 3),))
    assert sent(peer) == [0]
    assert c.recovery.phase == recovery.RECOVERY


@pytest.mark.rfc("6675", "4", "IsLost")
def test_two_holes_are_repeated_in_order() -> None:
    _, c, peer = flight(tcp_rack=False)
    peer.send(ACK, ack=1, sack=(block(3, 5), block(1, 1)))
    got = sent(peer)
    peer.send(ACK, ack=1, sack=(block(3, 8), block(1, 1)))
    got += sent(peer)
    assert got[:2] == [0, 2]
    peer.send(ACK, ack=at(10))
    assert c.recovery.phase == recovery.OPEN
    assert c.board.lost == c.board.sacked == c.board.retrans == 0


@pytest.mark.rfc("6675", "5.1")
@pytest.mark.rfc("2018", "8")
def test_a_timeout_forgets_reneged_sacks() -> None:
    script, _c, peer = flight()
    peer.send(ACK, ack=1, sack=(block(1, 2),))
    peer.drain()
    peer.send(ACK, ack=at(1))  # it gave up what it had SACKed
    script.run(3 * SECOND)
    assert sent(peer)[0] == 1
    assert script.counter("tcp.sack_reneging") == 1


@pytest.mark.rfc("2018", "8")
def test_sacked_data_stays_in_the_send_buffer() -> None:
    _, c, peer = flight()
    before = len(c.tx)
    peer.send(ACK, ack=1, sack=(block(1, 9),))
    assert len(c.tx) == before


@pytest.mark.rfc("6675", "2")
@pytest.mark.parametrize(
    "sack",
    [
        ((5, 5),),
        ((9, 5),),
        ((20_001, 30_001),),
        ((-5000, -4000),),
        ((1, 1 << 30),),
        ((1, 2), (0, 1)),
    ],
)
def test_absurd_sacks_do_no_harm(sack: tuple[tuple[int, int], ...]) -> None:
    _, c, peer = flight()
    for _ in range(4):
        peer.send(ACK, ack=1, sack=sack)
    assert state(c) == "ESTABLISHED"
    assert c.board.sacked <= 10 * MSS
    peer.send(ACK, ack=at(10))
    assert c.board.sacked == c.board.lost == 0


# -- PRR ---------------------------------------------------------------------------------------


@pytest.mark.rfc("9937", "6.2")
def test_prr_sends_one_segment_for_every_two_delivered() -> None:
    _script, c, peer = flight(30, tcp_rack=False, tcp_congestion="reno")
    peer.send(ACK, ack=1, sack=(block(1, 3),))
    got = sent(peer)
    for n in range(4, 10):
        peer.send(ACK, ack=1, sack=(block(1, n),))
        got += sent(peer)
    # Limited transmit and the fast retransmit first; then ssthresh / RecoverFS = one half.
    assert got[0] == 0
    assert c.cc.ssthresh == 5 * MSS
    assert 4 <= len(got) <= 6
    peer.send(ACK, ack=at(10))
    assert c.cc.cwnd <= 6 * MSS


@pytest.mark.rfc("9937", "6")
def test_after_recovery_the_window_is_ssthresh() -> None:
    script, c, peer = flight(40)
    peer.send(ACK, ack=1, sack=(block(1, 9),))
    script.run(RTT)
    peer.send(ACK, ack=peer.rcv)
    for _ in range(6):
        peer.drain()
        script.run(RTT)
        peer.send(ACK, ack=peer.rcv)
    assert c.recovery.phase == recovery.OPEN
    assert 5 * MSS <= c.cc.cwnd <= 12 * MSS


# -- RACK --------------------------------------------------------------------------------------


@pytest.mark.rfc("8985", "6.2", "step 4")
def test_rack_waits_a_quarter_of_the_round_trip() -> None:
    script, _c, peer = flight()
    peer.send(ACK, ack=1, sack=(block(1, 1),))
    peer.expect_nothing()
    assert script.run_until(lambda: bool(peer.queue), SECOND)
    assert sent(peer) == [0]
    assert peer.script.now - peer.mark == RTT // 4


@pytest.mark.rfc("8985", "6.2", "step 4")
def test_rack_does_not_wait_with_dup_thresh_sacked() -> None:
    _, _, peer = flight()
    peer.send(ACK, ack=1, sack=(block(1, 3),))
    assert sent(peer) == [0]


@pytest.mark.rfc("8985", "6.2", "step 3")
def test_rack_takes_reordering_for_what_it_is() -> None:
    script, c, peer = flight()
    peer.send(ACK, ack=1, sack=(block(1, 2),))
    script.run(RTT // 8)
    peer.send(ACK, ack=at(3))
    script.run(RTT)
    assert sent(peer) == []
    assert c.rack.reordering_seen
    assert script.counter("tcp.fast_recovery") == 0


@pytest.mark.rfc("8985", "6.2", "step 5")
def test_rack_finds_a_lost_retransmission() -> None:
    script, _c, peer = flight(20)
    peer.send(ACK, ack=1, sack=(block(1, 9),))
    assert sent(peer)[0] == 0
    script.run(RTT)
    # What was sent after the repeat arrives; the repeat does not.
    newest = (peer.rcv - 1) // MSS - 1
    peer.send(ACK, ack=1, sack=(block(1, newest),))
    script.run(RTT)
    assert 0 in sent(peer)


@pytest.mark.rfc("8985", "6.2", "step 5")
def test_a_lost_tail_is_marked_by_time() -> None:
    _, c, peer = flight()
    peer.send(ACK, ack=at(5), sack=(block(9, 9),))
    assert c.timers.deadlines[7] < 1 << 61  # the reordering timer runs
    peer.script.run(RTT)
    assert sent(peer) == [5]  # pipe is empty: slow-start reduction bound of PRR
    assert c.board.lost == 4 * MSS
    peer.send(ACK, ack=at(6), sack=(block(9, 9),))
    assert sent(peer) == [6, 7]


# -- TLP ---------------------------------------------------------------------------------------


@pytest.mark.rfc("8985", "7.2")
@pytest.mark.rfc("8985", "7.3")
def test_a_tail_loss_probe_repeats_the_last_segment_after_two_round_trips() -> None:
    script, c, peer = flight(tcp_tlp=True)
    sent_at = script.now - RTT
    assert script.run_until(lambda: bool(peer.queue), SECOND)
    assert sent(peer) == [9]
    assert script.now - sent_at == pytest.approx(2 * c.rtt.srtt, abs=5 * MS)
    assert c.cc.cwnd == 10 * MSS


@pytest.mark.rfc("8985", "7.3")
def test_a_probe_prefers_new_data() -> None:
    script, _c, peer = flight(12, tcp_tlp=True)
    assert script.run_until(lambda: bool(peer.queue), SECOND)
    assert sent(peer) == [10]


@pytest.mark.rfc("8985", "7.4.2")
def test_a_probe_that_repaired_a_loss_reduces_the_window() -> None:
    script, c, peer = flight(tcp_tlp=True)
    script.run_until(lambda: bool(peer.queue), SECOND)
    assert sent(peer) == [9]
    peer.send(ACK, ack=at(10))
    script.send(c, b"z" * MSS)
    peer.drain()
    script.run(RTT)
    peer.send(ACK, ack=at(11))
    assert script.counter("tcp.tlp_recovery") == 1
    assert c.cc.ssthresh == 10 * MSS  # half of what slow start had reached


@pytest.mark.rfc("8985", "7.4.2")
def test_a_probe_that_was_a_duplicate_does_not() -> None:
    script, c, peer = flight(tcp_tlp=True)
    script.run_until(lambda: bool(peer.queue), SECOND)
    assert sent(peer) == [9]
    peer.send(ACK, ack=at(10))
    peer.send(ACK, ack=at(10), sack=(block(9, 9),))
    script.send(c, b"z" * MSS)
    script.run(RTT)
    peer.send(ACK, ack=at(11))
    assert script.counter("tcp.tlp_recovery") == 0
    assert c.cc.cwnd >= 10 * MSS


@pytest.mark.rfc("8985", "7.3")
def test_a_lost_tail_is_repaired_without_a_timeout() -> None:
    script, _c, peer = flight(tcp_tlp=True)
    peer.send(ACK, ack=at(7))  # 7, 8 and 9 are lost
    assert script.run_until(lambda: bool(peer.queue), SECOND)
    assert sent(peer) == [9]
    script.run(RTT)
    peer.send(ACK, ack=at(7), sack=(block(9, 9),))
    script.run(RTT)
    assert sent(peer) == [7]
    peer.send(ACK, ack=at(8), sack=(block(9, 9),))
    assert sent(peer) == [8]
    assert script.counter("tcp.rto") == 0


@pytest.mark.rfc("8985", "7.2")
def test_a_single_segment_allows_for_a_delayed_acknowledgement() -> None:
    script, _c, peer = flight(1, tcp_tlp=True)
    sent_at = script.now - RTT
    script.run_until(lambda: bool(peer.queue), 2 * SECOND)
    assert script.now - sent_at >= 2 * RTT + 90 * MS


# -- undo --------------------------------------------------------------------------------------


@pytest.mark.rfc("3522", "3")
@pytest.mark.rfc("4015", "3")
def test_eifel_undoes_a_spurious_timeout() -> None:
    script, c, peer = flight(ts=True)
    echo = peer.ts_recent
    cwnd = c.cc.cwnd
    script.run(c.rtt.rto)
    assert sent(peer) == [0]
    assert c.cc.cwnd == MSS
    peer.send(ACK, ack=at(1), ts=(1000 + script.now // MS, echo))  # of the original
    assert c.recovery.phase == recovery.OPEN
    assert c.cc.cwnd >= cwnd
    assert script.counter("tcp.undo") == 1


@pytest.mark.rfc("4015", "3")
def test_a_genuine_timeout_is_not_undone() -> None:
    script, c, peer = flight(ts=True)
    script.run(c.rtt.rto)
    assert sent(peer) == [0]
    script.run(RTT)
    peer.send(ACK, ack=at(1))
    assert script.counter("tcp.undo") == 0
    assert c.cc.ssthresh == 5 * MSS


@pytest.mark.rfc("2883", "5")
@pytest.mark.rfc("3708", "3")
def test_duplicates_reported_for_every_repeat_undo_the_reduction() -> None:
    script, c, peer = flight()
    peer.send(ACK, ack=1, sack=(block(1, 3),))
    assert sent(peer) == [0]
    assert c.cc.ssthresh == 5 * MSS
    peer.send(ACK, ack=at(4))  # the original was only late
    peer.send(ACK, ack=at(4), sack=(block(0, 0),))  # and so the repeat was a duplicate
    assert script.counter("tcp.undo") == 1
    assert c.cc.cwnd >= 10 * MSS
    assert c.recovery.phase == recovery.OPEN


# -- windows -----------------------------------------------------------------------------------


@pytest.mark.rfc("6928", "2")
def test_the_initial_window_is_ten_segments() -> None:
    _, c, peer = flight(50)
    assert c.tx.snd_nxt - c.tx.snd_una == 10 * MSS
    peer.expect_nothing()


@pytest.mark.rfc("5681", "3.1")
def test_slow_start_doubles_per_round_trip() -> None:
    _script, c, peer = flight(100)
    for n in (2, 4, 6, 8, 10):
        peer.send(ACK, ack=at(n))
    assert c.cc.cwnd == 20 * MSS
    assert len(sent(peer)) == 20


@pytest.mark.rfc("5681", "4.1")
@pytest.mark.rfc("2861", "3")
@pytest.mark.parametrize("keep", [False, True])
def test_an_idle_sender_starts_slowly_again(keep: bool) -> None:
    script, c, peer = flight(40, tcp_slow_start_after_idle=not keep)
    while peer.rcv < at(40):
        peer.send(ACK)
        peer.drain()
        script.run(RTT)
    peer.send(ACK)
    grown = c.cc.cwnd
    assert grown > 20 * MSS
    script.run(10 * SECOND)
    script.send(c, b"x" * 60 * MSS)
    assert len(sent(peer)) == (grown // MSS if keep else 10)


@pytest.mark.rfc("5681", "3.2")
def test_everything_arrives_after_heavy_loss() -> None:
    script, c, peer = flight(60)
    script.shutdown(c)
    dropped = 0
    for round_ in range(400):
        batch = [seen for seen in peer.drain() if seen.data]
        if peer.rcv > at(60):
            break
        have = peer.rcv
        kept = [seen for i, seen in enumerate(batch) if (i + round_) % 3]
        dropped += len(batch) - len(kept)
        peer.send(ACK, ack=have)
        script.run(RTT)
    assert bytes(peer.stream[:MSS]) == b"A" * MSS


# -- ECN ---------------------------------------------------------------------------------------


def ecn(**settings: Any) -> tuple[Script, TcpConnection, Peer]:
    """An active open that agrees on ECN; 10 segments out."""
    script = Script(tcp_ecn=1, tcp_congestion="reno", **settings)
    c, peer = script.connect()
    peer.expect(2 | 0x40 | 0x80, ecn=0)  # SYN with ECE and CWR, itself not capable
    script.run(RTT)
    peer.send(18 | 0x40, mss=MSS, sack_ok=True)
    peer.expect(ACK, ecn=0)
    assert c.neg.ecn_ok
    script.send(c, b"x" * 30 * MSS)
    assert all(seen.ecn == 2 for seen in peer.drain())
    return script, c, peer


@pytest.mark.rfc("3168", "6.1.1")
@pytest.mark.parametrize("setting", [0, 1, 2])
def test_ecn_is_accepted_where_allowed(setting: int) -> None:
    script = Script(tcp_ecn=setting)
    script.listen()
    peer = script.peer()
    peer.send(2 | 0x40 | 0x80, mss=1460)
    peer.expect(18 | (0x40 if setting else 0))


@pytest.mark.rfc("3168", "6.1.1")
@pytest.mark.parametrize("flags", [0, 0xC0, 0x80])
def test_a_syn_ack_without_plain_ece_means_no_ecn(flags: int) -> None:
    script = Script(tcp_ecn=1)
    c, peer = script.connect()
    peer.drain()
    peer.send(18 | flags)
    assert not c.neg.ecn_ok
    script.send(c, b"x")
    assert peer.drain()[-1].ecn == 0


@pytest.mark.rfc("3168", "6.1.2")
def test_an_echo_halves_the_window_once_per_round_trip_and_is_answered() -> None:
    script, c, peer = ecn()
    script.run(RTT)
    for n in (2, 4, 6):
        peer.send(ACK | 0x40, ack=at(n))
    assert c.cc.ssthresh == 5 * MSS
    assert script.counter("tcp.ecn_reduction") == 1
    assert script.counter("tcp.retransmitted") == 0
    new = [seen for seen in peer.drain() if seen.data]
    assert [bool(seen.flags & 0x80) for seen in new] == [True] + [False] * (len(new) - 1)


@pytest.mark.rfc("3168", "6.1.3")
def test_a_mark_is_echoed_until_the_sender_answers() -> None:
    script = Script()
    script.listen()
    peer = script.peer()
    peer.send(2 | 0xC0, mss=1460)
    peer.expect(18 | 0x40)
    peer.send(ACK)
    peer.send(ACK, b"a", ecn=3)
    peer.expect(ACK | 0x40, ack=102)
    peer.send(ACK, b"b", ecn=2)
    peer.expect(ACK | 0x40, ack=103)
    peer.send(ACK | 0x80, b"c", ecn=2)
    peer.expect(ACK, ack=104)
    peer.send(ACK | 0x80, b"d", ecn=3)  # a new mark in the answer itself
    peer.expect(ACK | 0x40, ack=105)


@pytest.mark.rfc("3168", "6.1.2")
def test_repeats_are_not_ecn_capable() -> None:
    _script, _c, peer = ecn()
    peer.send(ACK, ack=1, sack=(block(1, 5),))
    repeated = peer.drain()[0]
    assert script_seq(peer, repeated) == 1
    assert repeated.ecn == 0


@pytest.mark.rfc("3168", "6.1.2")
@pytest.mark.parametrize("timeout", [False, True])
def test_a_loss_is_told_by_cwr_too(timeout: bool) -> None:
    """CWR is sent after *any* reduction, so that the receiver stops echoing."""
    script, _c, peer = ecn(tcp_tlp=False)
    script.run(RTT)
    if timeout:
        script.run(3 * SECOND)
    else:
        peer.send(ACK, ack=1, sack=(block(1, 5),))
        script.run(RTT)
    peer.drain()
    for n in range(10, 31, 2):
        script.run(RTT)
        peer.send(ACK, ack=min(at(n), peer.rcv))
    new = [seen for seen in peer.drain() if seen.data and seen.ecn]
    assert any(seen.flags & 0x80 for seen in new)


@pytest.mark.rfc("3168", "6.1.4")
def test_pure_acks_and_fins_without_data_are_not_capable() -> None:
    script, c, peer = ecn()
    peer.send(ACK, b"x", ack=1)
    assert peer.drain()[-1].ecn == 0
    while c.tx.snd_una < c.tx.queue_end:
        peer.send(ACK)
    peer.drain()
    script.shutdown(c)
    assert peer.expect(FIN | ACK).ecn == 0


# -- F-RTO -------------------------------------------------------------------------------------


@pytest.mark.rfc("5682", "3.1", "step 3.b")
@pytest.mark.parametrize("frto", [True, False])
def test_frto_tells_a_delay_from_a_loss_without_timestamps(frto: bool) -> None:
    script, c, peer = flight(tcp_frto=frto)
    script.run(c.rtt.rto)
    assert sent(peer)[0] == 0
    script.run(RTT)
    peer.send(ACK, ack=at(1))  # of the original or of the repeat: nobody knows
    script.run(RTT // 2)
    peer.send(ACK, ack=at(5))  # segments that were not all repeated: the path was only slow
    assert script.counter("tcp.undo") == int(frto)
    if frto:
        assert c.cc.cwnd >= 10 * MSS
        assert c.recovery.phase == recovery.OPEN


@pytest.mark.rfc("5682", "3.1")
def test_frto_believes_a_loss() -> None:
    script, c, peer = flight()
    script.run(c.rtt.rto)
    assert sent(peer)[0] == 0
    script.run(RTT)
    peer.send(ACK, ack=at(1))
    script.run(RTT)
    peer.send(ACK, ack=at(3))  # exactly what was repeated
    assert script.counter("tcp.undo") == 0
    assert c.cc.ssthresh == 5 * MSS


@pytest.mark.rfc("5682", "3.1")
@pytest.mark.rfc("2018", "8")
def test_frto_trusts_no_peer_that_reneged() -> None:
    script, _c, peer = flight()
    peer.send(ACK, ack=1, sack=(block(1, 2),))
    peer.send(ACK, ack=at(1))
    peer.drain()
    script.run(3 * SECOND)
    peer.send(ACK, ack=at(6))
    assert script.counter("tcp.undo") == 0


@pytest.mark.rfc("9293", "3.9.1.2", "MUST-61")
def test_a_record_that_is_sent_again_is_pushed_again() -> None:
    """MSG_EOR: no segment crosses its end, the first time or later (Google's eor scripts)."""
    script, c, peer = established()
    c.options.nodelay = True
    for _ in range(2):
        script.call(lambda now: c.send(b"x" * 400, now, record=True))
        peer.expect(ACK, length=400, push=True)
    script.send(c, b"y" * 3000)
    peer.drain()
    peer.send(ACK, ack=1)
    script.run(2 * SECOND)
    again = [seen for seen in peer.drain() if seen.data.startswith(b"x")]
    assert [(len(seen.data), seen.flags & PSH) for seen in again[:2]] == [(400, PSH)] * 2


@pytest.mark.rfc("2883", "4")
def test_a_late_acknowledgement_with_blocks_reports_no_duplicates() -> None:
    """In recovery from two losses an early ACK arrives again: nothing is undone."""
    script, c, peer = flight()
    peer.send(ACK, ack=1, sack=((1001, 5001),))
    peer.send(ACK, ack=1, sack=((1001, 5001), (6001, 8001)))
    peer.drain()
    peer.send(ACK, ack=5001, sack=((6001, 8001),))
    before = c.recovery.phase, c.cc.ssthresh
    assert c.recovery.phase == recovery.RECOVERY
    peer.send(ACK, ack=1, sack=((1001, 5001),))
    assert (c.recovery.phase, c.cc.ssthresh) == before
    assert script.counter("tcp.undo") == script.counter("tcp.dsack_in") == 0


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
def test_a_late_acknowledgement_with_blocks_says_nothing_of_the_window() -> None:
    _, c, peer = flight()
    peer.send(ACK, ack=1001, wnd=60_000)
    peer.send(ACK, ack=4001, wnd=60_000)
    peer.send(ACK, ack=1, sack=((1001, 2001),), wnd=1000)
    assert c.tx.snd_wnd == 60_000
    assert c.rack.reo_wnd_mult == 1
