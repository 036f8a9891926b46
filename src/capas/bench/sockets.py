# SPDX-License-Identifier: Apache-2.0
"""``capas bench sockets``: asyncio streams on a capas host against the kernel's loopback.

The same coroutines, once on the standard loop and 127.0.0.1 of this machine, once on a host in
virtual time and its own 127.0.0.1; both count in wall time.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple

from capas.bench.report import Report, Row, interleaved

_HOST: Final = "127.0.0.1"
_BLOCK: Final = 1 << 16  # bytes


async def round_trips(seconds: float) -> float:
    """1-byte questions and answers on one connection, per second."""
    done = asyncio.get_running_loop().create_future()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(16):
            writer.write(data)
        writer.close()
        done.set_result(None)

    async with await asyncio.start_server(echo, _HOST, 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        start, count = _wall(), 0
        while _wall() < start + seconds:
            for _ in range(20):
                writer.write(b"x")
                await reader.read(16)
            count += 20
        spent = _wall() - start
        writer.close()
        await done
    return count / spent


async def bulk(seconds: float) -> float:
    """Bytes per second through one connection."""
    got = 0
    done = asyncio.get_running_loop().create_future()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        while data := await reader.read(_BLOCK):
            got += len(data)
        writer.close()
        done.set_result(None)

    async with await asyncio.start_server(swallow, _HOST, 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        block = bytes(_BLOCK)
        start = _wall()
        while _wall() < start + seconds:
            writer.write(block)
            await writer.drain()
        writer.close()
        await done
        return got / (_wall() - start)


async def transactions(seconds: float) -> float:
    """Connect, ask, hear, close, per second."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(16))
        writer.close()

    async with await asyncio.start_server(answer, _HOST, 0) as server:
        address = server.sockets[0].getsockname()
        start, count = _wall(), 0
        while _wall() < start + seconds:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x")
            await reader.read(16)
            writer.close()
            count += 1
        return count / (_wall() - start)


_wall: Final = time.perf_counter  # bound here: in virtual time the module tells another


Program = Callable[[float], Coroutine[Any, Any, float]]


class _Kind(NamedTuple):
    """What is measured, and how it is shown."""

    name: str
    unit: str
    scale: float
    program: Program


KINDS: Final = {
    "round_trips": _Kind("1-byte round trips", "/s", 1.0, round_trips),
    "bulk": _Kind("bulk", "Gbit/s", 8e-9, bulk),
    "crr": _Kind("connect-request-close", "/s", 1.0, transactions),
}


def on_kernel(program: Program, seconds: float) -> float:
    """On the standard loop."""
    return asyncio.run(program(seconds))


def on_capas(program: Program, seconds: float) -> float:
    """On a host of a world of its own, whose time stands apart from the wall's."""
    from capas.aio.loop import new_event_loop
    from capas.sim.world import World
    from capas.sockets.current import use_host

    world = World(1)
    host = world.host("here")
    loop = new_event_loop(world.driver)
    try:
        with use_host(host):
            return loop.run_until_complete(program(seconds))
    finally:
        loop.close()


def measure(runs: int, seconds: float, progress: Callable[[str], None]) -> Report:
    """All rows."""
    report = Report("sockets", "asyncio streams on one host", "kernel loopback")
    for key, kind in KINDS.items():
        samples = interleaved(
            runs,
            {
                "capas": partial(on_capas, kind.program, seconds),
                "kernel loopback": partial(on_kernel, kind.program, seconds),
            },
            lambda text, name=kind.name: progress(f"{name}: {text}"),  # type: ignore[misc]
        )
        ours = samples.pop("capas")
        report.rows.append(Row(kind.name, kind.unit, ours, samples, key, kind.scale))
    report.notes.append("Client and server in one process on both sides; wall time.")
    return report
