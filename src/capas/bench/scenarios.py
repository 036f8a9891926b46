# SPDX-License-Identifier: Apache-2.0
"""The scenarios of ``capas bench sim``: what ns-3 and other simulators are measured with, too.

S1  dumbbell: 10 bulk senders, access 1 Gbit/s 1 ms, bottleneck 100 Mbit/s 20 ms with 100 packets of
    tail drop, CUBIC, 10 simulated seconds
S2  one flow, 1 Gbit/s, 1 ms, no loss, 500 MB
S3  a tree of 1,000 hosts under 100 leaf, 10 middle and 1 root router; 500 pairs, each a new
    connection, 100 bytes up and 10 KB down, every second for 10 s; asyncio programs on every host
S4  one flow, 50 Mbit/s, 40 ms one way, 1 % random loss of data, 20 simulated seconds

Each returns its goodput in bit/s and how long virtual time ran, in ns.  Bulk senders and receivers
sit on the stack's own endpoints; they are the "bulk application" of other simulators.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from capas.aio.loop import new_event_loop
from capas.base.clock import SECOND
from capas.base.config import HostConfig
from capas.host.host import Host
from capas.sim.world import World
from capas.sockets.current import context_of, use_host
from capas.transport.endpoint import Endpoint
from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.wire import address as addr

_CHUNK: Final = 1 << 18  # bytes per call of a bulk application
_PORT: Final = 5001


class _Watcher:
    """Calls ``act`` when its endpoint gains readiness."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        self._act()


class _Bulk:
    """One flow from ``a`` to ``b``: as many bytes as go, or ``limit``."""

    def __init__(self, world: World, a: Host, b: Host, limit: int = 0) -> None:
        self.world, self.a, self.b, self.limit = world, a, b, limit
        self.sent = self.received = 0
        self._data = bytes(_CHUNK)
        self._accepted: TcpConnection | None = None
        target = next(x for x in world.names[b.name] if len(x) == 4)
        bindings = b.tcp.bindings
        self._listener = b.tcp.listen(bindings.bind(Binding(addr.ANY4, _PORT)), 8, world.now)
        self.connection = a.tcp.connect(Binding(b"", 0), target, _PORT, world.now)
        self._listener.endpoint.watcher = _Watcher(self._accept)
        self.connection.endpoint.watcher = _Watcher(self._send)
        world.driver.kick(a)

    def _send(self) -> None:
        now, connection = self.world.now, self.connection
        while not self.limit or self.sent < self.limit:
            size = min(_CHUNK, self.limit - self.sent) if self.limit else _CHUNK
            taken = connection.send(self._data if size == _CHUNK else bytes(size), now)
            if not taken:
                break
            self.sent += taken
        self.world.driver.kick(self.a)

    def _accept(self) -> None:
        self._accepted = self._listener.accept(self.world.now)
        if self._accepted is not None:
            self._accepted.endpoint.watcher = _Watcher(self._receive)
            self._receive()

    def _receive(self) -> None:
        assert self._accepted is not None
        now = self.world.now
        while data := self._accepted.receive(_CHUNK, now):
            self.received += len(data)
        self.world.driver.kick(self.b)


def _config() -> HostConfig:
    return HostConfig(dad_transmits=0, tcp_congestion="cubic")


def dumbbell(seconds: int = 10, flows: int = 10, seed: int = 1) -> tuple[float, int]:
    """S1."""
    world = World(seed, config=_config())
    left, right = world.router("left"), world.router("right")
    world.link(left, right, rate="100Mbit", delay="20ms", queue=100)
    pairs = []
    for i in range(flows):
        a, b = world.host(f"a{i}"), world.host(f"b{i}")
        world.link(a, left, rate="1Gbit", delay="1ms")
        world.link(b, right, rate="1Gbit", delay="1ms")
        pairs.append((a, b))
    world.prepare()
    bulks = [_Bulk(world, a, b) for a, b in pairs]
    world.run(seconds)
    total = sum(bulk.received for bulk in bulks)
    return total * 8 / seconds, seconds * SECOND


def bulk(size: int = 500_000_000, seed: int = 1) -> tuple[float, int]:
    """S2."""
    world = World(seed, config=_config())
    a, b = world.host("a"), world.host("b")
    world.link(a, b, rate="1Gbit", delay="1ms")
    world.prepare()
    flow = _Bulk(world, a, b, size)
    world.run(lambda: flow.received >= size)
    return size * 8 * SECOND / world.now, world.now


def lossy(seconds: int = 20, seed: int = 1) -> tuple[float, int]:
    """S4."""
    world = World(seed, config=_config())
    a, b = world.host("a"), world.host("b")
    world.link(a, b, rate="50Mbit", delay="40ms", up={"loss": 0.01})
    world.prepare()
    flow = _Bulk(world, a, b)
    world.run(seconds)
    return flow.received * 8 / seconds, seconds * SECOND


def tree_world(seed: int, middle: int, leaves: int, hosts: int) -> tuple[World, list[Host]]:
    """A root, ``middle`` routers, ``leaves`` below each of them, ``hosts`` below each leaf."""
    world = World(seed, config=_config())
    root = world.router("root")
    found = []
    for m in range(middle):
        mid = world.router(f"m{m}")
        world.link(root, mid, rate="10Gbit", delay="1ms")
        for n in range(leaves):
            leaf = world.router(f"l{m}.{n}")
            world.link(mid, leaf, rate="1Gbit", delay="1ms")
            for h in range(hosts):
                host = world.host(f"h{m}.{n}.{h}")
                world.link(host, leaf, rate="100Mbit", delay="1ms")
                found.append(host)
    return world, found


def tree(
    seconds: int = 10, seed: int = 1, middle: int = 10, leaves: int = 10, hosts: int = 10
) -> tuple[float, int]:
    """S3: asyncio servers and clients."""
    world, every = tree_world(seed, middle, leaves, hosts)
    world.prepare()
    half = len(every) // 2
    servers, clients = every[:half], every[half:]
    received = 0
    page = bytes(10_000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)
        writer.write(page)
        writer.close()

    async def ask(name: str, offset: float) -> None:
        nonlocal received
        await asyncio.sleep(offset)
        for _ in range(seconds):
            begin = loop.time()
            reader, writer = await asyncio.open_connection(name, _PORT)
            writer.write(bytes(100))
            answered = await reader.read(-1)
            received += len(answered)
            writer.close()
            await asyncio.sleep(begin + 1 - loop.time())

    async def main() -> None:
        for server in servers:
            await loop.create_task(
                asyncio.start_server(answer, "0.0.0.0", _PORT), context=context_of(server)
            )
        tasks = []
        for i, (server, client) in enumerate(zip(servers, clients, strict=True)):
            address = addr.text(next(x for x in world.names[server.name] if len(x) == 4))
            work = ask(address, i / half)
            tasks.append(loop.create_task(work, context=context_of(client)))
        await asyncio.gather(*tasks)

    loop = new_event_loop(world.driver)
    try:
        with use_host(every[0]):
            loop.run_until_complete(main())
    finally:
        loop.close()
    return received * 8 * SECOND / world.now, world.now


SCENARIOS: Final[dict[str, Callable[[], tuple[float, int]]]] = {
    "S1": dumbbell,
    "S2": bulk,
    "S3": tree,
    "S4": lossy,
}
QUICK: Final[dict[str, Callable[[], tuple[float, int]]]] = {
    "S1": lambda: dumbbell(2),
    "S2": lambda: bulk(50_000_000),
    "S3": lambda: tree(2, middle=3, leaves=3),
    "S4": lambda: lossy(5),
}
