# SPDX-License-Identifier: Apache-2.0
"""Flow control: Nagle, silly and zero windows, delayed acknowledgements, PUSH."""

import errno
import itertools

import pytest
from tcp_states import established, state

from capas.base.clock import MS, SECOND
from capas.testing.script import Peer, Script
from capas.transport.tcp.connection import TcpConnection
from capas.wire.tcp import ACK, FIN, PSH, RST


def small_buffer(size: int, **syn: object) -> tuple[Script, TcpConnection, Peer]:
    script = Script(tcp_receive_buffer=size, tcp_receive_buffer_max=size)
    c, peer = script.passive(**syn)  # type: ignore[arg-type]
    return script, c, peer


# -- Nagle -------------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.7.4", "SHLD-7")
def test_nagle_gathers_small_writes_behind_a_small_segment() -> None:
    script, c, peer = established()
    script.send(c, b"a")
    peer.expect(ACK, b"a", push=True)
    for _ in range(5):
        script.send(c, b"b")
    peer.expect_nothing()
    peer.send(ACK)
    peer.expect(ACK, b"bbbbb", push=True)


@pytest.mark.rfc("9293", "3.7.4", "MUST-17")
def test_nagle_can_be_disabled() -> None:
    script, c, peer = established()
    c.options.nodelay = True
    for byte in (b"a", b"b", b"c"):
        script.send(c, byte)
        peer.expect(ACK, byte)


def test_minshall_holds_only_behind_another_small_segment() -> None:
    script, c, peer = established()
    script.send(c, b"x" * 1460)
    peer.expect(ACK, length=1460)
    script.send(c, b"y")
    peer.expect(ACK, b"y")
    script.send(c, b"z")
    peer.expect_nothing()


@pytest.mark.rfc("9293", "3.7.4", "SHLD-7")
def test_full_segments_never_wait() -> None:
    script, c, peer = established()
    script.send(c, b"a")
    peer.expect(ACK)
    script.send(c, b"x" * 3000)
    peer.expect(ACK, length=1460)
    peer.expect(ACK, length=1460)
    peer.expect_nothing()


def test_cork_holds_the_tail_until_it_is_pulled() -> None:
    script, c, peer = established()
    c.options.cork = True
    script.send(c, b"x" * 1500)
    peer.expect(ACK, length=1460)
    peer.send(ACK)
    peer.expect_nothing()
    c.options.cork = False
    script.send(c, b"y")
    peer.expect(ACK, length=41)


@pytest.mark.rfc("9293", "3.9.1.2", "MUST-60")
@pytest.mark.rfc("9293", "3.9.1.2", "MUST-61")
def test_the_last_segment_of_a_write_is_pushed() -> None:
    script, c, peer = established()
    script.send(c, b"x" * 4000)
    assert [bool(seen.flags & PSH) for seen in peer.drain()] == [False, False, True]


# -- silly windows -----------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.8.6.2.1", "MUST-38")
def test_a_sender_waits_for_a_window_worth_using() -> None:
    script, c, peer = established()
    peer.send(ACK, wnd=100)
    script.send(c, b"x" * 5000)
    peer.expect_nothing()
    peer.send(ACK, wnd=1460)
    peer.expect(ACK, length=1460)


@pytest.mark.rfc("9293", "3.8.6.2.1", "MUST-38")
def test_half_of_the_largest_window_is_worth_using() -> None:
    script = Script()
    c, peer = script.passive(wnd=1000)
    peer.send(ACK, wnd=500)
    script.send(c, b"x" * 5000)
    peer.expect(ACK, length=500)


@pytest.mark.rfc("9293", "3.8.6.2.1", "SHLD-29")
def test_a_small_window_is_used_when_the_timer_ends() -> None:
    script, c, peer = established()
    peer.send(ACK, wnd=100)
    script.send(c, b"x" * 5000)
    peer.expect_nothing()
    assert script.run_until(lambda: bool(peer.queue), 2 * SECOND)
    peer.expect(ACK, length=100)


@pytest.mark.rfc("9293", "3.8.6.2.2", "MUST-39")
def test_a_receiver_offers_no_crumbs() -> None:
    script, c, peer = small_buffer(4000)
    while c.rx.window():
        peer.send(ACK, b"x" * min(c.rx.window(), 1000))
    peer.drain()
    for _ in range(9):
        script.receive(c, 100)
        peer.expect_nothing()
    script.receive(c, 200)
    seen = peer.expect(ACK)
    assert seen.wnd >= 1000


@pytest.mark.rfc("9293", "3.8.6", "SHLD-14")
@pytest.mark.rfc("7323", "2.4")
@pytest.mark.parametrize(("size", "wscale"), [(50_000, -1), (50_000, 7), (4_000_000, 14)])
def test_the_right_edge_never_moves_left(size: int, wscale: int) -> None:
    """Nor does it by what a scaled field cannot say: the last bits of a window."""
    script, c, peer = small_buffer(size, wscale=wscale)
    assert c.rx.rcv_wscale == (6 if size > 65_535 else 0)
    edge = 0
    for i in range(200):
        room = c.rx.window()
        if room and i % 3:
            peer.send(ACK, b"x" * min(room, 1 + i * 37 % 1460))
        if i % 4 == 0:
            script.receive(c, i * 211 % 5000)
        for seen in peer.drain():
            new = seen.ack + (seen.wnd << c.rx.rcv_wscale)
            assert new >= edge
            edge = new


@pytest.mark.rfc("9293", "3.8.6", "MUST-34")
def test_a_shrinking_window_does_no_harm() -> None:
    script, c, peer = established()
    script.send(c, b"x" * 10_000)
    peer.drain()
    peer.send(ACK, ack=1, wnd=1000)  # most of what is out is now beyond the window
    assert state(c) == "ESTABLISHED"
    script.run(3 * SECOND)  # repeats go on: the peer may have kept the data
    assert peer.queue
    peer.drain()
    peer.send(ACK, wnd=65_535)
    while peer.rcv < 10_001 and script.run_until(lambda: bool(peer.queue), SECOND):
        peer.drain()
        peer.send(ACK)
    assert bytes(peer.stream) == b"x" * 10_000


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
def test_a_repetition_that_acknowledges_more_may_shut_the_window() -> None:
    """By SND.WL1 alone it would be old news, and the next data would leave into a shut window."""
    script, c, peer = established()
    peer.send(ACK, b"later", seq=111, wnd=1000)
    script.send(c, b"x" * 1000)
    peer.drain()
    peer.send(ACK, b"the gap...", seq=101, ack=1001, wnd=0)
    script.send(c, b"more")
    script.run(100 * MS)
    assert all(not seg.data for seg in peer.queue)
    peer.drain()
    peer.send(ACK, seq=116, wnd=1000)
    peer.expect(ACK, b"more")


@pytest.mark.rfc("9293", "3.8.6.1", "MUST-37")
def test_a_window_shut_on_data_in_flight_keeps_the_connection() -> None:
    """The repeats are window probes then: answered ones must not add up to a timeout."""
    script, c, peer = established(tcp_retries2=4)
    script.send(c, b"x" * 3000)
    peer.drain()
    for _ in range(12):
        peer.send(ACK, ack=1, wnd=0)
        script.run_until(lambda: bool(peer.queue), 200 * SECOND)
        peer.drain()
    assert state(c) == "ESTABLISHED"


# -- zero windows ------------------------------------------------------------------------------


@pytest.mark.rfc("9293", "3.8.6.1", "MUST-36")
@pytest.mark.rfc("9293", "3.8.6.1", "SHLD-29")
@pytest.mark.rfc("9293", "3.8.6.1", "SHLD-30")
def test_a_zero_window_is_probed_with_doubled_intervals() -> None:
    script, c, peer = established()
    peer.send(ACK, wnd=0)
    script.send(c, b"data")
    times = []
    for _ in range(6):
        assert script.run_until(lambda: bool(peer.queue), 200 * SECOND)
        peer.drain()
        times.append(script.now)
        peer.send(ACK, wnd=0)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[0] >= 2 * c.rtt.rto
    assert all(b == 2 * a for a, b in itertools.pairwise(gaps))


@pytest.mark.rfc("9293", "3.8.6.1", "MUST-37")
def test_a_window_may_stay_shut_as_long_as_probes_are_answered() -> None:
    script, c, peer = established()
    peer.send(ACK, wnd=0)
    script.send(c, b"data")
    for _ in range(60):
        assert script.run_until(lambda: bool(peer.queue), 200 * SECOND)
        peer.drain()
        peer.send(ACK, wnd=0)
    assert state(c) == "ESTABLISHED"
    assert script.now > 3000 * SECOND
    peer.send(ACK, wnd=1000)
    peer.expect(ACK, b"data")


def test_unanswered_probes_end_the_connection() -> None:
    script, c, peer = established(tcp_retries2=5)
    peer.send(ACK, wnd=0)
    script.send(c, b"data")
    script.run(3600 * SECOND)
    assert state(c) == "CLOSED"
    assert c.take_error() == errno.ETIMEDOUT


@pytest.mark.rfc("9293", "3.8.6.1", "MUST-36")
def test_a_fin_waits_for_the_window_and_is_probed_for() -> None:
    script, c, peer = established()
    peer.send(ACK, wnd=0)
    script.shutdown(c)
    peer.expect_nothing()
    assert script.run_until(lambda: bool(peer.queue), 5 * SECOND)
    assert not peer.drain()[0].flags & FIN
    peer.send(ACK, wnd=1)
    peer.expect(FIN | ACK, seq=1)


def test_a_lost_window_update_is_not_the_end() -> None:
    script, c, peer = small_buffer(3000)
    while c.rx.window():
        peer.send(ACK, b"x" * c.rx.window())
    peer.drain()
    script.receive(c)
    peer.expect(ACK)  # the update, which gets lost
    peer.send(ACK, seq=peer.nxt - 1)  # a probe
    assert peer.expect(ACK).wnd > 0


@pytest.mark.rfc("9293", "3.8.6.1")
def test_a_probe_with_data_at_a_zero_window_is_answered() -> None:
    _script, c, peer = small_buffer(3000)
    while c.rx.window():
        peer.send(ACK, b"x" * c.rx.window())
    peer.drain()
    for _ in range(3):
        peer.send(ACK, b"y", seq=peer.nxt)
        peer.nxt -= 1
        peer.expect(ACK, ack=peer.nxt, wnd=0)


def test_reading_opens_the_window_at_once() -> None:
    script, c, peer = small_buffer(8000)
    while c.rx.window():
        peer.send(ACK, b"x" * min(c.rx.window(), 1460))
    peer.drain()
    script.receive(c)
    assert peer.expect(ACK).wnd >= 4000


# -- delayed acknowledgements ------------------------------------------------------------------


def delayed() -> tuple[Script, TcpConnection, Peer]:
    script, c, peer = established()
    c.options.quickack = 0
    return script, c, peer


@pytest.mark.rfc("9293", "3.8.6.3", "SHLD-18")
@pytest.mark.rfc("9293", "3.8.6.3", "MUST-40")
def test_one_segment_waits_for_company_less_than_half_a_second() -> None:
    script, _c, peer = delayed()
    peer.send(ACK, b"x")
    seen = peer.expect(ACK, ack=102, after=script.config.tcp_delayed_ack)
    assert seen.time - script.now <= 500 * MS
    assert script.config.tcp_delayed_ack < 500 * MS


@pytest.mark.rfc("9293", "3.8.6.3", "SHLD-19")
@pytest.mark.rfc("5681", "4.2")
def test_every_second_full_segment_is_acknowledged() -> None:
    _, _, peer = delayed()
    for i in range(1, 9):
        peer.send(ACK, b"x" * 1460)
        if i % 2:
            peer.expect_nothing()
        else:
            peer.expect(ACK, ack=101 + 1460 * i)


@pytest.mark.rfc("5681", "4.2")
def test_a_gap_is_acknowledged_at_once_and_so_is_its_filling() -> None:
    _, _, peer = delayed()
    peer.send(ACK, b"c", seq=103)
    peer.expect(ACK, ack=101)
    peer.send(ACK, b"a", seq=101)
    peer.expect(ACK, ack=102)
    peer.send(ACK, b"b", seq=102)
    peer.expect(ACK, ack=104)


def test_an_answer_carries_the_acknowledgement() -> None:
    script, c, peer = delayed()
    peer.send(ACK, b"question")
    script.send(c, b"answer")
    peer.expect(ACK, b"answer", ack=109)
    peer.expect_nothing(SECOND // 10)


@pytest.mark.rfc("9293", "3.8.6.3")
def test_a_fin_is_acknowledged_at_once() -> None:
    _, _, peer = delayed()
    peer.send(ACK | FIN)
    peer.expect(ACK, ack=102)


def test_quickack_acknowledges_each() -> None:
    _, c, peer = established()
    c.options.quickack = 1
    for i in range(30):
        peer.send(ACK, b"x")
        peer.expect(ACK, ack=102 + i)


# -- memory ------------------------------------------------------------------------------------


def test_out_of_order_pieces_are_capped() -> None:
    script, c, peer = established(tcp_out_of_order_ranges=10)
    for i in range(50):
        peer.send(ACK, b"x", seq=103 + 2 * i)
    assert c.rx.ooo is not None
    assert len(c.rx.ooo) == 10
    assert script.counter("tcp.out_of_order_full") == 40


def test_a_peer_cannot_fill_more_than_the_window() -> None:
    _script, c, peer = small_buffer(10_000)
    for i in range(100):
        peer.send(ACK, b"x" * 1000, seq=101 + 1000 * i)
    assert c.rx.buffered <= 10_000
    assert c.rx.window() == 0


def test_a_user_cannot_fill_more_than_the_send_buffer() -> None:
    script = Script(tcp_send_buffer=10_000, tcp_send_buffer_max=10_000)
    c, peer = script.passive(wnd=0)
    assert script.send(c, b"x" * 50_000) == 10_000
    assert script.send(c, b"y") == 0
    assert len(c.tx) == 10_000
    peer.send(RST, seq=101)
    assert len(c.tx) == 0


def test_tiny_segments_in_order_are_joined() -> None:
    script, c, peer = established()
    for i in range(1000):
        peer.send(ACK, bytes((i & 255, 1)))
    assert len(c.rx.chunks) < 20
    assert script.receive(c) == b"".join(bytes((i & 255, 1)) for i in range(1000))


def test_a_piece_out_of_order_is_charged_for_more_than_its_bytes() -> None:
    script, c, peer = established()
    held = script.host.memory.used
    for i in range(100):
        peer.send(ACK, b"ab", seq=105 + 4 * i)
    assert script.host.memory.used - held > 100 * 100
    script.abort(c)
    assert script.host.memory.used == 0
