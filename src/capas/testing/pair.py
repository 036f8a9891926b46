# SPDX-License-Identifier: Apache-2.0
"""Two hosts on one wire in virtual time, and transfers that verify every byte.

    pair = Pair(seed=3, rate="10Mbit", delay="20ms", loss=0.02)
    result = pair.transfer(1 << 20)
    assert result.ok and result.goodput <= 10e6 / 8

Keyword arguments beyond the named ones go to `World.link`.  Units: bytes, seconds in results.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, final

from capas.base.clock import NEVER, SECOND
from capas.base.config import HostConfig
from capas.host.host import Host
from capas.sim.world import World
from capas.transport.endpoint import Endpoint
from capas.transport.ports import Binding
from capas.transport.tcp import states
from capas.transport.tcp.connection import TcpConnection
from capas.wire import address as addr

_PATTERN: Final = bytes((7 * i + i // 251) & 255 for i in range(1 << 16))
_READ: Final = 1 << 18
PORT: Final = 5001


@dataclass(slots=True)
class Result:
    """How a transfer went.

    ``ok``        every byte arrived once, in order, and both ends closed
    ``received``  bytes; ``seconds``: virtual, from the SYN to the last byte
    ``goodput``   bytes per second; ``error``: errno either end reported, 0 none
    """

    ok: bool
    received: int
    seconds: float
    goodput: float
    error: int
    retransmitted: int
    timeouts: int
    connection: TcpConnection


@final
class _Call:
    """A watcher that calls a function."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        self.function()


@final
class Transfer:
    """``size`` bytes from one host to another (``size`` NEVER: until the time is over)."""

    def __init__(
        self,
        world: World,
        source: Host,
        sink: Host,
        size: int,
        family: int = 4,
        port: int = PORT,
        chunk: int = 1 << 16,
        congestion: str = "",
        reads: int = _READ,
    ) -> None:
        self.world, self.source, self.sink = world, source, sink
        self.size, self.chunk, self.reads = size, chunk, reads
        self.sent = self.received = 0
        self.finished = -1  # ns, when the last byte was read
        self.error = 0
        self.ended = False
        self._hashes = sha256(), sha256()
        self._server: TcpConnection | None = None
        length = 4 if family == 4 else 16
        target = next(a for a in world.names[sink.name] if len(a) == length)
        wildcard = addr.ANY4 if family == 4 else addr.ANY6
        self.started = world.now
        self.listener = sink.tcp.listen(
            sink.tcp.bindings.bind(Binding(wildcard, port)), 1, world.now
        )
        self.listener.endpoint.watcher = _Call(self._accept)

        def setup(c: TcpConnection) -> None:
            if congestion:
                c.set_congestion(congestion)

        self.connection = source.tcp.connect(Binding(b"", 0), target, port, world.now, setup)
        self.connection.endpoint.watcher = _Call(self._write)
        world.driver.kick(source)

    def _write(self) -> None:
        c, now = self.connection, self.world.now
        if c.error:
            self.error, self.ended = c.error, True
            return
        try:
            while self.sent < self.size:
                at = self.sent % len(_PATTERN)
                data = _PATTERN[at : at + min(self.chunk, self.size - self.sent)]
                taken = c.send(data, now)
                if not taken:
                    break
                self._hashes[0].update(data[:taken])
                self.sent += taken
            if self.sent >= self.size and c.state in (states.ESTABLISHED, states.CLOSE_WAIT):
                c.shutdown(now)
        except OSError as error:
            self.error, self.ended = error.errno or -1, True
        self.world.driver.kick(self.source)

    def _accept(self) -> None:
        c = self.listener.accept(self.world.now)
        if c is not None:
            self._server = c
            c.endpoint.watcher = _Call(self._read)
            self._read()

    def _read(self) -> None:
        c, now = self._server, self.world.now
        assert c is not None
        try:
            while (data := c.receive(self.reads, now)) is not None:
                if not data:
                    self.ended = True
                    c.close(now)
                    break
                self._hashes[1].update(data)
                self.received += len(data)
                self.finished = now
        except OSError as error:
            self.error, self.ended = error.errno or -1, True
        self.world.driver.kick(self.sink)

    def result(self) -> Result:
        """What has come of it so far."""
        same = self._hashes[0].digest() == self._hashes[1].digest()
        span = (self.finished if self.ended else self.world.now) - self.started
        seconds = max(span, 1) / SECOND
        counters = self.source.counters
        return Result(
            self.received == self.size and same and self.ended and not self.error,
            self.received,
            seconds,
            self.received / seconds,
            self.error,
            counters.get("tcp.retransmitted"),
            counters.get("tcp.rto"),
            self.connection,
        )


@final
class Pair:
    """Hosts ``a`` and ``b`` of a `World`, one wire between them."""

    def __init__(
        self,
        *,
        seed: int = 1,
        family: int = 4,
        config: HostConfig | None = None,
        peer_config: HostConfig | None = None,
        exact: bool = False,
        **link: Any,
    ) -> None:
        self.family: int = family
        self.world: World = World(seed, config=_quiet(config), exact=exact)
        self.a: Host = self.world.host("a")
        self.b: Host = self.world.host("b", config=_quiet(peer_config or config))
        self.wire = self.world.link(self.a, self.b, **link)
        self.world.prepare()

    def start(self, size: int = NEVER, **transfer: Any) -> Transfer:
        """Begin a transfer from ``a`` to ``b``."""
        return Transfer(self.world, self.a, self.b, size, self.family, **transfer)

    def transfer(self, size: int, *, limit: float = 600, **transfer: Any) -> Result:
        """Move ``size`` bytes from ``a`` to ``b`` within ``limit`` virtual seconds."""
        run = self.start(size, **transfer)
        self.run(limit, lambda: run.ended or run.connection.state == states.CLOSED)
        return run.result()

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let virtual time pass, at most ``seconds``."""
        end = self.world.now + int(seconds * SECOND)
        self.world.driver.engine.run(end, until if until is not None else _never)

    def run_until_quiet(self) -> bool:
        """Go on until nothing is due for a minute; False if that never happens."""
        return self.world.run_until_quiet()


def _never() -> bool:
    return False


def _quiet(config: HostConfig | None) -> HostConfig:
    """No duplicate address detection or router solicitation beside the transfer."""
    config = config if config is not None else HostConfig()
    config.dad_transmits = 0
    config.accept_ra = False
    return config
