# SPDX-License-Identifier: Apache-2.0
"""The transport of a TCP connection in an event loop: asyncio's contract right on the connection.

Between asyncio's own selector transport and a connection of ours lie a socket object, a descriptor,
a selector and a handle for each event.  Here the transport itself watches the connection's endpoint
and one handle, made once, is put on the loop's queue when there is something to do; the socket of
an accepted connection is made when a program asks for it (`get_extra_info`).  Manners are those of
``asyncio.selector_events``; its private parts used here are pinned by a test.
"""

import asyncio
import sys
from asyncio import constants, log
from collections import deque
from contextvars import Context
from socket import SHUT_WR
from typing import TYPE_CHECKING, Any, Final, final

from capas.aio.holder import ConnectionHolder
from capas.aio.selector import READABLE, WRITABLE
from capas.base.clock import MS
from capas.host.host import Host
from capas.sockets.socket import Socket
from capas.sockets.stream import StreamDescription
from capas.transport.endpoint import Endpoint
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.user import receive, receive_into, send

if TYPE_CHECKING:
    from capas.aio.loop import CapasEventLoop

_BULK: Final = 1 << 16  # bytes in one read; then more may be on the device already
_TURN: Final = 2 * MS  # ns in which one connection may go on reading before others have a turn
_READ_SIZE: Final = 1 << 20  # bytes: a whole batch of frames, or data piles up and the cache cools
_SERVERS_NAME_CLIENTS: Final = sys.version_info >= (3, 13)  # of ``Server._attach``


@final
class StreamTransport(ConnectionHolder):
    """One connection; the watcher of its endpoint.  Arguments as for `ConnectionHolder`."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: "CapasEventLoop",
        host: Host,
        connection: TcpConnection,
        protocol: asyncio.BaseProtocol,
        context: Context,
        *,
        listening: StreamDescription | None = None,
        sock: Socket | None = None,
        waiter: "asyncio.Future[None] | None" = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        super().__init__(loop, host, connection, listening, sock, extra)
        self._waiter = waiter
        self._server = server
        self._context: Context = context
        self._handle: Any = asyncio.Handle(self._run, (), loop, context)
        self._queued: bool = True  # the handle is on the loop's queue
        self._begun: bool = False  # connection_made was called
        self._reading: bool = False  # whether readiness for reading is anybody's business
        self._paused: bool = False
        self._eof_read: bool = False
        self._eof_written: bool = False
        self._closing: bool = False
        self._lost: int = 0  # connection_lost is scheduled; then writes that came to nothing
        self._error: BaseException | None = None  # why, for connection_lost
        self._buffer: deque[bytes | memoryview] = deque()
        self._buffered: int = 0
        self._protocol: Any = protocol
        self._buffered_protocol: bool = isinstance(protocol, asyncio.BufferedProtocol)
        if server is not None:
            server._attach(self) if _SERVERS_NAME_CLIENTS else server._attach()
        if sock is None:
            self._endpoint.watcher = self
        else:
            self._watch(sock)
        if listening is None:
            self._loop._ready.append(self._handle)

    def __repr__(self) -> str:
        state = "closed" if self._ended else "closing" if self._closing else "open"
        return f"<StreamTransport {state} {self._connection.describe()}>"

    # -- what happens -----------------------------------------------------------------------------

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """Have the handle called, if there is something to do (level-triggered, as a selector).

        The driver says that the endpoint gained readiness, maybe in another thread.
        """
        ready = endpoint.readiness
        if not self._queued and (
            (self._reading and ready & READABLE) or (self._buffered and ready & WRITABLE)
        ):
            self._queued = True
            self._loop._ready.append(self._handle)

    def begin(self) -> None:
        """Begin an accepted connection: now, so that the next flush knows its answer."""
        self._handle._run()

    def _run(self) -> None:
        """The handle's callback."""
        try:
            if not self._begun:
                self._begin()
            elif self._lost:
                if self._handle is not None:
                    self._connection_lost(self._error)
            else:
                ready = self._endpoint.readiness
                if self._reading and ready & READABLE:
                    got = self._read()
                    if got >= _BULK:
                        until = self._driver.now() + _TURN
                        while got >= _BULK and self._reading and self._driver.now() < until:
                            got = self._read(True)
                if self._buffered and ready & WRITABLE:
                    self._send_buffered()
        finally:
            self._queued = False
            ready = self._endpoint.readiness
            if not self._lost and (ready & READABLE or self._buffered):
                self.endpoint_ready(self._endpoint)

    def _begin(self) -> None:
        self._begun = True
        waiter, self._waiter = self._waiter, None
        try:
            self._protocol.connection_made(self)
        finally:
            self._reading = not (self._closing or self._paused or self._eof_read)
            if waiter is not None:
                if not waiter.done():
                    waiter.set_result(None)
            elif self._reading and self._endpoint.readiness & READABLE:
                self._read()  # a request that came with the handshake

    def _read(self, pull: bool = False) -> int:
        """Hand one piece over, how many bytes; ``pull``: taken off the device just now."""
        protocol, connection, driver = self._protocol, self._connection, self._driver
        call = "get_buffer"  # what failed, if something does
        try:
            room = memoryview(protocol.get_buffer(-1)) if self._buffered_protocol else None
            if room is not None and not room:
                raise RuntimeError("get_buffer() returned an empty buffer")
            dirty = connection.dirty
            with driver.lock:
                if pull and not driver.pull(self._host, connection, room):
                    return 0
                if room is None:
                    data = receive(connection, _READ_SIZE, driver.now(), False)
                    got = None if data is None else len(data)
                else:
                    got = receive_into(connection, room, driver.now())
            if got is None:
                return 0
            if connection.dirty and not dirty:  # else somebody has kicked already
                driver.kick(self._host)
            if not got:
                call = "eof_received"
                if protocol.eof_received():
                    self._eof_read = True
                    self._set_reading()
                else:
                    self.close()
            elif room is not None:
                call = "buffer_updated"
                protocol.buffer_updated(got)
            else:
                call = "data_received"
                protocol.data_received(data)
            return got
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, f"Fatal error: protocol.{call}() call failed.")
        return 0

    def _send_buffered(self) -> None:
        buffer = self._buffer
        try:
            while buffer:
                data = buffer[0]
                taken = self._send(data)
                self._buffered -= taken
                if taken < len(data):
                    buffer[0] = memoryview(data)[taken:]
                    break
                buffer.popleft()
        except OSError as error:
            self._fatal_error(error, "Fatal write error on socket transport")
            return
        self._maybe_resume_protocol()  # type: ignore[attr-defined]  # may write
        if not buffer:
            if self._closing:
                self._connection_lost(None)
            elif self._eof_written:
                self._socket().shutdown(SHUT_WR)

    # -- writing ----------------------------------------------------------------------------------

    def _send(self, data: bytes | memoryview) -> int:
        """How much of ``data`` the connection took."""
        driver, connection = self._driver, self._connection
        dirty = connection.dirty
        with driver.lock:
            taken = send(connection, data, False, False)
        if taken and not dirty:
            driver.kick(self._host)
        return taken

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send now what there is room for, keep the rest."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        if self._lost:
            if self._lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                log.logger.warning("socket.send() raised exception.")
            self._lost += 1
            return
        data = bytes(data)  # no copy of bytes
        taken = 0
        if not self._buffered:
            try:
                taken = self._send(data)
            except OSError as error:
                self._fatal_error(error, "Fatal write error on socket transport")
                return
            if taken == len(data):
                return
        self._buffer.append(memoryview(data)[taken:] if taken else data)
        self._buffered += len(data) - taken
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def get_write_buffer_size(self) -> int:
        """Bytes the connection had no room for."""
        return self._buffered

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """FIN after what was written."""
        if self._closing or self._eof_written:
            return
        self._eof_written = True
        if not self._buffered:
            self._socket().shutdown(SHUT_WR)

    def _set_reading(self) -> None:
        self._reading = not (self._closing or self._paused or self._eof_read) and self._begun

    def is_reading(self) -> bool:
        """Neither paused nor closing."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """No more `data_received` until `resume_reading`."""
        if self.is_reading():
            self._paused = True
            self._reading = False

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if self._paused and not self._closing:
            self._paused = False
            self._set_reading()
            self.endpoint_ready(self._endpoint)

    def set_protocol(self, protocol: Any) -> None:
        """Somebody else is told from now on."""
        self._protocol = protocol
        self._buffered_protocol = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> Any:
        """Who is told."""
        return self._protocol

    # -- the end ----------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection failed."""
        return self._closing

    def close(self) -> None:
        """Close when everything written was taken; `connection_lost` follows."""
        if self._closing:
            return
        self._closing = True
        self._reading = False
        if not self._buffered:
            self._lost += 1
            if self._sock is None:
                self._close_connection()  # now: FIN rides on the acknowledgement of what was read
            self._loop._ready.append(self._handle)  # for `connection_lost`

    def abort(self) -> None:
        """Close at once; what was not taken is lost."""
        self._force_close(None)

    def _fatal_error(self, error: BaseException, message: str) -> None:
        if isinstance(error, OSError):
            if self._loop.get_debug():
                log.logger.debug("%r: %s", self, message, exc_info=True)
        else:
            facts = {"transport": self, "protocol": self._protocol}
            self._loop.call_exception_handler({"message": message, "exception": error, **facts})
        self._force_close(error)

    def _force_close(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._buffer.clear()
        self._buffered = 0
        self._closing = True
        self._reading = False
        self._lost += 1
        self._error = error
        self._loop._ready.append(self._handle)

    def _connection_lost(self, error: BaseException | None) -> None:
        self._lost = self._lost or 1
        try:
            self._protocol.connection_lost(error)
        finally:
            self._end()
            self._protocol = None
            self._handle = None  # the end of a cycle
            server, self._server = self._server, None
            if server is not None:
                server._detach(self) if _SERVERS_NAME_CLIENTS else server._detach()
