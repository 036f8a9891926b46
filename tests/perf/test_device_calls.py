# SPDX-License-Identifier: Apache-2.0
"""Budgets of the way through a TUN device and the driver in real time, counted, not timed.

A `TunTap` on one end of a pair of sockets that keep frames apart, as the device's descriptor does;
a peer on the other, turn by turn, on a clock moved by hand.  What a turn of the driver costs
whatever it moves, and what each further frame costs, are counted apart: calls of Python functions
and of C functions, system calls among them.  A frame in a run should cost one system call and
little else.
"""

import os
import selectors
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from capas.base.clock import ManualClock
from capas.base.config import HostConfig
from capas.base.frame import GSO_TCPV4, GSO_TCPV6
from capas.base.rng import Rng
from capas.host.host import Host
from capas.link.link import GSO_MAX_BYTES, LinkCaps, Medium
from capas.real.devices import TunTap
from capas.real.driver import RealDriver
from capas.real.ports import Ports
from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.user import receive_into
from capas.wire import address as addr

from .counting import Count

pytestmark = [
    pytest.mark.skipif(not hasattr(socket, "SOCK_SEQPACKET"), reason="no such sockets"),
    pytest.mark.skipif(
        not (sys.modules[TcpConnection.__module__].__file__ or "").endswith(".py"),
        reason="compiled code makes no Python calls",
    ),
]

STEP = 100_000  # ns
TURNS = 20
#: Few and many frames in a turn; not more super-frames than a socket holds.
FRAMES = {True: (2, 4), False: (4, 12)}


class Bench:
    """A host behind a driver and its peer; a connection between them."""

    def __init__(self, offload: bool, family: int) -> None:
        gso = (GSO_TCPV4, GSO_TCPV6) if offload else ()
        caps = LinkCaps(1500, Medium.IP, offload, gso, train=(1 << 20) if offload else 60_000)
        header = 10 if offload else 0
        self.clock = ManualClock(1_000_000_000)
        self.driver = RealDriver(clock=self.clock)
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for one in pair:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * GSO_MAX_BYTES)
        self.far, near = (TunTap(one.detach(), "t0", caps, header, 0) for one in pair)
        config = HostConfig(dad_transmits=0, tcp_receive_buffer=1 << 20)
        self.peer = Host("peer", config, Rng(1))
        self.peer.attach(self.far, addresses=("192.0.2.1/24", "2001:db8::1/64"))
        self.host = self.driver.host("host", config)
        self.driver.attach(self.host, near, addresses=("192.0.2.2/24", "2001:db8::2/64"))
        wildcard, remote = (addr.ANY4, "192.0.2.2") if family == 4 else (addr.ANY6, "2001:db8::2")
        tcp = self.host.tcp
        listener = tcp.listen(tcp.bindings.bind(Binding(wildcard, 80)), 1, self.now)
        self.client = self.peer.tcp.connect(Binding(b"", 0), addr.parse(remote), 80, self.now)
        for _ in range(4):
            self.step()
        server = listener.accept(self.now)
        assert server is not None
        self.server = server
        self.count = Count()
        self.room = memoryview(bytearray(1 << 20))

    @property
    def now(self) -> int:
        return self.clock.time

    def step(self) -> None:
        self.peer_turn()
        self.driver.turn(self.now)
        self.driver.turn(self.now)  # begins with a flush

    def warm(self, data: bytes) -> None:
        """Until both windows let ``data`` through at once."""
        for end, other in ((self.client, self.server), (self.server, self.client)):
            for _ in range(10):
                assert end.send(data, self.now) == len(data)
                while end.tx.snd_una < end.tx.queue_end:
                    self.step()
                    other.receive(1 << 20, self.now)

    def peer_turn(self) -> None:
        """The peer answers each frame by itself; not watched."""
        self.clock.time += STEP
        sink = self.far.sink
        assert sink is not None
        while (frame := self.far.read(self.now)) is not None:
            sink.receive(frame, self.now)
            self.peer.flush(self.now)
        self.peer.advance(self.now)
        self.peer.flush(self.now)

    def send(self, data: bytes) -> None:
        """The watched host sends and hears the acknowledgements."""
        assert self.server.send(data, self.now) == len(data)
        with self.count:
            self.driver.turn(self.now)
        self.peer_turn()
        assert self.client.receive(1 << 20, self.now) == data
        with self.count:
            self.driver.turn(self.now)
        assert self.server.tx.snd_una == self.server.tx.queue_end

    def receive(self, data: bytes) -> None:
        """The watched host receives and acknowledges."""
        assert self.client.send(data, self.now) == len(data)
        self.peer_turn()
        with self.count:
            while (got := receive_into(self.server, self.room, self.now)) is None:
                self.driver.turn(self.now)
            self.driver.turn(self.now)
        assert got == len(data)
        self.peer_turn()


@pytest.fixture
def bench(offload: bool, family: int) -> Iterator[Bench]:
    found = Bench(offload, family)
    yield found
    found.driver.close()
    found.far.close()


@pytest.mark.parametrize(
    ("offload", "family", "sending", "turn", "frame"),
    [
        (True, 4, True, (130, 122), (1, 7)),  # its acknowledgement included
        (True, 6, True, (130, 111), (1, 7)),
        (True, 4, False, (131, 101), (1, 3)),
        (True, 6, False, (132, 96), (1, 3)),
        (False, 4, True, (126, 117), (4, 10.5)),
        (False, 4, False, (133, 108), (4, 9)),
    ],
)
def test_calls_of_a_turn_and_of_a_frame(
    bench: Bench, sending: bool, turn: tuple[float, float], frame: tuple[float, float]
) -> None:
    """``turn``, ``frame``: (Python, C) functions called by a turn besides frames, and by each."""
    mss = bench.server.tx.mss
    headers = 1500 - mss
    size = (GSO_MAX_BYTES - headers) // mss * mss if bench.far.header else mss
    move = bench.send if sending else bench.receive
    few, many = FRAMES[bool(bench.far.header)]
    bench.warm(bytes(many * size))
    costs = []
    for frames in (few, many):
        data = bytes(frames * size)
        move(data)
        bench.count = Count()
        bench.count.watching = True
        for _ in range(TURNS):
            move(data)
        costs.append((bench.count.calls / TURNS, bench.count.builtins / TURNS))
    each = [(more - less) / (many - few) for less, more in zip(*costs, strict=True)]
    rest = [less - few * one for less, one in zip(costs[0], each, strict=True)]
    assert each[0] <= frame[0] and each[1] <= frame[1], (each, bench.count.names.most_common(40))
    assert rest[0] <= turn[0] and rest[1] <= turn[1], (rest, bench.count.names.most_common(40))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no say in which processors")
@pytest.mark.parametrize("cores", [1, 2])
def test_nobody_looks_again_and_again_on_one_core(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a lively exchange a loop looks before it sleeps, unless the other end needs the core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    looks = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal looks
        looks += event == "call" and frame.f_code.co_name == "poll"

    def looks_again(ports: Ports) -> bool:
        nonlocal looks
        ports.wake()
        ports.sleep(60)  # it is woken at once: a lively exchange
        ports.take_in(0)
        looks = 0
        sys.setprofile(count)
        ports.sleep(0.01)
        sys.setprofile(None)
        return looks > 1

    ports = Ports(4)
    with selectors.DefaultSelector() as loop:
        ports.watch_loop(loop)
        # more than once: what takes long on a busy machine is no lively exchange
        assert any(looks_again(ports) for _ in range(20)) == (cores > 1)
        ports.watch_loop(None)
    ports.close()
