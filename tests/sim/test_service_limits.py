# SPDX-License-Identifier: Apache-2.0
"""Servers hold a bounded number of connections, whatever they serve; datagrams queue by bytes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import capas
from capas.application.serving import Service
from capas.sim.world import World


async def _inetd() -> Service:
    from capas.application import inetd

    return await inetd.start("echo")


async def _web() -> Service:
    from capas.application import web

    return await web.start()


async def _mail() -> Service:
    from capas.application import mail

    return await mail.start(store=mail.MemoryStore())


async def _names() -> Service:
    from capas.application import names

    return await names.start({"x.test": {"A": "192.0.2.1"}})


async def _iperf() -> Service:
    from capas.application import iperf_ends

    return await iperf_ends.start()


@pytest.mark.parametrize("start", [_inetd, _web, _mail, _names, _iperf])
def test_connections_of_a_service_are_capped(start: Callable[[], Awaitable[Service]]) -> None:
    if start not in (_inetd, _iperf):
        pytest.importorskip("uvicorn", reason="needs capas[tools]")
    world = World(seed=1)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, delay="1ms")

    async def main() -> None:
        service: Any = await capas.spawn(server, start())  # type: ignore[arg-type]
        service.limit = 2
        pairs = [await asyncio.open_connection("server", service.port) for _ in range(5)]
        await asyncio.sleep(0.1)
        assert (service.open, service.refused) == (2, 3)
        for reader, _ in pairs[2:]:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""  # sent away at once
        for _, writer in pairs[:2]:
            writer.close()
        await asyncio.sleep(1)
        assert service.open == 0
        _, writer = await asyncio.open_connection("server", service.port)
        await asyncio.sleep(0.1)
        assert (service.open, service.refused) == (1, 3)
        writer.close()
        service.close()

    with world:
        capas.run(main, world=world, host=client)
