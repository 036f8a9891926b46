# SPDX-License-Identifier: Apache-2.0
"""Sent records and their marks."""

import pytest

from capas.transport.tcp.scoreboard import LOST, RETRANS, SACKED, Scoreboard

MSS = 100


def board(segments: int = 10) -> Scoreboard:
    b = Scoreboard()
    for i in range(segments):
        b.sent(i * MSS, (i + 1) * MSS, 10 + i, i * MSS)
    b.outcome.reset()
    b.rate.begin()
    return b


def marked(b: Scoreboard, flag: int) -> list[int]:
    return [r.seq // MSS for r in b.records() if r.flags & flag]


def test_cumulative_acknowledgement() -> None:
    b = board()
    b.acked(3 * MSS, 50)
    assert (b.outcome.acked, b.outcome.delivered, len(b)) == (300, 300, 7)
    assert (b.outcome.first_sent, b.outcome.last_sent) == (10, 12)


def test_a_super_frame_acknowledged_in_part() -> None:
    b = Scoreboard()
    b.sent(0, 1000, 5, 0)
    b.acked(300, 9)
    assert [(r.seq, r.end) for r in b.records()] == [(300, 1000)]
    assert b.outcome.delivered == 300


def test_sack_cuts_records() -> None:
    b = Scoreboard()
    b.sent(0, 1000, 5, 0)
    b.sack(200, 300, 9)
    assert [(r.seq, r.end, r.flags & SACKED) for r in b.records()] == [
        (0, 200, 0),
        (200, 300, SACKED),
        (300, 1000, 0),
    ]
    assert b.sacked == 100
    b.acked(1000, 10)
    assert b.sacked == 0
    assert b.rate.delivered == 1000


def test_a_block_seen_before_delivers_nothing() -> None:
    b = board()
    b.sack(200, 500, 50)
    b.outcome.reset()
    b.sack(200, 500, 51)
    b.sack(300, 400, 52)
    assert b.outcome.delivered == 0
    b.sack(200, 600, 53)
    assert b.outcome.delivered == 100


@pytest.mark.rfc("6675", "4", "IsLost")
@pytest.mark.parametrize(
    ("blocks", "lost"),
    [
        (((1, 2), (3, 4)), []),
        (((1, 2), (3, 4), (5, 6)), [0]),
        (((2, 5),), [0, 1]),
        (((2, 4),), []),
    ],
)
def test_is_lost(blocks: tuple[tuple[int, int], ...], lost: list[int]) -> None:
    b = board()
    for left, right in blocks:
        b.sack(left * MSS, right * MSS, 50)
    b.mark_lost_by_sack(3, MSS, 0)
    assert marked(b, LOST) == lost
    assert b.lost == len(lost) * MSS


def test_losses_are_repeated_lowest_first() -> None:
    b = board()
    b.mark_all_lost()
    order = []
    while (record := b.next_lost()) is not None:
        order.append(record.seq // MSS)
        b.retransmitted(record, 60)
    assert order == list(range(10))
    assert b.retrans == b.lost == 1000


def test_a_repeat_that_is_lost_counts_once() -> None:
    b = board(1)
    (record,) = b.records()
    b.mark_lost(record)
    b.mark_lost(record)
    assert b.lost == 100
    b.retransmitted(record, 60)
    b.mark_lost(record)
    assert (b.lost, b.retrans) == (100, 0)
    assert b.next_lost() is record


def test_sack_ends_a_loss() -> None:
    b = board()
    b.mark_all_lost()
    first = b.next_lost()
    assert first is not None
    b.retransmitted(first, 60)
    b.sack(0, 100, 70)
    assert (b.lost, b.retrans, b.sacked) == (900, 0, 100)
    assert marked(b, RETRANS) == []
    assert b.outcome.retrans_acked


@pytest.mark.rfc("2018", "8")
def test_forgotten_sacks() -> None:
    b = board()
    b.sack(200, 500, 50)
    b.forget_sacks()
    assert b.sacked == 0
    assert marked(b, SACKED) == []
    b.mark_all_lost()
    assert b.lost == 1000


def test_undo() -> None:
    b = board()
    b.mark_all_lost()
    b.unmark_all()
    assert b.lost == 0
    assert b.next_lost() is None


def test_reordering_is_noticed() -> None:
    b = board()
    b.sack(300, 400, 50)
    assert b.outcome.reordered == -1
    b.sack(100, 200, 51)
    assert b.outcome.reordered == 100
