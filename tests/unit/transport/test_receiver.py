# SPDX-License-Identifier: Apache-2.0
"""RCV.* variables, the window offered, reassembly, unread data."""

import pytest

from capas.base.clock import MS
from capas.transport.tcp.receiver import OutOfOrder, Receiver


def receiver(limit: int = 10_000, auto: int = 0) -> Receiver:
    rx = Receiver(limit, auto)
    rx.start(100, limit)
    return rx


def test_start() -> None:
    rx = receiver()
    assert (rx.irs, rx.rcv_nxt, rx.window()) == (100, 101, 10_000)


def test_read_into_memory_of_the_users() -> None:
    rx = receiver()
    for piece in (b"abc", b"defgh", memoryview(b"ij")):
        rx.accept(piece)
    room = memoryview(bytearray(4))
    assert rx.read_into(room) == 4 and room == b"abcd" and rx.buffered == 6
    assert rx.read(1) == b"e"
    assert rx.read_into(room) == 4 and room == b"fghi"
    assert rx.read_into(room) == 1 and room[:1] == b"j"
    assert rx.read_into(room) == 0 and rx.buffered == 0


def test_what_lies_there_already_is_not_copied() -> None:
    rx = receiver()
    room = memoryview(bytearray(b"abcdefgh"))
    rx.accept(room[:3])
    rx.accept(b"xyz")
    assert rx.read_into(room) == 6 and room == b"abcxyzgh" and rx.buffered == 0


def test_read_in_pieces() -> None:
    rx = receiver()
    rx.accept(b"abc")
    rx.accept(b"defg")
    assert bytes(rx.peek(5)) == b"abcde"
    assert [bytes(rx.read(n)) for n in (1, 4, 100)] == [b"a", b"bcde", b"fg"]
    assert rx.read(5) == b""
    assert rx.buffered == 0


@pytest.mark.rfc("9293", "3.8.6.2.2", "MUST-39")
def test_the_window_moves_by_a_segment_or_half_the_buffer() -> None:
    rx = receiver(10_000)
    rx.accept(bytes(10_000))
    rx.rcv_mss = 1000
    assert rx.advertise() == 0
    rx.read(999)
    assert rx.advertise() == 0
    rx.read(1)
    assert rx.advertise() == 1000
    small = receiver(1000)
    small.accept(bytes(1000))
    small.rcv_mss = 1460
    small.read(499)
    assert small.advertise() == 0
    small.read(1)
    assert small.advertise() == 500


@pytest.mark.rfc("7323", "2.4")
def test_scaling_never_pulls_the_edge_back() -> None:
    rx = receiver(100_000)
    rx.rcv_wscale = 7
    edge = 0
    for i in range(300):
        n = min(rx.window(), 1 + i * 13 % 700)
        rx.accept(bytes(n))
        rx.read(i * 7 % 900)
        wnd = rx.advertise() >> 7 << 7
        # What the field loses in scaling is less than its unit.
        assert rx.rcv_nxt + wnd > edge - 128
        edge = max(edge, rx.rcv_nxt + wnd)


def test_filling_the_gap_takes_all_that_follows() -> None:
    rx = receiver()
    assert rx.keep(104, b"def", 10) == 3
    assert rx.keep(110, b"jkl", 10) == 3
    rx.accept(b"abc")
    assert rx.rcv_nxt == 107
    rx.accept(b"ghi")
    assert rx.rcv_nxt == 113
    assert rx.ooo is None
    assert bytes(rx.read(100)) == b"abcdefghijkl"


def test_overlaps_are_held_once() -> None:
    ooo = OutOfOrder()
    assert ooo.insert(10, b"abcdef") == 6
    assert ooo.insert(8, b"??abcdef??") == 4
    assert ooo.insert(9, b"xx") == 0
    assert b"".join(bytes(p) for p in ooo.take(8)) == b"??abcdef??"
    assert not len(ooo)


def test_pieces_are_capped_but_duplicates_are_not_counted() -> None:
    rx = receiver()
    assert rx.keep(110, b"a", 2) == 1
    assert rx.keep(120, b"b", 2) == 1
    assert rx.keep(130, b"c", 2) == -1
    assert rx.keep(120, b"b", 2) == 0


@pytest.mark.rfc("2018", "4")
def test_recent_blocks_are_the_last_four() -> None:
    rx = receiver()
    for i in range(6):
        rx.keep(110 + 10 * i, b"x", 100)
    assert rx.sack(4) == [160, 161, 150, 151, 140, 141, 130, 131]
    rx.dsack = (50, 60)
    assert rx.sack(2) == [50, 60, 160, 161]


def test_the_buffer_grows_with_what_is_read() -> None:
    rx = receiver(10_000, 1_000_000)
    now, rtt = 0, 10 * MS
    sizes = []
    for n in (10_000, 20_000, 40_000, 80_000):
        for _ in range(n // 1000):
            rx.accept(bytes(1000))
        rx.read(n)
        now += rtt
        rx.tune(now, rtt)
        sizes.append(rx.limit)
    assert sizes == sorted(sizes)
    assert 160_000 <= sizes[-1] <= 1_000_000
    fixed = receiver(10_000)
    fixed.accept(bytes(10_000))
    fixed.read(10_000)
    fixed.tune(now, rtt)
    assert fixed.limit == 10_000


def test_discard() -> None:
    rx = receiver()
    rx.accept(b"abc")
    rx.keep(120, b"x", 5)
    rx.discard()
    assert rx.buffered == 0
    assert rx.ooo is None
