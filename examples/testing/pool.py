# SPDX-License-Identifier: Apache-2.0
"""A connection pool for a line protocol: ``SET``, ``GET`` and ``PING``, one line each.

A server that lost power cannot say goodbye: its connections stay in the pool, half open.  `Pool`
asks a connection that rested for a sign of life before it hands it out; `TrustingPool` only looks
whether the other side has closed it.
"""

import asyncio
from contextlib import asynccontextmanager


class Store:
    """The server."""

    def __init__(self):
        self.values = {}

    async def handle(self, reader, writer):
        while line := await reader.readline():
            word, *rest = line.decode().split()
            if word == "SET":
                self.values[rest[0]] = rest[1]
            answer = {"PING": "PONG", "SET": "OK"}.get(word) or self.values.get(rest[0], "-")
            writer.write(answer.encode() + b"\n")
        writer.close()


class TrustingPool:
    """The bug: what is not closed counts as alive."""

    def __init__(self, host, port, patience=2.0):
        self.host, self.port, self.patience = host, port, patience
        self.idle = []

    async def alive(self, reader, writer):
        return not reader.at_eof() and not writer.is_closing()

    @asynccontextmanager
    async def connection(self):
        while self.idle:
            reader, writer = self.idle.pop()
            if await self.alive(reader, writer):
                break
            writer.transport.abort()
        else:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            yield reader, writer
        except BaseException:
            writer.transport.abort()
            raise
        self.idle.append((reader, writer))

    async def ask(self, line):
        async with asyncio.timeout(self.patience), self.connection() as (reader, writer):
            return await exchange(reader, writer, line)


class Pool(TrustingPool):
    """Connections are asked for a sign of life."""

    async def alive(self, reader, writer):
        try:
            async with asyncio.timeout(self.patience / 4):
                return await exchange(reader, writer, "PING") == "PONG"
        except (OSError, TimeoutError):
            return False


async def exchange(reader, writer, line):
    writer.write(line.encode() + b"\n")
    answer = await reader.readline()
    if not answer:
        raise ConnectionResetError("the server closed the connection")
    return answer.decode().strip()
