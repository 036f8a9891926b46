# SPDX-License-Identifier: Apache-2.0
"""getaddrinfo and getnameinfo of a host, for event loops: questions without blocking."""

import asyncio
from typing import Any, Final, TypeVar

from capas.host.host import Host
from capas.sockets import dns
from capas.sockets.resolver import Info, Resolving, infos, naming
from capas.wire import address as addr

T = TypeVar("T")

_TCP_LIMIT: Final = 65_535  # bytes of a DNS message over TCP


class _Question(asyncio.DatagramProtocol):
    """Waits for the first datagram that answers ``message``."""

    def __init__(self, message: bytes, answer: "asyncio.Future[bytes | None]") -> None:
        self._message = message
        self._answer = answer

    def datagram_received(self, data: bytes, address: Any) -> None:
        if not self._answer.done() and dns.parse(data, self._message) is not None:
            self._answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self._answer.done():
            self._answer.set_result(None)


async def _over_udp(ask: dns.Ask) -> bytes | None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes | None] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Question(ask.message, answer), remote_addr=(addr.text(ask.server), dns.PORT)
    )
    try:
        transport.sendto(ask.message)
        async with asyncio.timeout(ask.timeout):
            return await answer
    finally:
        transport.close()


async def _over_tcp(ask: dns.Ask) -> bytes | None:
    async with asyncio.timeout(ask.timeout):
        reader, writer = await asyncio.open_connection(addr.text(ask.server), dns.PORT)
        try:
            writer.write(len(ask.message).to_bytes(2, "big") + ask.message)
            size = int.from_bytes(await reader.readexactly(2), "big")
            return await reader.readexactly(min(size, _TCP_LIMIT))
        finally:
            writer.close()


async def _run(asking: Resolving[T]) -> T:
    """Drive a generator of questions."""
    try:
        ask = next(asking)
        while True:
            try:
                reply = await (_over_tcp(ask) if ask.tcp else _over_udp(ask))
            except (OSError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
                reply = None
            ask = asking.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def getaddrinfo(
    host: Host, name: Any, port: Any, family: int, type: int, proto: int, flags: int
) -> list[Info]:
    """`loop.getaddrinfo` on ``host``."""
    if isinstance(name, bytes):
        name = name.decode("idna" if name else "ascii")
    return await _run(infos(host, name, port, int(family), int(type), proto, int(flags)))


async def getnameinfo(host: Host, sockaddr: Any, flags: int) -> tuple[str, str]:
    """`loop.getnameinfo` on ``host``."""
    return await _run(naming(host, sockaddr, int(flags)))
