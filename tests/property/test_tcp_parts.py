# SPDX-License-Identifier: Apache-2.0
"""The parts of a connection against plain models: send buffer, reassembly, scoreboard."""

from hypothesis import given
from hypothesis import strategies as st

from capas.base.seq import M32
from capas.transport.tcp.receiver import OutOfOrder, Receiver
from capas.transport.tcp.scoreboard import EVER_RETRANS, LOST, RETRANS, SACKED, Scoreboard
from capas.transport.tcp.sender import Sender

ISS = 0xFFFFFF00  # numbers pass 2**32 on the way


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40_000)), max_size=40))
def test_the_send_buffer_is_a_bytearray(steps: list[tuple[int, int]]) -> None:
    tx = Sender(ISS, 1460, 100_000)
    model = bytearray()
    base = ISS + 1  # sequence number of model[0]
    count = 0
    for kind, n in steps:
        if kind <= 1:
            count += 1
            data = bytes((count & 255,)) * (n % 300 if kind else n)
            taken = tx.append(data)
            assert taken == min(len(data), 100_000 - len(model))
            model += data[:taken]
        elif kind == 2 and model:
            at = n % len(model)
            size = min(len(model) - at, 1 + n)
            pieces = tx.pieces(base + at, size)
            assert b"".join(pieces) == bytes(model[at : at + size])
        elif kind == 3:
            size = min(n, len(model))
            tx.release(base + size)
            del model[:size]
            base += size
        assert len(tx) == len(model)
        assert tx.room() == 100_000 - len(model)
        assert tx.queue_end == base + len(model)


segments = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)), max_size=60)


@given(segments)
def test_reassembly_is_a_dictionary_of_bytes(pieces: list[tuple[int, int]]) -> None:
    base = 1 << 33
    stream = bytes(i & 255 for i in range(300))
    ooo = OutOfOrder()
    held: dict[int, int] = {}
    for start, length in pieces:
        new = [i for i in range(start, start + length) if i not in held]
        added = ooo.insert(base + 1 + start, stream[start : start + length])
        assert added == len(new)
        held.update({i: stream[i] for i in range(start, start + length)})
        assert ooo.bytes == len(held)
        assert ooo.ranges.total() == len(held)
        left, right = ooo.recent[0]
        assert left <= base + 1 + start
        assert base + 1 + start + length <= right
    got = b"".join(bytes(piece) for piece in ooo.take(base + 1))
    run = 0
    while run in held:
        run += 1
    assert got == stream[:run]
    assert ooo.bytes == len(held) - run


@given(segments, st.lists(st.integers(1, 60), max_size=30))
def test_the_receiver_reads_what_was_sent(pieces: list[tuple[int, int]], reads: list[int]) -> None:
    stream = bytes((i * 7) & 255 for i in range(300))
    rx = Receiver(10_000, 0)
    rx.start(M32, 10_000)
    got = b""
    for i, (start, length) in enumerate(pieces):
        seq = M32 + 1 + start
        payload = stream[start : start + length]
        if seq < rx.rcv_nxt:
            payload = payload[rx.rcv_nxt - seq :]
            seq = rx.rcv_nxt
        if payload and seq == rx.rcv_nxt:
            rx.accept(payload)
        elif payload:
            rx.keep(seq, payload, 1000)
        if i < len(reads):
            got += rx.read(reads[i])
    got += rx.read(1000)
    have = {i for start, length in pieces for i in range(start, start + length)}
    run = 0
    while run in have:
        run += 1
    assert got == stream[:run]
    assert rx.rcv_nxt == M32 + 1 + run
    assert rx.buffered == 0


def consistent(board: Scoreboard, una: int, nxt: int) -> None:
    records = board.records()
    marks = dict.fromkeys((SACKED, LOST, RETRANS), 0)
    at = una
    for record in records:
        assert record.seq == at
        assert record.end > record.seq
        at = record.end
        for mark in marks:
            if record.flags & mark:
                marks[mark] += record.end - record.seq
        assert not (record.flags & SACKED and record.flags & (LOST | RETRANS))
        assert not record.flags & RETRANS or record.flags & EVER_RETRANS
        if record.flags & SACKED:
            assert board.ranges.contains(record.seq, record.end)
    assert at == nxt
    assert (board.sacked, board.lost, board.retrans) == (marks[SACKED], marks[LOST], marks[RETRANS])
    waiting = [r for r in records if r.flags & (LOST | RETRANS | SACKED) == LOST]
    lost = board.next_lost()
    assert (lost.seq if lost else None) == (waiting[0].seq if waiting else None)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99), st.integers(1, 40)), max_size=60))
def test_the_scoreboard_counts_its_records(steps: list[tuple[int, int, int]]) -> None:
    board = Scoreboard()
    una = nxt = 1000
    delivered = now = 0
    for kind, a, b in steps:
        now += 1 + a
        board.outcome.reset()
        board.rate.begin()
        out = nxt - una
        if kind <= 2:
            board.sent(nxt, nxt + b, now, out)
            nxt += b
        elif kind == 3 and out:
            una += min(out, b)
            board.acked(una, now)
        elif kind in (4, 5) and out > 1:
            left = una + 1 + a % (out - 1)
            board.sack(left, min(nxt, left + b), now)
        elif kind == 6:
            record = board.next_lost()
            if record is not None:
                if record.end - record.seq > b:
                    board.split(record, record.seq + b)
                board.retransmitted(record, now)
        elif kind == 7:
            board.mark_lost_by_sack(3, 10, una)
        elif kind == 8 and out:
            queue = board.transmissions
            if queue:
                sent, seq, end = queue[a % len(queue)]
                board.mark_lost_transmission(sent, max(seq, una), end)
        elif kind == 9:
            (board.mark_all_lost, board.unmark_all)[a % 2]()
        delivered += board.outcome.delivered
        consistent(board, una, nxt)
        assert board.rate.delivered == delivered
        assert delivered <= nxt - 1000
    board.acked(nxt, now)
    consistent(board, nxt, nxt)
