# SPDX-License-Identifier: Apache-2.0
"""redis-py and asyncpg in a virtual world, against real servers behind a gateway."""

import asyncio
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capas.application import gateway

START = 100  # s of real time for a server to start
TRIES = 5  # somebody else may take a free port before the server does


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def started(
    command: Callable[[int], list[str]], ready: bytes, log: Path, **how: Any
) -> "tuple[int, subprocess.Popen[bytes]]":
    """A server that says ``ready`` in its log, and its port of 127.0.0.1."""
    for _ in range(TRIES):
        port = free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(port), stdout=output, stderr=subprocess.STDOUT, **how
            )
        end = time.monotonic() + START
        while process.poll() is None and time.monotonic() < end:
            if ready in log.read_bytes():
                return port, process
            time.sleep(0.02)
        process.kill()
        process.wait()
    pytest.fail(f"the server did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that another user may enter; short, since servers make Unix sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="capas-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def redis_port(folder: Path) -> Iterator[int]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    words = f"{program} --loglevel notice --bind 127.0.0.1 --dir {folder} --port"
    port, process = started(
        lambda port: [*words.split(), str(port), "--save", ""],
        b"Ready to accept connections",
        folder / "redis.log",
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def postgres_tool(name: str) -> str:
    found = shutil.which(name) or max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default="")
    if not found:
        pytest.skip("postgresql is not installed")
    return found


@pytest.fixture(scope="module")
def postgres_port(folder: Path) -> Iterator[int]:
    as_user: dict[str, Any] = {"cwd": "/"}
    if os.geteuid() == 0:
        if "postgres:" not in Path("/etc/passwd").read_text("utf-8"):
            pytest.skip("postgres does not run as root, and there is no user postgres")
        as_user |= {"user": "postgres", "group": "postgres", "extra_groups": []}
    data = folder / "data"
    initdb = [postgres_tool("initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-N"]
    subprocess.run(initdb, check=True, capture_output=True, **as_user)
    settings = ["fsync=off", "max_connections=20", f"unix_socket_directories={folder}"]
    settings.append("listen_addresses=127.0.0.1")

    def command(port: int) -> list[str]:
        words = [postgres_tool("postgres"), "-D", str(data)]
        for setting in (*settings, f"port={port}"):
            words += ["-c", setting]
        return words

    ready = b"database system is ready to accept connections"
    port, process = started(command, ready, folder / "postgres.log", **as_user)
    try:
        yield port
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown
        process.wait()


def test_redis(lab: Any, redis_port: int) -> None:
    redis = pytest.importorskip("redis.asyncio")
    from redis.exceptions import ConnectionError as Lost

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await lab.serve(gateway.serve(6379, ("127.0.0.1", redis_port)))
        async with redis.Redis(host="b", socket_timeout=5, socket_connect_timeout=5) as client:
            assert await client.ping()
            begin = loop.time()
            for number in range(20):
                await client.set(f"key{number}", "x" * 5000)
            assert 20 * 0.04 <= loop.time() - begin < 20
            assert await client.get("key7") == b"x" * 5000
            async with client.pipeline() as pipe:
                for number in range(50):
                    pipe.incr("count", number)
                assert (await pipe.execute())[-1] == sum(range(50))
            results = await asyncio.gather(*(client.incr("many") for _ in range(10)))
            assert sorted(results) == list(range(1, 11))
            async with client.pubsub() as channel:
                await channel.subscribe("news")
                await client.publish("news", "hello")
                for _ in range(10):
                    message = await channel.get_message(timeout=5)
                    if message and message["type"] == "message":
                        break
                assert message["data"] == b"hello"
            with pytest.raises((TimeoutError, redis.RedisError)):
                async with asyncio.timeout(0.3):
                    await client.blpop("nothing", 0)
            await asyncio.sleep(1)  # so long the connection that was given up takes to end
            lab.world.change(lab.world.wires[0], loss="100%")
            with pytest.raises((TimeoutError, Lost, redis.RedisError)):
                await client.get("key7")
        server.close()

    lab.run(main)


def test_asyncpg(lab: Any, postgres_port: int) -> None:
    asyncpg = pytest.importorskip("asyncpg")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await lab.serve(gateway.serve(5432, ("127.0.0.1", postgres_port)))
        login = {"host": "b", "user": "tester", "database": "postgres", "ssl": False}
        connection = await asyncpg.connect(**login, timeout=10)
        await connection.execute("CREATE TEMPORARY TABLE t (n int, s text)")
        rows = [(number, "x" * 1000) for number in range(200)]
        await connection.executemany("INSERT INTO t VALUES ($1, $2)", rows)
        got = await connection.fetch("SELECT n, s FROM t ORDER BY n")
        assert [tuple(row) for row in got] == rows
        async with connection.transaction():
            async for row in connection.cursor("SELECT generate_series(1, 100) AS n", prefetch=10):
                assert 1 <= row["n"] <= 100
        begin = loop.time()
        assert await connection.fetchval("SELECT 1") == 1
        assert 0.04 <= loop.time() - begin < 10
        with pytest.raises(asyncio.TimeoutError):
            await connection.fetchval("SELECT pg_sleep(3)", timeout=0.3)
        assert await connection.fetchval("SELECT 2") == 2
        await connection.close()
        async with asyncpg.create_pool(**login, min_size=2, max_size=4) as pool:
            found = await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(10)))
            assert found == list(range(10))
        server.close()

    lab.run(main)
