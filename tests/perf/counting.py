# SPDX-License-Identifier: Apache-2.0
"""Counting calls: two hosts on a plain cable, the second one watched.

What a frame costs is counted, not timed: Python functions called (`Count.calls`) and C functions
called from Python (`Count.builtins`) while the watched host works, by ``sys.setprofile``; and
memory blocks it allocated and did not free, by ``sys.getallocatedblocks``.  So a regression shows
on a noisy machine too.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Self

from capas.base.config import HostConfig
from capas.base.rng import Rng
from capas.bench.calls import Cable
from capas.host.host import Host
from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.wire import address as addr

STEP = 50_000  # ns of one way
SECOND = 1_000_000_000


class Count:
    """A context in which calls are counted."""

    def __init__(self) -> None:
        self.calls = 0
        self.builtins = 0
        self.names: Counter[str] = Counter()
        self.blocks = 0
        self.watching = False

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.calls += 1
            code = frame.f_code
            self.names[f"{code.co_filename.rpartition('capas/')[2]}:{code.co_name}"] += 1
        elif event == "c_call":
            self.builtins += 1

    def __enter__(self) -> Self:
        if self.watching:
            sys.setprofile(self._event)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.setprofile(None)


@dataclass
class Lab:
    """Peer ``a`` and watched host ``b``; the connection in between."""

    offload: bool = True
    family: int = 4
    count: Count = field(default_factory=Count)

    def __post_init__(self) -> None:
        config = HostConfig(dad_transmits=0)
        self.a, self.b = (Host(n, config, Rng(1).stream(n)) for n in "ab")
        self.cable_a, self.cable_b = Cable(self.offload), Cable(self.offload)
        self.a.attach(self.cable_a, addresses=("192.0.2.1/24", "2001:db8::1/64"))
        self.b.attach(self.cable_b, addresses=("192.0.2.2/24", "2001:db8::2/64"))
        self.now = SECOND
        self.frames_in = self.frames_out = 0

    def connect(self) -> tuple[TcpConnection, TcpConnection]:
        """An established connection, opened by the peer."""
        remote = addr.parse("192.0.2.2" if self.family == 4 else "2001:db8::2")
        wildcard = addr.ANY4 if self.family == 4 else addr.ANY6
        tcp = self.b.tcp
        listener = tcp.listen(tcp.bindings.bind(Binding(wildcard, 80)), 10, self.now)
        client = self.a.tcp.connect(Binding(b"", 0), remote, 80, self.now)
        for _ in range(4):
            self.step()
        server = listener.accept(self.now)
        assert server is not None
        return client, server

    def peer_turn(self) -> None:
        """The peer takes what came and sends what it has; not watched."""
        self.now += STEP
        self._turn(self.a, self.cable_b, self.now)

    def watched_turn(self) -> None:
        """The watched host takes what came and sends what it has."""
        self.now += STEP
        self.frames_in += len(self.cable_a.out)
        with self.count:
            self._turn(self.b, self.cable_a, self.now)
        self.frames_out += len(self.cable_b.out)

    def step(self) -> None:
        """Both, once."""
        self.peer_turn()
        self.watched_turn()

    def _turn(self, host: Host, source: Cable, now: int) -> None:
        link = host.interfaces[1].link
        sink = link.sink
        assert sink is not None
        frames, source.out = source.out, []
        for frame in frames:
            sink.receive(frame, now)
        host.advance(now)
        host.flush(now)
        host.take_ready()

    def watch(self) -> None:
        """From now on the watched host's calls count."""
        self.count.watching = True
        self.frames_in = self.frames_out = 0
