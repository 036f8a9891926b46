# SPDX-License-Identifier: Apache-2.0
"""Blocking TLS without a kernel descriptor: Python's own `ssl.SSLSocket` above sockets of ours.

`ssl.SSLSocket` is Python code above a socket that it inherits from, and above OpenSSL's end of a
connection (``_sslobj``), which reads and writes a kernel descriptor.  Here it inherits from
`Socket`, and OpenSSL's end is an `Engine`: it reads and writes memory, whose bytes go through the
socket.  All else, surface and errors, is the interpreter's.
"""

import contextlib
import functools
import ssl
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from capas.sockets.current import use_host
from capas.sockets.socket import Socket
from capas.transport.endpoint import READ, WRITE

T = TypeVar("T")

_RECORD: Final = 16_384  # bytes of text in one record at most (RFC 8446 §5.1)
_RECORD_HEADER: Final = 5  # bytes: type, version, length


class Engine:
    """One end of a TLS connection over ``sock``, in the place of OpenSSL's own (`ssl._SSLSocket`).

    Timeouts count for a whole call; what a call would have to wait for in non-blocking mode is
    SSLWantReadError or SSLWantWriteError.  What is not here is asked of OpenSSL's end.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        sock: Socket,
        server_side: bool,
        server_hostname: str | None,
        *,
        owner: ssl.SSLSocket,
        session: ssl.SSLSession | None,
    ) -> None:
        self._sock = weakref.ref(sock)  # it holds us
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._leaving: bytes = b""  # encrypted, not taken by the socket yet
        self._flushing: bool = False  # a thread sends that, and what others add
        self._text: int | None = None  # bytes of a record whose sending failed: to be given again
        self._head: bytes = b""  # of a record header that came in pieces
        self._left: int = 0  # bytes of the record still to come
        self._end: Any = context._wrap_bio(  # type: ignore[attr-defined]
            self._incoming,
            self._outgoing,
            server_side,
            server_hostname,
            owner=owner,
            session=session,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    @property
    def context(self) -> ssl.SSLContext:
        """The context; a callback for server names may give it another."""
        return self._end.context  # type: ignore[no-any-return]

    @context.setter
    def context(self, context: ssl.SSLContext) -> None:
        self._end.context = context

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session; before the handshake: the one to resume."""
        return self._end.session  # type: ignore[no-any-return]

    @session.setter
    def session(self, session: ssl.SSLSession) -> None:
        self._end.session = session

    # -- the bytes below --------------------------------------------------------------------------

    def _socket(self) -> Socket:
        sock = self._sock()
        if sock is None:
            raise ReferenceError("the socket below TLS is gone")
        return sock

    def _flush(self, deadline: int) -> None:
        """Send what OpenSSL wrote; a thread that reads does not wait for one that writes."""
        sock = self._socket()
        with sock._driver.lock:
            self._leaving += self._outgoing.read()
            if self._flushing or not self._leaving:
                return
            self._flushing = True
        try:
            while self._leaving:
                send = partial(sock.description.send, self._leaving, 0, None, [])
                sent = sock._retry(send, WRITE, 0, deadline)
                with sock._driver.lock:
                    self._leaving = self._leaving[sent:]
        except BlockingIOError:
            raise ssl.SSLWantWriteError(
                ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)"
            ) from None
        finally:
            self._flushing = False

    def _fill(self, deadline: int) -> None:
        """Receive a record's header or body: never more, what follows TLS may be plain."""
        sock = self._socket()
        room = self._left or _RECORD_HEADER - len(self._head)
        receive = partial(sock.description.receive, room, 0)
        try:
            data = sock._retry(receive, READ, 0, deadline).data
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

    def _drive(self, call: Callable[[], T], deadline: int) -> T:
        """``call`` until OpenSSL wants nothing more."""
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self._flush(deadline)
                self._fill(deadline)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush(deadline)  # the alert that says why
                raise

    # -- what `ssl.SSLSocket` asks for ------------------------------------------------------------

    def do_handshake(self) -> None:
        """Shake hands."""
        deadline = self._socket()._deadline()
        self._drive(self._end.do_handshake, deadline)
        self._flush(deadline)

    def read(self, *args: Any) -> Any:
        """``read(len[, buffer])``: text, or how much of it is in the buffer now."""
        deadline = self._socket()._deadline()
        got = self._drive(lambda: self._end.read(*args), deadline)
        with contextlib.suppress(OSError):  # else what was read would be lost
            self._flush(deadline)
        return got

    def write(self, data: Any) -> int:
        """Encrypt and send a record; the number of bytes of text in it.

        As with OpenSSL the same data is to be given again after an error that says "try again":
        the record made of it is sent on, and not made anew.
        """
        deadline = self._socket()._deadline()
        text, self._text = self._text, None
        if text is None:
            self._flush(deadline)
            view = memoryview(data).cast("B")[:_RECORD]
            text = self._drive(lambda: self._end.write(view), deadline)
        try:
            self._flush(deadline)
        except OSError:
            self._text = text
            raise
        return text

    def shutdown(self) -> Socket:
        """Say goodbye and hear it; the socket, for what follows in plain text."""
        deadline = self._socket()._deadline()
        self._drive(self._end.shutdown, deadline)
        self._flush(deadline)
        return self._socket()


@functools.cache
def over_ours(kind: Any) -> Any:
    """``kind``, `ssl.SSLSocket` or a class of somebody's own below it, with `Socket` as its base.

    What it calls by ``super()`` is then ours.
    """
    return type(kind.__name__, (kind, Socket), {"__module__": kind.__module__})


def wrap_socket(context: ssl.SSLContext, sock: Socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
    """`ssl.SSLContext.wrap_socket` for a socket of ours, which is taken over."""
    names = ("server_side", "do_handshake_on_connect", "suppress_ragged_eofs", "server_hostname")
    given = {**dict(zip((*names, "session"), args, strict=False)), **kwargs}
    with use_host(sock.host):
        kind: Any = context.sslsocket_class
        return over_ours(kind)._create(sock, context=context, **given)  # type: ignore[no-any-return]
