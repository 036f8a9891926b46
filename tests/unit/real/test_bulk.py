# SPDX-License-Identifier: Apache-2.0
"""Bulk data between two hosts on devices in real time: what a transport reads is what was sent."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from capas.aio.loop import new_event_loop
from capas.link.link import ALL_GSO, LinkCaps, Medium
from capas.real.devices import TunTap
from capas.real.driver import RealDriver
from capas.sockets.current import context_of

DATA = b"".join(n.to_bytes(4, "big") for n in range(1_500_000))
PORT = 5000


class Copied(asyncio.Protocol):
    """Gets bytes."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.largest = 0
        self.done = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.largest = max(self.largest, len(data))

    def connection_lost(self, error: Exception | None) -> None:
        self.done.set_result(error)


class Placed(asyncio.BufferedProtocol, Copied):
    """Has memory of its own; it scribbles over it whenever it is its."""

    def __init__(self) -> None:
        Copied.__init__(self)
        self.room = bytearray(1 << 20)

    def get_buffer(self, sizehint: int) -> bytearray:
        self.room[:] = bytes(len(self.room))
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self.room[:nbytes])
        self.room[:] = b"x" * len(self.room)


class Little(Placed):
    """Its memory holds a part of a train.  ``waiting``: bytes there were at most besides."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.room = bytearray(1 << 17)
        self.waiting = 0

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        connection = self.transport._connection  # type: ignore[attr-defined]
        self.waiting = max(self.waiting, connection.rx.buffered)


class Send(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(DATA)
        transport.close()


@pytest.fixture
def driver() -> Iterator[RealDriver]:
    caps = LinkCaps(1500, Medium.IP, True, ALL_GSO)
    with RealDriver() as driver:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for name, end, last in zip("ab", ends, (1, 2), strict=True):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            device = TunTap(end.detach(), name, caps, 10, 0)
            addresses = (f"192.0.2.{last}/24", f"2001:db8::{last}/64")
            driver.attach(driver.host(name), device, addresses=addresses)
        yield driver


def deliver(driver: RealDriver, kind: type[Copied], remote: str, connections: int) -> list[Copied]:
    """`DATA` by each of so many connections at once; who got it."""
    a, b = (context_of(host) for host in driver.hosts)
    served: list[Copied] = []

    def serve() -> Copied:
        served.append(kind())
        return served[-1]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_task(loop.create_server(serve, remote, PORT), context=b)
        for _ in range(connections):
            await loop.create_task(loop.create_connection(Send, remote, PORT), context=a)
        while len(served) < connections:
            await asyncio.sleep(0)
        for one in served:
            assert await one.done is None
        server.close()

    loop = new_event_loop(driver)
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 60))
    finally:
        loop.close()
    for one in served:
        assert one.got == DATA
    return served


@pytest.mark.parametrize("kind", [Copied, Placed, Little])
@pytest.mark.parametrize("remote", ["192.0.2.2", "2001:db8::2"])
def test_the_same_bytes_arrive(driver: RealDriver, kind: type[Copied], remote: str) -> None:
    """Also by two connections at once, whose frames come between each other's."""
    served = deliver(driver, kind, remote, 2)
    assert max(one.largest for one in served) > 1 << 16


def test_what_is_there_is_read_before_more_is_fetched(driver: RealDriver) -> None:
    """Else a program that reads little at once would have a window of data pile up before it."""
    (one,) = deliver(driver, Little, "192.0.2.2", 1)
    assert isinstance(one, Little) and one.waiting < 3 << 20
