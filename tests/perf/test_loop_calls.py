# SPDX-License-Identifier: Apache-2.0
"""What asyncio's contract costs on a connection of ours: calls in ``aio`` and ``sockets``."""

import asyncio

import pytest

import capas

from .counting import Count

EXCHANGES = 50


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Ask(asyncio.Protocol):
    """Bytes there and back, one after the other."""

    def __init__(self):
        self.left = EXCHANGES
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"x")

    def data_received(self, data):
        self.left -= 1
        if self.left:
            self.transport.write(b"x")
        else:
            self.transport.close()
            self.done.set_result(None)


def calls(main) -> float:
    """How many there are per exchange, both ends together."""
    count = Count()
    count.watching = True
    world = capas.World(seed=1)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, delay="1ms")

    async def run():
        loop = asyncio.get_running_loop()
        await capas.spawn(server, loop.create_server(Echo, port=7))
        with count:
            await main(loop)

    capas.run(run, world=world, host=client)
    ours = (n for name, n in count.names.items() if name.startswith(("aio/", "sockets/")))
    return sum(ours) / EXCHANGES


async def one_after_the_other(loop):
    _, ask = await loop.create_connection(Ask, "server", 7)
    await ask.done


async def each_on_a_connection(loop):
    for _ in range(EXCHANGES):
        reader, writer = await asyncio.open_connection("server", 7)
        writer.write(b"x")
        await reader.read(1)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("main", "budget"), [(one_after_the_other, 23), (each_on_a_connection, 230)]
)
def test_calls_per_exchange(main, budget) -> None:
    each = calls(main)
    assert each <= budget, each
