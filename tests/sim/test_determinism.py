# SPDX-License-Identifier: Apache-2.0
"""One seed gives one run, byte by byte, whatever Python's own hashing does."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, hashlib, io, sys
from capas.aio.loop import new_event_loop
from capas.sim.topology import star
from capas.sim.world import World
from capas.sockets.current import use_host

world = World(seed=11)
_, hosts = star(world, 6, delay="3ms", jitter="1ms", rate="20Mbit", loss="2%", duplicate="1%",
                reorder="1%", corrupt="0.5%", queue="fq_codel")
file = io.BytesIO()
world.capture(file)

async def handle(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def one(host, number):
    with use_host(host):
        reader, writer = await asyncio.open_connection("h6", 7)
        writer.write(bytes(20_000 * number))
        writer.write_eof()
        count = len(await reader.read())
        writer.close()
        return count

async def main():
    with use_host(hosts[5]):
        server = await asyncio.start_server(handle, port=7)
    counts = await asyncio.gather(*(one(h, i + 1) for i, h in enumerate(hosts[:5])))
    server.close()
    return counts

with asyncio.Runner(loop_factory=lambda: new_event_loop(world.driver)) as runner:
    counts = runner.run(main())
world.close()
print(counts, world.now, len(file.getvalue()), hashlib.sha256(file.getvalue()).hexdigest())
"""


def outcome(hash_seed: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return result.stdout


@pytest.mark.slow
def test_captures_do_not_depend_on_the_hash_seed():
    first = outcome("0")
    assert first.startswith("[20000, 40000, 60000, 80000, 100000]")
    assert first == outcome("1") == outcome("4242")
