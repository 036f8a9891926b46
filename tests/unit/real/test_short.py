# SPDX-License-Identifier: Apache-2.0
"""A short connection in real time: what a server sends for it, and what is left of it."""

import asyncio
import gc
import socket
from collections.abc import Iterator

import pytest

from capas.aio.loop import new_event_loop
from capas.aio.transport import StreamTransport
from capas.application import inetd
from capas.real.driver import RealDriver
from capas.real.pipe import Pipe
from capas.sockets.current import context_of

CONNECTIONS = 5


class Ask(asyncio.Protocol):
    """A byte there and back; the question goes with the last segment of the handshake."""

    def __init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"x")

    def data_received(self, data: bytes) -> None:
        assert data == b"x"
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.done.set_result(error)


@pytest.fixture
def driver() -> Iterator[RealDriver]:
    with RealDriver() as driver:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for name, end, last in zip("ab", ends, (1, 2), strict=True):
            driver.attach(driver.host(name), Pipe(end), addresses=[f"192.0.2.{last}/24"])
        yield driver


@pytest.mark.rfc("9293", "3.8.6.3")
def test_acknowledgements_ride_on_answers(driver: RealDriver) -> None:
    """SYN-ACK, the answer, FIN: the program has its turn before anything is acknowledged."""
    client, server = driver.hosts
    loop = new_event_loop(driver)

    async def ask() -> None:
        for _ in range(CONNECTIONS):
            _, protocol = await loop.create_connection(Ask, "192.0.2.2", inetd.PORTS["echo"])
            assert isinstance(protocol, Ask)
            assert await protocol.done is None
        while server.tcp.connections():
            await asyncio.sleep(0)

    async def run() -> None:
        serving = loop.create_task(inetd.start("echo"), context=context_of(server))
        with await serving:
            await loop.create_task(ask(), context=context_of(client))
            held = [o for o in gc.get_objects() if isinstance(o, StreamTransport)]
            mine = [t for t in held if t._loop is loop]  # other tests may have left theirs
            assert [t for t in mine if t._listening is not None] == []

    gc.collect()
    gc.disable()
    try:
        loop.run_until_complete(asyncio.wait_for(run(), 60))
    finally:
        gc.enable()
        loop.close()
    assert server.counters.get("tcp.passive_opens") == CONNECTIONS
    assert server.counters.get("tcp.acks_out") == 0
