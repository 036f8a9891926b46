# SPDX-License-Identifier: Apache-2.0
"""What a transport holds: a connection, and the socket of it that a program may ask for.

The socket of an accepted connection is made when somebody asks (`get_extra_info`, `write_eof`): few
programs do, and it costs as much as the connection's exchange of a byte.
"""

import contextlib
import warnings
from asyncio import transports, trsock
from typing import TYPE_CHECKING, Any, Final

from capas.host.host import Host
from capas.sockets.addresses import form
from capas.sockets.socket import Socket
from capas.sockets.stream import StreamDescription
from capas.transport.endpoint import Endpoint
from capas.transport.tcp.closing import close
from capas.transport.tcp.connection import TcpConnection

if TYPE_CHECKING:
    from capas.aio.loop import CapasEventLoop


HIGH_WATER: Final = 64 * 1024  # bytes: asyncio's limits of a write buffer
LOW_WATER: Final = 16 * 1024


class ConnectionHolder(transports._FlowControlMixin):
    """Gives the connection up once, whoever holds it then.

    ``listening``  the socket that accepted it, None for one that was connected
    ``sock``       its socket object, None until somebody asks
    """

    _loop: Any  # of the base class
    _extra: dict[str, Any]

    def __init__(
        self,
        loop: "CapasEventLoop",
        host: Host,
        connection: TcpConnection,
        listening: StreamDescription | None,
        sock: Socket | None,
        extra: dict[str, Any] | None,
    ) -> None:
        # As `_FlowControlMixin` and its base do, in three calls, with asyncio's limits.
        self._extra = {} if extra is None else extra
        self._loop = loop
        self._protocol_paused: bool = False
        self._high_water: int = HIGH_WATER
        self._low_water: int = LOW_WATER
        self._driver = loop.driver
        self._host: Host = host
        self._connection: TcpConnection = connection
        self._endpoint: Endpoint = connection.endpoint
        self._listening: StreamDescription | None = listening
        self._sock: Socket | None = sock
        self._ended: bool = False

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """The driver says the endpoint gained readiness."""
        raise NotImplementedError

    def _watch(self, sock: Socket) -> None:
        """Be told of readiness by way of the socket's description."""
        self._own(sock)
        self._extra["sockname"] = sock.getsockname()
        with contextlib.suppress(OSError):
            self._extra.setdefault("peername", sock.getpeername())

    def _end(self) -> None:
        """Give the connection or its socket up."""
        self._ended = True
        sock = self._sock
        if sock is None:
            if self._endpoint.watcher is self:  # not closed yet
                self._close_connection()
        else:
            with self._driver.lock:
                sock._description.unwatch(self)
            sock.close()

    def _close_connection(self) -> None:
        driver, connection = self._driver, self._connection
        dirty = connection.dirty
        with driver.lock:
            close(connection, driver.now())
        if not dirty:  # else somebody has kicked already
            driver.kick(self._host)

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not getattr(self, "_ended", True):
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._end()

    def _own(self, sock: Socket) -> None:
        """The transport owns ``sock``: it watches by way of its description."""
        sock.description.watch(self)
        self._loop._transports[sock.fileno()] = self

    def _socket(self) -> Socket:
        """The socket object, made now if there was none."""
        if self._sock is None:
            assert self._listening is not None
            description = self._listening.describe(self._connection)
            if self._connection.options.nodelay:
                description.settings.values["nodelay"] = 1
            sock = self._sock = Socket.of(description)
            sock.setblocking(False)
            if self._ended:
                sock.close()
            else:
                self._own(sock)
        return self._sock

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """ "socket", "sockname" and "peername" as in asyncio."""
        extra = self._extra
        if name not in extra:
            path = self._connection.path
            if name == "socket":
                extra[name] = trsock.TransportSocket(self._socket())
            elif self._listening is None:
                return default
            elif name == "sockname":
                extra[name] = form(self._listening.family, (path.local, path.local_port, 0))
            elif name == "peername":
                extra[name] = form(self._listening.family, (path.remote, path.remote_port, 0))
            else:
                return default
        return extra[name]
