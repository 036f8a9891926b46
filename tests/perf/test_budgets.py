# SPDX-License-Identifier: Apache-2.0
"""Budgets: Python calls and memory blocks per frame, counted, with a tenth of room.

A number here is what was counted when it was written; lower it when the code gets leaner.  The
drivers and asyncio are not in it: it is the stack of one host, link to transport.
"""

import sys

import pytest

from capas.transport.tcp.connection import TcpConnection

from .counting import Lab

pytestmark = pytest.mark.skipif(
    not (sys.modules[TcpConnection.__module__].__file__ or "").endswith(".py"),
    reason="compiled code makes no Python calls",
)

BLOCK = bytes(63_720)


def bulk(offload: bool, sending: bool, family: int = 4) -> tuple[float, Lab]:
    """(calls per frame of data, the laboratory) on the watched host."""
    lab = Lab(offload, family)
    client, server = lab.connect()
    sender, receiver = (server, client) if sending else (client, server)

    def turn() -> None:
        while sender.send(BLOCK, lab.now) == len(BLOCK):
            pass
        if sending:
            with lab.count:
                lab.b.flush(lab.now)
            lab.frames_out += len(lab.cable_b.out)
            lab.peer_turn()
            while receiver.receive(1 << 18, lab.now):
                pass
            lab.a.flush(lab.now)
            with lab.count:
                lab.watched_turn()
            return
        lab.peer_turn()
        lab.watched_turn()
        with lab.count:
            while receiver.receive(1 << 18, lab.now):
                pass
            lab.b.flush(lab.now)

    for _ in range(25):
        turn()
    lab.watch()
    for _ in range(20 if offload else 3):
        turn()
    frames = lab.frames_out if sending else lab.frames_in
    assert frames > 50
    return lab.count.calls / frames, lab


@pytest.mark.parametrize(
    ("offload", "sending", "family", "budget"),
    [
        (True, False, 4, 16),  # super-frame received
        (True, True, 4, 28),  # super-frame sent
        (False, False, 4, 20),  # 1,500 bytes received, checksum verified
        (False, True, 4, 28),  # 1,500 bytes sent, checksum computed
        (True, False, 6, 16),
        (True, True, 6, 28),
    ],
)
def test_calls_per_frame(offload: bool, sending: bool, family: int, budget: int) -> None:
    calls, lab = bulk(offload, sending, family)
    assert calls <= budget, lab.count.names.most_common(40)


def test_calls_per_round_trip() -> None:
    """One byte there and back: a segment received, read, answered, acknowledged by the way."""
    lab = Lab()
    client, server = lab.connect()

    def turn() -> None:
        client.send(b"x", lab.now)
        lab.step()
        with lab.count:
            server.send(server.receive(100, lab.now) or b"", lab.now)
            lab.b.flush(lab.now)
        lab.peer_turn()
        client.receive(100, lab.now)

    for _ in range(60):
        turn()
    lab.watch()
    for _ in range(100):
        turn()
    assert lab.count.calls / 100 <= 125, lab.count.names.most_common(60)


@pytest.mark.parametrize("offload", [True, False])
def test_receiving_leaves_nothing_behind(offload: bool) -> None:
    """Memory blocks that live on after frames came and were read: none that grow with frames."""
    lab = Lab(offload)
    client, server = lab.connect()

    def turn() -> int:
        while client.send(BLOCK, lab.now) == len(BLOCK):
            pass
        lab.step()
        frames = lab.frames_in
        while server.receive(1 << 18, lab.now):
            pass
        lab.b.flush(lab.now)
        return frames

    for _ in range(25):
        turn()
    frames = turn()
    before = sys.getallocatedblocks()
    for _ in range(10):
        turn()
    more = turn() - frames
    grown = sys.getallocatedblocks() - before
    assert more > 50
    assert grown < max(200, more // 4), f"{grown} blocks after {more} frames"


@pytest.mark.slow
def test_idle_connections_are_light() -> None:
    """100,000 of them must stay below 400 MB; a fifth more than counted is allowed."""
    from capas.bench import memory

    _, _, octets = memory.connections(1000)
    assert octets / 1000 < 5000
