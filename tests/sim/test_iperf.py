# SPDX-License-Identifier: Apache-2.0
"""Throughput tests between hosts of a world, and what a test server does with strangers."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import capas
from capas.application import iperf, iperf_ends
from capas.application.iperf import Interval, IperfError, Parameters
from capas.sim.world import World

RATE = 10_000_000  # bit/s of the link


def run(body: Callable[[], Coroutine[Any, Any, None]], **link: Any) -> None:
    world = World(seed=4)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, **{"rate": "10Mbit", "delay": "5ms", **link})

    async def main() -> None:
        with await capas.spawn(server, iperf_ends.start()):
            await body()

    with world:
        capas.run(main, world=world, host=client)


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_link_carries_its_rate(streams: int, reverse: bool) -> None:
    told: list[list[Interval]] = []

    async def body() -> None:
        wanted = Parameters(seconds=5, streams=streams, reverse=reverse)
        result = await iperf_ends.measure("server", parameters=wanted, tell=told.append)
        assert result.seconds == pytest.approx(5, abs=0.1)
        carried = sum(result.received) * 8 / max(result.seconds, result.far_seconds)
        # 1448 of 1514 bytes of a frame are payload; slow start costs some of 5 s
        assert 0.85 * RATE < carried <= RATE * 1448 / 1514
        assert sum(result.sent) >= sum(result.received)
        assert len(told) == 5 and all(len(rows) == streams for rows in told)
        assert sum(row.size for rows in told for row in rows) <= sum(result.sent)

    run(body)


def test_so_many_bytes() -> None:
    async def body() -> None:
        result = await iperf_ends.measure("server", parameters=Parameters(amount=1 << 20))
        assert result.sent == [1 << 20]
        # the rest was in the send buffer and on the way
        assert result.received[0] > (1 << 20) - 4_194_304

    run(body)


def test_the_next_test_comes_after_the_first() -> None:
    async def body() -> None:
        one = asyncio.create_task(iperf_ends.measure("server", parameters=Parameters(2)))
        await asyncio.sleep(1)
        with pytest.raises(IperfError, match="busy"):
            await iperf_ends.measure("server", parameters=Parameters(1))
        await one
        await iperf_ends.measure("server", parameters=Parameters(1))

    run(body)


@pytest.mark.parametrize(
    "words",
    [
        b"\0\0\0\2{}",  # neither TCP nor anything
        b'\0\0\0\x0c{"udp":true}',
        b'\0\0\0\x1c{"tcp":true,"parallel":9999}',
        b'\0\0\0\x1d{"tcp":true,"time":1e308}     ',
        b"\0\0\0\2[}",
        b"\0\0\xea\x60" + b"[" * 60_000,
        b"\xff\xff\xff\xff",
        b"",
    ],
)
def test_strangers_do_not_keep_others_out(words: bytes) -> None:
    async def body() -> None:
        reader, writer = await asyncio.open_connection("server", iperf.PORT)
        writer.write(b"a" * 36 + b"\0" + words)
        assert await reader.readexactly(1) == bytes((iperf.PARAM_EXCHANGE,))
        await reader.read()  # until it gives up on us
        writer.close()
        result = await iperf_ends.measure("server", parameters=Parameters(1))
        assert result.received[0] > 0

    run(body)


def test_who_says_too_much_is_cut_off() -> None:
    async def body() -> None:
        reader, writer = await asyncio.open_connection("server", iperf.PORT)
        writer.write(b"a" * 36 + b"\0" + b"\0\0\xff\xff" + b" " * (4 * iperf.JSON_MAX))
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1000):
                pass
        writer.close()

    run(body, rate="1Gbit")


def test_who_says_nothing_is_forgotten() -> None:
    async def body() -> None:
        reader, writer = await asyncio.open_connection("server", iperf.PORT)
        began = asyncio.get_running_loop().time()
        assert await reader.read() == b""
        assert asyncio.get_running_loop().time() - began == pytest.approx(iperf.PATIENCE, abs=1)
        writer.close()

    run(body)


def test_a_server_of_another_protocol() -> None:
    async def body() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(100))
            writer.close()

        async with await asyncio.start_server(echo, port=7):
            with pytest.raises(IperfError):
                await iperf_ends.measure("client", 7, Parameters(1))

    run(body)
