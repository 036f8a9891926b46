# SPDX-License-Identifier: Apache-2.0
"""Conversations in worlds drawn by a seed: settings of both ends, two cables, sizes, pauses, flaps.

Both programs write and read at once through blocking sockets.  Whatever was drawn: each byte
arrives once and in order, both ends come to the end of the stream, and afterwards no connection and
no byte in a queue is left.  More seeds: ``pytest tests/sim/test_random_worlds.py --worlds 5000``.
"""

import socket
import threading
import time
from random import Random
from typing import Any, Final

import capas
from capas.base.config import HostConfig
from capas.sim.wire import Wire

PORT: Final = 7
LONGEST: Final = 4 * 3600  # s of virtual time for a conversation; the worst drawn took 50 minutes
LINGERING: Final = 3600  # s until the last repeats of who has left are over


def pytest_generate_tests(metafunc: Any) -> None:
    metafunc.parametrize("seed", range(metafunc.config.getoption("--worlds")))


def settings(draw: Random) -> HostConfig:
    """A host that may lack any extension."""
    return HostConfig(
        tcp_sack=draw.random() < 0.8,
        tcp_timestamps=draw.random() < 0.8,
        tcp_window_scaling=draw.random() < 0.85,
        tcp_ecn=draw.choice([0, 1, 2]),
        tcp_mtu_probing=draw.choice([1, 2]),
        tcp_congestion=draw.choice(["cubic", "reno", "bbr"]),
        tcp_orphan_retries=25,  # who has closed repeats its last data through any loss drawn
    )


def cable(draw: Random) -> dict[str, Any]:
    """No corruption: flips cancel in a checksum one time in 32, and ARP has none."""
    return {
        "rate": draw.choice(["256kbit", "2Mbit", "20Mbit", "1Gbit"]),
        "delay": draw.choice(["0ms", "1ms", "10ms", "80ms", "300ms"]),
        "jitter": draw.choice(["0ms", "0ms", "1ms", "5ms"]),
        "loss": draw.choice([0, 0, 0.01, 0.05, 0.15]),
        "reorder": draw.choice([0, 0, 0.02, 0.2]),
        "duplicate": draw.choice([0, 0, 0.02, 0.2]),
        "queue": draw.choice([5, 20, 100, "codel", "fq_codel", "red"]),
    }


class Talker:
    """One end: writes its own data and reads the other's, in pieces and with pauses as drawn."""

    def __init__(self, draw: Random, size: int) -> None:
        self.data = draw.randbytes(size)
        self.heard = bytearray()
        self.over = False
        self._draw = Random(draw.random())
        self._buffers = draw.choice([0, 0, 4096, 20_000]), draw.choice([0, 0, 4096, 20_000])
        small = 1 if size < 5000 else 500
        self._pieces = draw.choice([small, 1448, 5000, 100_000])
        self._reads = draw.choice([small, 1448, 5000, 100_000])
        self._pause = draw.choice([0, 0, 0, 0.05, 1])
        self._nodelay = draw.random() < 0.3

    def prepare(self, sock: socket.socket) -> None:
        """Options that hold from the handshake on."""
        for option, size in zip((socket.SO_RCVBUF, socket.SO_SNDBUF), self._buffers, strict=True):
            if size:
                sock.setsockopt(socket.SOL_SOCKET, option, size)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, self._nodelay)

    def talk(self, sock: socket.socket) -> None:
        """The whole conversation."""
        writer = threading.Thread(target=self._write, args=(sock,))
        writer.start()
        while piece := sock.recv(self._draw.randint(1, self._reads)):
            self.heard += piece
            self._rest()
        writer.join()
        sock.close()
        self.over = True

    def _write(self, sock: socket.socket) -> None:
        sent = 0
        while sent < len(self.data):
            sent += sock.send(self.data[sent : sent + self._draw.randint(1, self._pieces)])
            self._rest()
        sock.shutdown(socket.SHUT_WR)

    def _rest(self) -> None:
        if self._pause and self._draw.random() < 0.02:
            time.sleep(self._pause)


def connect(family: int, talker: Talker) -> socket.socket:
    """SYNs and ARP may be lost for long, too."""
    while True:
        sock = socket.socket(family)
        talker.prepare(sock)
        try:
            sock.connect(("server", PORT))
        except OSError:
            sock.close()
            time.sleep(60)
        else:
            return sock


def flap(world: Any, draw: Random, wires: list[Wire]) -> None:
    """Some seconds without any answer, now and then."""
    for _ in range(draw.randint(1, 3)):
        time.sleep(5 * draw.random())
        wire = draw.choice(wires)
        world.change(wire, draw.choice(["up", "down", "both"]), loss=1.0)
        time.sleep(6 * draw.random())
        world.change(wire, "both", loss=0.01)


def test_a_conversation_comes_to_its_end(seed: int) -> None:
    draw = Random(seed)
    with capas.World(seed=seed) as world, capas.installed():
        ends = [world.host(name, config=settings(draw)) for name in ("client", "server")]
        router = world.router("router")
        mtu = draw.choice([576, 1280, 1500, 1500, 9000])
        cables = [cable(draw), cable(draw)]
        wires = [
            world.link(end, router, mtu=mtu, **one) for end, one in zip(ends, cables, strict=True)
        ]
        slow = any(one["rate"] == "256kbit" or one["loss"] > 0.1 for one in cables)
        most = draw.choice([1, 1000, 30_000] if slow else [1, 1000, 30_000, 300_000])
        talkers = [Talker(draw, draw.randint(0, most)) for _ in ends]
        family = socket.AF_INET if mtu < 1280 else draw.choice([socket.AF_INET, socket.AF_INET6])

        def serve() -> None:
            with socket.socket(family) as listener:
                talkers[1].prepare(listener)
                listener.bind(("", PORT))
                listener.listen(1)
                talkers[1].talk(listener.accept()[0])

        world.thread("server", serve)
        world.thread("client", lambda: talkers[0].talk(connect(family, talkers[0])))
        if draw.random() < 0.2:
            world.thread("router", flap, world, draw, wires)
        world.run(lambda: all(talker.over for talker in talkers) or world.time > LONGEST)
        assert [len(talker.heard) for talker in talkers] == [len(t.data) for t in talkers[::-1]]
        assert [talker.heard for talker in talkers] == [talker.data for talker in talkers[::-1]]
        assert world.time <= LONGEST
        world.run(world.time + LINGERING)
        assert [host.tcp.connections() for host in ends] == [[], []]
        assert [host.memory.used for host in ends] == [0, 0]
