# SPDX-License-Identifier: Apache-2.0
"""A port to the real network: connections to a host of ours go on to a server of this machine.

After bytes went out to the real server, the virtual time of a world goes no faster than real time
until it answers, or has been silent for ``patience`` seconds.  Its answers come in pieces as the
machine likes, so a world with a gateway is not the same to the byte on each run.

    await capas.spawn(host, gateway.serve(6379, ("127.0.0.1", 6379)))
"""

import asyncio
import contextlib
from typing import Any, Final, final

from capas.sockets.current import require_host, use_host
from capas.sockets.driver import Driver, driver_of

#: Where the real server is: (address, port), or the path of a Unix socket.
Target = tuple[str, int] | str

PATIENCE: Final = 5.0  # s of real time for an answer to begin
_PIECES: Final = 0.02  # s of real time for an answer to go on
_CHUNK: Final = 65_536  # bytes


@final
class Gateway:
    """Passes connections on to ``target``; ``connections`` counts them."""

    def __init__(self, target: Target, driver: Driver, patience: float) -> None:
        self.target: Target = target
        self.driver: Driver = driver
        self.patience: float = patience
        self.connections: int = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection from our side."""
        self.connections += 1
        number = self.connections
        try:
            outer_reader, outer_writer = await self._connect(number)
        except OSError:
            writer.transport.abort()
            self.driver.expect((self, number), 0)
            return
        outward = asyncio.ensure_future(self._pump(reader, outer_writer, number, self.patience))
        try:
            await self._pump(outer_reader, writer, number, _PIECES)
            await outward
        finally:
            outward.cancel()
            self.driver.expect((self, number), 0)
            for end in (writer, outer_writer):
                end.close()

    async def _connect(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.driver.expect((self, number), self.patience)
        with use_host(None):
            if isinstance(self.target, str):
                return await asyncio.open_unix_connection(self.target)
            return await asyncio.open_connection(*self.target)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        patience: float,
    ) -> None:
        """Pass on bytes until the end of the stream; a reset is passed on as one."""
        try:
            while data := await reader.read(_CHUNK):
                writer.write(data)
                self.driver.expect((self, number), patience)
                await writer.drain()
        except OSError:
            writer.transport.abort()
            return
        self.driver.expect((self, number), patience)
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


async def serve(
    port: int, target: Target, *, address: str | None = None, patience: float = PATIENCE
) -> asyncio.Server:
    """Listen on ``port`` of the current host and pass connections on to the real ``target``."""
    gateway = Gateway(target, driver_of(require_host()), patience)
    settings: dict[str, Any] = {"limit": _CHUNK}
    return await asyncio.start_server(gateway.connected, address, port, **settings)
