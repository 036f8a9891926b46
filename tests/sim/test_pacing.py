# SPDX-License-Identifier: Apache-2.0
"""SO_MAX_PACING_RATE: no connection sends faster than its user allows, whatever its algorithm."""

import socket
import time

import pytest

from capas.base.frame import Frame
from capas.link.interface import Interface
from capas.sim.world import World
from capas.sockets import modules

MAX_PACING_RATE = 47
RATE = 1_000_000  # bytes/s of payload; the cable has 125 times that
SIZE = 1_000_000
HEADERS = 66  # bytes: Ethernet, IPv4, TCP with timestamps
RUN = 2 * 1448  # bytes: the least that leaves at once (tcp_min_tso_segs)


class Meter:
    """A tap that keeps when how much payload left."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []

    def captured(self, interface: Interface, frame: Frame, outgoing: bool, now: int) -> None:
        if outgoing and len(frame) > 2 * HEADERS:
            self.sent.append((now, len(frame) - HEADERS))

    def burst(self, window: int) -> int:
        """The most that left within ``window`` ns."""
        most = 0
        for i, (begin, _) in enumerate(self.sent):
            inside = [size for when, size in self.sent[i:] if when < begin + window]
            most = max(most, sum(inside))
        return most


def transfer(congestion: str, *, listener: bool, rate: int, later: int | None = None):
    """(seconds it took, meter of the sender); the sender is the server if ``listener``."""

    def serve() -> None:
        with socket.socket() as listening:
            listening.setsockopt(socket.IPPROTO_TCP, 13, congestion.encode())
            if listener:
                listening.setsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, rate)
            listening.bind(("", 80))
            listening.listen()
            conn, _ = listening.accept()
            with conn:
                work(conn, listener)

    def call() -> float:
        with socket.socket() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, 13, congestion.encode())
            if not listener:
                sock.setsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, rate)
            sock.connect(("server", 80))
            begin = time.monotonic()
            if later is not None:
                sock.setsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, later)
            work(sock, not listener)
            return time.monotonic() - begin

    def work(sock: socket.socket, sends: bool) -> None:
        if sends:
            sock.sendall(bytes(SIZE))
            sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass

    world = World(seed=1)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, rate="1Gbit", delay="1ms")
    meter = Meter()
    (server if listener else client).interfaces[1].taps.append(meter)
    with world, modules.installed():
        serving = world.thread(server, serve)
        took = world.thread(client, call).result()
        serving.result()
    return took, meter


@pytest.mark.parametrize("listener", [False, True])
@pytest.mark.parametrize("congestion", ["reno", "cubic", "bbr"])
def test_every_algorithm_keeps_to_the_rate(congestion: str, listener: bool) -> None:
    took, meter = transfer(congestion, listener=listener, rate=RATE)
    assert SIZE / RATE * 0.98 < took < SIZE / RATE * 1.1  # BBR looks for the least delay meanwhile
    window = 20_000_000  # ns
    assert meter.burst(window) <= RATE * window // 1_000_000_000 + 2 * RUN


@pytest.mark.parametrize("congestion", ["cubic", "bbr"])
def test_repetitions_do_not_wait_for_the_rate(congestion: str) -> None:
    """A packet in five minutes: timeouts added up without any that was sent, and ended it."""
    size = 3000

    def serve() -> int:
        with socket.socket() as listening:
            listening.bind(("", 80))
            listening.listen()
            conn, _ = listening.accept()
            with conn:
                return sum(len(data) for data in iter(lambda: conn.recv(1 << 16), b""))

    def call() -> None:
        with socket.socket() as sock:
            sock.setsockopt(socket.IPPROTO_TCP, 13, congestion.encode())
            sock.setsockopt(socket.SOL_SOCKET, MAX_PACING_RATE, 5)
            sock.connect(("server", 80))
            sock.sendall(bytes(size))

    world = World(seed=1)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, delay="10ms", loss="30%")
    with world, modules.installed():
        serving = world.thread(server, serve)
        world.thread(client, call).result()
        assert serving.result() == size


def test_the_limit_may_be_lifted_and_lowered() -> None:
    unlimited, _ = transfer("cubic", listener=False, rate=-1)
    lifted, _ = transfer("cubic", listener=False, rate=RATE, later=-1)
    slower, _ = transfer("cubic", listener=False, rate=-1, later=RATE // 2)
    zero, _ = transfer("cubic", listener=False, rate=0)  # no limit, either (Linux)
    assert unlimited == lifted == zero < SIZE / RATE / 10
    assert SIZE / RATE * 1.95 < slower < SIZE / RATE * 2.1
