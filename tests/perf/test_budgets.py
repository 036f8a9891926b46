# SPDX-License-Identifier: Apache-2.0
"""Budgets: Python calls and memory blocks per frame, counted, with a tenth of room.

A number here is what was counted when it was written; lower it when the code gets leaner.  The
drivers and asyncio are not in it: it is the stack of one host, link to transport.
"""

import gc
import sys

import pytest

from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.states import CLOSED, TIME_WAIT
from capas.wire import address as addr

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
        (True, False, 4, 14),  # super-frame received
        (True, True, 4, 20),  # super-frame sent
        (False, False, 4, 16),  # 1,500 bytes received, checksum verified
        (False, True, 4, 20),  # 1,500 bytes sent, checksum computed
        (True, False, 6, 15),
        (True, True, 6, 20),
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
    assert lab.count.calls / 100 <= 97, lab.count.names.most_common(60)


def test_calls_per_connection() -> None:
    """Connect, a byte there and back, close: the whole life of a short connection."""
    lab = Lab()
    tcp = lab.b.tcp
    listener = tcp.listen(tcp.bindings.bind(Binding(addr.ANY4, 80)), 10, lab.now)

    def arrive() -> None:
        """What the peer sent; the program has its turn before the flush, as in an event loop."""
        lab.peer_turn()
        sink = lab.cable_b.sink
        assert sink is not None
        frames, lab.cable_a.out = lab.cable_a.out, []
        with lab.count:
            for frame in frames:
                sink.receive(frame, lab.now)
            lab.b.take_ready()

    def turn() -> None:
        client = lab.a.tcp.connect(Binding(b"", 0), addr.parse("192.0.2.2"), 80, lab.now)
        lab.step()
        lab.step()
        client.send(b"x", lab.now)
        arrive()
        with lab.count:
            server = listener.accept(lab.now)
            assert server is not None
            server.send(server.receive(100, lab.now) or b"", lab.now)
            lab.b.flush(lab.now)
        lab.peer_turn()
        client.receive(100, lab.now)
        client.close(lab.now)
        arrive()
        with lab.count:
            assert server.receive(100, lab.now) == b""
            server.close(lab.now)
            lab.b.flush(lab.now)
        lab.step()
        assert client.state == TIME_WAIT
        assert server.state == CLOSED

    turn()
    lab.watch()
    turn()
    assert lab.count.calls <= 288, lab.count.names.most_common(90)


def test_a_dead_connection_is_no_garbage() -> None:
    """Nothing waits for the cycle collector, nor for an entry of the heap to come up."""
    lab = Lab()
    client, server = lab.connect()
    client.send(b"x", lab.now)
    for _ in range(2):
        lab.step()
    assert not gc.isenabled()
    client.abort(lab.now)
    lab.step()
    assert server.state == CLOSED
    path = server.path
    before = sys.getrefcount(path)
    del server
    assert sys.getrefcount(path) == before - 1


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
