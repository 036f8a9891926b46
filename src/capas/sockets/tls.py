# SPDX-License-Identifier: Apache-2.0
"""Blocking TLS without a kernel descriptor: `ssl.SSLSocket`'s surface over `ssl.MemoryBIO`.

`ssl.SSLContext.wrap_socket` hands the descriptor to OpenSSL, which a virtual one does not survive.
Here OpenSSL reads and writes memory, and the bytes go through the `Socket`.  Timeouts and
non-blocking mode are the socket's (SSLWantReadError, SSLWantWriteError as in `ssl`).
"""

import contextlib
import errno
import socket as std
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeVar

from capas.sockets.arguments import is_regular
from capas.sockets.failure import fail
from capas.sockets.socket import Socket

T = TypeVar("T")

_CHUNK: Final = 65_536  # bytes encrypted at once
_RECORD_HEADER: Final = 5  # bytes: type, version, length (RFC 8446 §5.1)


class TlsSocket(std.socket):
    """One end of a TLS connection over a `Socket`, which it takes over."""

    __slots__ = (
        "_context",
        "_head",
        "_incoming",
        "_inner",
        "_leaving",
        "_left",
        "_object",
        "_outgoing",
        "_ragged",
        "_settings",
        "server_hostname",
        "server_side",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        sock: Socket,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
        suppress_ragged_eofs: bool = True,
    ) -> None:
        self._io_refs = 0
        self._closed = False
        timeout = sock.gettimeout()
        self._inner: Socket = Socket(fileno=sock.detach(), host=sock.host)
        self._inner.settimeout(timeout)
        self._context: ssl.SSLContext = context
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._leaving: bytes = b""
        self._head: bytes = b""  # of a record header that came in pieces
        self._left: int = 0  # bytes of the record still to come
        self._ragged: bool = suppress_ragged_eofs
        self._settings = session
        self.server_side: bool = server_side
        self.server_hostname = server_hostname
        self._object: ssl.SSLObject | None = None
        if self._is_connected():
            self._begin()

    def _is_connected(self) -> bool:
        try:
            self._inner.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            return False
        return True

    def _begin(self) -> None:
        self._object = self._context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=self.server_side,
            server_hostname=self.server_hostname,
            session=self._settings,
        )

    # -- the engine -------------------------------------------------------------------------------

    def _tls(self) -> ssl.SSLObject:
        if self._object is None:
            raise fail(errno.ENOTCONN)
        return self._object

    def _flush(self) -> None:
        """Send what OpenSSL wrote."""
        self._leaving += self._outgoing.read()
        while self._leaving:
            try:
                sent = self._inner.send(self._leaving)
            except BlockingIOError:
                raise ssl.SSLWantWriteError(
                    ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)"
                ) from None
            self._leaving = self._leaving[sent:]

    def _fill(self) -> None:
        """Receive a record's header or body: never more, what follows TLS may be plain."""
        try:
            data = self._inner.recv(self._left or _RECORD_HEADER - len(self._head))
        except BlockingIOError:
            raise ssl.SSLWantReadError(
                ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)"
            ) from None
        if not data:
            self._incoming.write_eof()
            return
        self._incoming.write(data)
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            if len(self._head) == _RECORD_HEADER:
                self._left = int.from_bytes(self._head[3:], "big")
                self._head = b""

    def _drive(self, call: Callable[[], T]) -> T:
        """``call`` until OpenSSL wants nothing more."""
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLWantWriteError:
                self._flush()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert that says why
                raise
            else:
                self._flush()
                return result

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands; ``block``: even if the socket has a timeout of 0."""
        timeout = self.gettimeout()
        try:
            if timeout == 0.0 and block:
                self.settimeout(None)
            self._drive(self._tls().do_handshake)
        finally:
            self.settimeout(timeout)

    def unwrap(self) -> std.socket:
        """Say goodbye, hear it, and give back the plain socket."""
        self._drive(self._tls().unwrap)
        self._object = None
        self._closed = True
        return self._inner

    # -- data -------------------------------------------------------------------------------------

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """At most ``len`` bytes of text, or into ``buffer``."""
        tls = self._tls()
        try:
            if buffer is not None:
                return self._drive(lambda: tls.read(len, buffer))
            return self._drive(lambda: tls.read(len))
        except ssl.SSLZeroReturnError:
            return 0 if buffer is not None else b""
        except ssl.SSLEOFError:
            if self._ragged:
                return 0 if buffer is not None else b""
            raise

    def write(self, data: Any) -> int:
        """Encrypt and send; the number of bytes taken."""
        tls = self._tls()
        return self._drive(lambda: tls.write(data))

    def recv(self, bufsize: int = 1024, flags: int = 0, /) -> bytes:
        """At most ``bufsize`` bytes of text."""
        self._no_flags(flags, "recv")
        if self._object is None:
            return self._inner.recv(bufsize, flags)
        return bytes(self.read(bufsize)) if bufsize else b""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Into ``buffer``; the number of bytes."""
        self._no_flags(flags, "recv_into")
        view = memoryview(buffer).cast("B")
        size = nbytes or len(view)
        if self._object is None:
            return self._inner.recv_into(view, size)
        return int(self.read(size, view)) if size else 0

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Encrypt and send; the number of bytes taken."""
        self._no_flags(flags, "send")
        if self._object is None:
            return self._inner.send(data)
        view = memoryview(data).cast("B")
        return self.write(view) if len(view) else 0

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Encrypt and send all."""
        self._no_flags(flags, "sendall")
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            sent += self.send(view[sent : sent + _CHUNK])

    def _sendfile_use_sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """What `sendfile` of the base class calls: a virtual descriptor has no os.sendfile."""
        if not is_regular(file):
            return 0
        return self._sendfile_use_send(file, offset, count)  # type: ignore[no-any-return]

    @staticmethod
    def _no_flags(flags: int, name: str) -> None:
        if flags:
            raise ValueError(f"non-zero flags not allowed in calls to {name}() on TlsSocket")

    def sendto(self, *args: Any) -> int:
        """Not over TLS."""
        raise ValueError("sendto not allowed on instances of TlsSocket")

    def recvfrom(self, *args: Any) -> Any:
        """Not over TLS."""
        raise ValueError("recvfrom not allowed on instances of TlsSocket")

    def pending(self) -> int:
        """Bytes of text that can be read at once."""
        return self._object.pending() if self._object is not None else 0

    # -- connections ------------------------------------------------------------------------------

    def connect(self, address: Any) -> None:
        """Connect and shake hands."""
        if self._object is not None:
            raise ValueError("attempt to connect already-connected TlsSocket!")
        self._inner.connect(address)
        self._begin()
        self.do_handshake()

    def accept(self) -> tuple[Any, Any]:
        """Accept and wrap a connection of a listening server socket."""
        plain, address = self._inner.accept()
        assert isinstance(plain, Socket)
        return wrap_socket(self._context, plain, server_side=True), address

    def shutdown(self, how: int, /) -> None:
        """End the connection below; nothing is encrypted any more."""
        self._object = None
        self._inner.shutdown(how)

    def _real_close(self, *_: Any) -> None:
        self._object = None
        self._inner.close()

    def detach(self) -> int:
        """Give up the descriptor without closing it."""
        self._closed = True
        return self._inner.detach()

    # -- what the session is ----------------------------------------------------------------------

    @property
    def context(self) -> ssl.SSLContext:
        """The context it was made by."""
        return self._context

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session."""
        return self._object.session if self._object is not None else None

    @property
    def session_reused(self) -> bool | None:
        """Whether the session was resumed."""
        return self._object.session_reused if self._object is not None else None

    def __getattr__(self, name: str) -> Any:
        # getpeercert, cipher, version, selected_alpn_protocol, ...: the SSLObject's own
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._tls(), name)

    # -- the socket below -------------------------------------------------------------------------

    @property
    def family(self) -> Any:
        """Of the socket below."""
        return self._inner.family

    @property
    def type(self) -> Any:
        """Of the socket below."""
        return self._inner.type

    @property
    def proto(self) -> int:
        """Of the socket below."""
        return self._inner.proto

    @property
    def timeout(self) -> float | None:
        """Of the socket below."""
        return self._inner.timeout

    def fileno(self) -> int:
        """Of the socket below."""
        return self._inner.fileno()

    def settimeout(self, value: float | None) -> None:
        """Of the socket below."""
        self._inner.settimeout(value)

    def gettimeout(self) -> float | None:
        """Of the socket below."""
        return self._inner.gettimeout()

    def setblocking(self, flag: bool) -> None:
        """Of the socket below."""
        self._inner.setblocking(flag)

    def getblocking(self) -> bool:
        """Of the socket below."""
        return self._inner.getblocking()

    def getsockname(self) -> Any:
        """Of the socket below."""
        return self._inner.getsockname()

    def getpeername(self) -> Any:
        """Of the socket below."""
        return self._inner.getpeername()

    def bind(self, address: Any) -> None:
        """Of the socket below."""
        self._inner.bind(address)

    def listen(self, backlog: int = 128, /) -> None:
        """Of the socket below."""
        self._inner.listen(backlog)

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """Of the socket below."""
        self._inner.setsockopt(level, optname, value, optlen)

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        """Of the socket below."""
        return self._inner.getsockopt(level, optname, buflen)


def wrap_socket(
    context: ssl.SSLContext,
    sock: Socket,
    server_side: bool = False,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    server_hostname: str | bytes | None = None,
    session: ssl.SSLSession | None = None,
) -> TlsSocket:
    """`ssl.SSLContext.wrap_socket` for a socket of ours."""
    if sock.type != std.SOCK_STREAM:
        raise NotImplementedError("only stream sockets are supported")
    if server_side and server_hostname:
        raise ValueError("server_hostname can only be specified in client mode")
    if context.check_hostname and not server_side and not server_hostname:
        raise ValueError("check_hostname requires server_hostname")
    wrapped = TlsSocket(context, sock, server_side, server_hostname, session, suppress_ragged_eofs)
    if do_handshake_on_connect and wrapped._object is not None:
        if wrapped.gettimeout() == 0.0:
            raise ValueError(
                "do_handshake_on_connect should not be specified for non-blocking sockets"
            )
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
    return wrapped
