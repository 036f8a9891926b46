# SPDX-License-Identifier: Apache-2.0
"""The send buffer and SND.* variables."""

import pytest

from capas.transport.tcp.sender import Sender


def sender(limit: int = 1_000_000) -> Sender:
    return Sender(100, 1460, limit)


def joined(tx: Sender, seq: int, n: int) -> bytes:
    return b"".join(tx.pieces(seq, n))


def test_large_writes_are_held_by_reference() -> None:
    tx = sender()
    data = bytes(50_000)
    tx.append(data)
    assert tx.pieces(101, 50_000)[0] is data


def test_small_writes_are_gathered() -> None:
    tx = sender()
    for i in range(100):
        tx.append(bytes((i,)))
    assert len(tx.pieces(101, 100)) == 1
    assert joined(tx, 101, 100) == bytes(range(100))


def test_what_is_appended_after_a_look_is_found_too() -> None:
    tx = sender()
    tx.append(b"ab")
    assert joined(tx, 101, 2) == b"ab"
    tx.append(b"cd")
    assert joined(tx, 101, 4) == b"abcd"


def test_a_mutable_buffer_is_copied() -> None:
    tx = sender()
    data = bytearray(b"x" * 10_000)
    tx.append(data)
    data[:] = b"y" * 10_000
    assert joined(tx, 101, 10_000) == b"x" * 10_000


def test_a_view_of_bytes_is_held_by_reference_and_may_be_released() -> None:
    tx = sender()
    data = bytes(range(256)) * 100
    with memoryview(data)[100:] as view:
        tx.append(view)
    (piece,) = tx.pieces(tx.base, 20_000)
    assert isinstance(piece, memoryview)
    assert piece.obj is data
    assert piece == data[100:20_100]


@pytest.mark.parametrize(
    "view", [memoryview(bytearray(20_000)).toreadonly(), memoryview(bytes(40_000))[::2]]
)
def test_a_view_that_may_change_or_has_gaps_is_copied(view: memoryview) -> None:
    tx = sender()
    tx.append(view)
    assert tx.pieces(tx.base, 20_000) == (bytes(20_000),)


def test_release_in_the_middle_of_a_chunk() -> None:
    tx = sender()
    tx.append(b"x" * 9000 + b"y" * 1000)
    tx.release(101 + 9500)
    assert len(tx) == 500
    assert joined(tx, 101 + 9500, 500) == b"y" * 500


def test_many_chunks_are_forgotten() -> None:
    tx = sender()
    for _ in range(200):
        taken = tx.append(b"z" * 9000)
        tx.release(tx.queue_end)
        assert taken == 9000
    assert len(tx) == 0
    assert not tx._chunks


def test_the_limit_cuts() -> None:
    tx = sender(10)
    assert tx.append(b"x" * 8) == 8
    assert tx.append(b"y" * 8) == 2
    assert tx.append(b"z") == 0
    assert joined(tx, 101, 10) == b"x" * 8 + b"yy"


def test_drop_forgets_everything() -> None:
    tx = sender()
    tx.append(b"x" * 20_000)
    tx.drop()
    assert len(tx) == 0


@pytest.mark.rfc("9293", "3.10.7.4", "fifth")
@pytest.mark.parametrize(
    ("seq", "ack", "taken"),
    [(5, 7, True), (6, 7, True), (4, 7, False), (5, 6, False), (4, 9, True), (6, 1, False)],
)
def test_windows_follow_wl1_and_wl2(seq: int, ack: int, taken: bool) -> None:
    tx = sender()
    tx.update_window(5, 7, 10)
    assert tx.update_window(seq, ack, 99) is taken
    assert tx.snd_wnd == (99 if taken else 10)
    assert tx.max_wnd == tx.snd_wnd


def test_the_buffer_grows_with_the_window_unless_fixed() -> None:
    tx = Sender(1, 1000, 10_000, 100_000)
    tx.tune(20_000)
    assert tx.limit == 40_000
    tx.tune(5000)
    assert tx.limit == 40_000
    tx.tune(1 << 30)
    assert tx.limit == 100_000
    fixed = sender(10_000)
    fixed.tune(1 << 20)
    assert fixed.limit == 10_000
