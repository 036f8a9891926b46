# SPDX-License-Identifier: Apache-2.0
"""What every server here shares: listening on both families, and closing again.

A `Service` is a running server: some listening TCP sockets, some UDP endpoints.  Both families are
served side by side, each by a socket of its own, so that a packed address is never ambiguous.  A
service holds at most `CONNECTIONS` at a time; who comes then is sent away and counted.
"""

import asyncio
import errno
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, final

#: Both wildcards: what a server listens on unless told otherwise.
ANY: Final = ("0.0.0.0", "::")

CONNECTIONS: Final = 8192  # open at a time, of one service

#: Errors that mean "this host does not have that family", RFC 4291 is optional equipment.
_NO_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


@final
class Service:
    """A running server: ``name`` and ``port`` as announced, and what must be closed.

    ``limit``    connections it holds at a time; ``open`` those it has, ``refused`` those sent away
    """

    __slots__ = ("closers", "limit", "name", "open", "port", "refused", "servers", "transports")

    def __init__(self, name: str, port: int) -> None:
        self.name: str = name
        self.port: int = port
        self.servers: list[asyncio.AbstractServer] = []
        self.transports: list[asyncio.DatagramTransport] = []
        self.closers: list[Callable[[], object]] = []
        self.limit: int = CONNECTIONS
        self.open: int = 0
        self.refused: int = 0

    def close(self) -> None:
        """Stop listening; connections that are open end as their protocols decide."""
        for close in self.closers:
            close()
        for server in self.servers:
            server.close()
        for transport in self.transports:
            transport.close()
        self.servers.clear()
        self.transports.clear()
        self.closers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Refused(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _capped(
    service: Service, factory: Callable[[], asyncio.BaseProtocol]
) -> Callable[[], asyncio.BaseProtocol]:
    """``factory``, but no more than ``service.limit`` of its protocols are connected at a time."""

    def make() -> asyncio.BaseProtocol:
        if service.open >= service.limit:
            service.refused += 1
            return _Refused()
        protocol = factory()

        def gone(exc: Exception | None) -> None:
            service.open -= 1
            del protocol.connection_lost  # the class's own again, and no cycle is left behind
            protocol.connection_lost(exc)

        service.open += 1
        protocol.connection_lost = gone  # type: ignore[method-assign]
        return protocol

    return make


async def listen_tcp(
    service: Service,
    factory: Callable[[], asyncio.BaseProtocol],
    port: int,
    addresses: Sequence[str] = ANY,
    backlog: int = 512,
) -> None:
    """Listen on ``port`` of each address; a family the host lacks is skipped if another works."""
    loop = asyncio.get_running_loop()
    factory = _capped(service, factory)
    missing: OSError | None = None
    before = len(service.servers)
    for address in addresses:
        try:
            server = await loop.create_server(factory, address, port, backlog=backlog)
        except OSError as error:
            if error.errno not in _NO_FAMILY:
                service.close()
                raise
            missing = error
        else:
            service.servers.append(server)
            if port == 0:
                port = server.sockets[0].getsockname()[1]
                service.port = port
    if missing is not None and len(service.servers) == before:
        service.close()
        raise missing


async def listen_udp(
    service: Service,
    factory: Callable[[], asyncio.DatagramProtocol],
    port: int,
    addresses: Sequence[str] = ANY,
) -> None:
    """Open a UDP endpoint on ``port`` of each address; as `listen_tcp` otherwise.

    asyncio leaves IPV6_V6ONLY to the system, so "::" comes first, and where it takes IPv4 too
    (RFC 3493 §5.3) an IPv4 wildcard that is "in use" afterwards is served already.
    """
    loop = asyncio.get_running_loop()
    missing: OSError | None = None
    opened = 0
    dual = False
    for address in sorted(addresses, key=lambda text: text != "::"):
        try:
            transport, _ = await loop.create_datagram_endpoint(factory, (address, port))
        except OSError as error:
            if dual and address == "0.0.0.0" and error.errno == errno.EADDRINUSE:
                continue
            if error.errno not in _NO_FAMILY:
                service.close()
                raise
            missing = error
        else:
            service.transports.append(transport)
            opened += 1
            dual = dual or address == "::"
    if missing is not None and not opened:
        service.close()
        raise missing
