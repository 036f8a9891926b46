# SPDX-License-Identifier: Apache-2.0
"""`Socket`: the surface, errors and constants of CPython's `socket.socket` on a host of ours.

It *is* a `socket.socket` by inheritance, so that ``isinstance`` tests and what CPython builds on
the class (`makefile`, context manager, `sendfile`, repr) hold; every call goes to a `Description`.
An operation that would block asks the driver to wait for the endpoint and tries again.
"""

import errno
import socket as std
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from capas.host.host import Host
from capas.sockets import addresses, options, resolver
from capas.sockets.arguments import (
    INT_MAX,
    IOV_MAX,
    c_int,
    c_ints,
    c_size,
    control,
    gathered,
    option,
    readable,
    writable,
)
from capas.sockets.blocking import BlockingHandle
from capas.sockets.current import current_host, require_host
from capas.sockets.description import Address, Ancillary, Received
from capas.sockets.failure import fail
from capas.sockets.files import positioned
from capas.sockets.flags import (
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_FASTOPEN,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
)
from capas.transport.endpoint import READ, WRITE

_CMSG_HEADER: Final = 16  # bytes of struct cmsghdr, 64 bit
_CMSG_ALIGN: Final = 8


class Socket(BlockingHandle):
    """A socket of the current host, or of ``host``."""

    __slots__ = ()

    # -- names ------------------------------------------------------------------------------------

    def _parse(self, address: Any, caller: str) -> Address:
        description = self.description
        host = description.host
        return addresses.parse(
            host,
            description.family,
            address,
            caller,
            lambda name, family: resolver.address_of(host, name, family),
        )

    def _form(self, address: Address | None) -> Any:
        return None if address is None else addresses.form(self._description.family, address)

    def bind(self, address: Any) -> None:
        """Bind to (host, port[, flowinfo, scope_id])."""
        parsed = self._parse(address, "bind")
        description = self._description
        mapped = len(parsed[0]) == 4 and description.family == std.AF_INET6
        if mapped and description.settings.get("v6only"):
            raise fail(errno.EINVAL)
        device = description.settings.values.get("device", 0)
        addresses.require_scope(description.host, parsed, device, known=True)
        with self._driver.lock:
            description.bind(parsed)

    def getsockname(self) -> Any:
        """The local address."""
        return self._form(self.description.local_address())

    def getpeername(self) -> Any:
        """The remote address; ENOTCONN."""
        return self._form(self.description.remote_address())

    # -- connections ------------------------------------------------------------------------------

    def listen(self, backlog: int = 128, /) -> None:
        """Accept connections, at most ``backlog`` waiting."""
        with self._driver.lock:
            self.description.listen(c_int(backlog))

    def accept(self) -> tuple[std.socket, Any]:
        """(new socket, address of the peer)."""
        accepted = self._retry(self.description.accept, READ, 0)
        connection = Socket.of(accepted)
        return connection, connection._form(accepted.accepted_from())

    def connect(self, address: Any) -> None:
        """Connect; with a timeout at most that long."""
        parsed = self._parse(address, "connect")
        description = self.description
        device = description.settings.values.get("device", 0) or description.local_address()[2]
        addresses.require_scope(description.host, parsed, device, known=False)
        with self._driver.lock:
            done = description.connect(parsed)
        if done:
            return
        if self._never_waits():
            raise fail(errno.EINPROGRESS)
        self._await_connection()

    def connect_ex(self, address: Any) -> int:
        """As `connect`, but an errno instead of an OSError (name errors are still raised)."""
        try:
            Socket.connect(self, address)  # a subclass of ours (TLS) has its own way
        except std.gaierror:
            raise
        except TimeoutError as error:
            return error.errno or errno.EAGAIN
        except OSError as error:
            if error.errno is None:
                raise
            return error.errno
        return 0

    def shutdown(self, how: int, /) -> None:
        """End one direction or both."""
        if c_int(how) not in (0, 1, 2):
            raise fail(errno.EINVAL)
        with self._driver.lock:
            self.description.shutdown(how)

    def get_inheritable(self) -> bool:
        """What `set_inheritable` said; virtual descriptors stay in this process all the same."""
        return self._fd in self._driver.descriptors.inheritable

    def set_inheritable(self, inheritable: bool) -> None:
        """Only remembered: see `get_inheritable`."""
        if self.description is not None:  # EBADF
            self._driver.descriptors.mark(self._fd, bool(c_int(inheritable)))

    # -- sending ----------------------------------------------------------------------------------

    def _send(self, data: Any, flags: int, to: Address | None, ancillary: Ancillary) -> int:
        view = readable(data)
        flags = c_int(flags)
        description = self.description
        stream = description.kind == options.STREAM
        try:
            if stream and flags & MSG_FASTOPEN and self._waits_for_all(flags):
                return self._send_opening(view, flags, to)
            sent = self._retry(lambda: description.send(view, flags, to, ancillary), WRITE, flags)
            if stream and sent < len(view) and self._waits_for_all(flags):
                sent += self._send_rest(memoryview(view)[sent:], flags)
        except BaseException:
            if type(view) is memoryview:
                view.release()  # the traceback would pin the caller's buffer (asyncio clears it)
            raise
        return sent

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send; the number of bytes taken."""
        return self._send(data, flags, None, [])

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all, the timeout counting for all together."""
        view = memoryview(readable(data))
        description = self.description
        deadline = -1 if self._timeout == 0 else self._deadline()
        sent = 0
        while True:
            send = partial(description.send, view[sent:], flags, None, [])
            sent += self._retry(send, WRITE, flags, deadline)
            if sent >= len(view):
                return

    def sendto(self, data: Any, *args: Any) -> int:
        """``sendto(data, [flags,] address)``."""
        if not 1 <= len(args) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(args) + 1} given)")
        view = readable(data)
        flags = c_int(args[0]) if len(args) == 2 else 0
        return self._send(view, flags, self._parse(args[-1], "sendto"), [])

    def sendmsg(
        self,
        buffers: Iterable[Any],
        ancdata: Iterable[tuple[int, int, Any]] = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        """Gather ``buffers`` into one send with control messages."""
        data = gathered(buffers)
        ancillary = control(ancdata)
        to = None if address is None else self._parse(address, "sendmsg")
        return self._send(data, flags, to, ancillary)

    def _sendfile_use_sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """What `sendfile` of the base class calls: the kernel knows no virtual descriptor."""
        source = positioned(file, offset)
        if source is None:
            return 0
        return self._sendfile_use_send(source, offset, count)  # type: ignore[attr-defined,no-any-return]

    # -- receiving --------------------------------------------------------------------------------

    def _receive(self, limit: int, flags: int) -> Received:
        flags = c_int(flags)
        description = self.description
        whole = flags & (MSG_WAITALL | MSG_OOB) == MSG_WAITALL
        if whole and description.kind == options.STREAM and limit:
            if flags & MSG_PEEK:
                return self._peek_all(limit, flags & ~MSG_WAITALL)
            return self._receive_all(limit, flags & ~MSG_WAITALL, limit)
        if self._timeout == 0:
            flags |= MSG_DONTWAIT
        values = description.settings.values
        if flags & MSG_PEEK and "peek_offset" in values:
            return self._peek_beyond(limit, flags)
        if "receive_low" in values and self._timeout != 0 and description.kind == options.STREAM:
            return self._receive_enough(limit, flags)
        return self._retry(lambda: description.receive(limit, flags), READ, flags)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """At most ``bufsize`` bytes; b"" at the end of the stream."""
        if c_size(bufsize) < 0:
            raise ValueError("negative buffersize in recv")
        return self._receive(bufsize, flags).data if bufsize else b""  # CPython asks nobody then

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """(data, address of the sender)."""
        if c_size(bufsize) < 0:
            raise ValueError("negative buffersize in recvfrom")
        received = self._receive(bufsize, flags)
        return received.data, self._form(received.source)

    def _room(self, buffer: Any, nbytes: int, name: str) -> memoryview:
        view = writable(buffer, f"{name}() argument 1")
        if c_size(nbytes) < 0:
            raise ValueError(f"negative buffersize in {name}")
        if nbytes > len(view):
            raise ValueError("buffer too small for requested bytes")
        return view[:nbytes] if nbytes else view

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Into ``buffer``; the number of bytes."""
        if not len(self._room(buffer, nbytes, "recv_into")):
            return 0  # CPython asks nobody then
        return self._receive_into(buffer, nbytes, flags, "recv_into")[0]

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """Into ``buffer``; (number of bytes, address)."""
        size, source = self._receive_into(buffer, nbytes, flags, "recvfrom_into")
        return size, self._form(source)

    def _receive_into(
        self, buffer: Any, nbytes: int, flags: int, name: str
    ) -> tuple[int, Address | None]:
        room = self._room(buffer, nbytes, name)
        received = self._receive(len(room), flags)
        room[: len(received.data)] = received.data
        return received.whole if flags & MSG_TRUNC else len(received.data), received.source

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[Any], int, Any]:
        """(data, control messages, flags, address)."""
        if c_size(bufsize) < 0:
            raise ValueError("negative buffer size in recvmsg()")
        if not 0 <= c_size(ancbufsize) <= INT_MAX:
            raise ValueError("invalid ancillary data buffer length")
        received = self._receive(bufsize, flags)
        messages, shown = _fit(received, ancbufsize)
        return received.data, messages, shown, self._form(received.source)

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """Scatter into ``buffers``; (number of bytes, control messages, flags, address)."""
        views = [writable(buffer, "recvmsg_into() argument 1") for buffer in _several(buffers)]
        if len(views) > IOV_MAX:
            raise fail(errno.EMSGSIZE)
        if not 0 <= c_size(ancbufsize) <= INT_MAX:
            raise ValueError("invalid ancillary data buffer length")
        received = self._receive(sum(len(view) for view in views), flags)
        data = received.data
        at = 0
        for view in views:
            part = data[at : at + len(view)]
            view[: len(part)] = part
            at += len(part)
        messages, shown = _fit(received, ancbufsize)
        return len(data), messages, shown, self._form(received.source)

    # -- options ----------------------------------------------------------------------------------

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """Set an option from an int or the bytes of a C value."""
        level, optname = c_ints(level, optname)
        if (value is None) != (optlen is not None):
            raise TypeError("socket option should be integer, bytes-like object or None")
        if optlen is not None and c_size(optlen):  # of nothing
            fits = 4 <= optlen & 0xFFFFFFFF <= INT_MAX
            raise fail(errno.EFAULT if fits else errno.EINVAL)
        kept = option(value) if optlen is None else b""
        with self._driver.lock:
            self.description.set_option(level, optname, kept)

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        """An option as int, or as at most ``buflen`` bytes."""
        level, optname = c_ints(level, optname)
        if buflen != 0 and not 0 <= c_int(buflen) <= 1024:
            raise OSError("getsockopt buflen out of range")
        with self._driver.lock:
            value = self.description.get_option(level, optname)
        if (level, optname) == (options.SOL_SOCKET, options.SO_COOKIE) and buflen < 8:
            raise fail(errno.EINVAL)
        if (level, optname) == (options.SOL_SOCKET, options.SO_MAX_PACING_RATE):
            assert isinstance(value, int)
            value = options.rate_bytes(value, buflen)
        if buflen:
            octet = options.as_octet(level, value, buflen)
            return options.as_bytes(value)[:buflen] if octet is None else octet
        return options.as_int(value)


def _several(buffers: Any) -> Iterable[Any]:
    if isinstance(buffers, bytes | bytearray | memoryview):
        raise TypeError("recvmsg_into() argument 1 must be an iterable")
    return list(buffers)


def _fit(received: Received, room: int) -> tuple[Ancillary, int]:
    """What of the control messages fits ``room`` bytes, and the flags (MSG_CTRUNC: not all)."""
    messages: Ancillary = []
    for level, kind, value in received.ancillary:
        need = _CMSG_HEADER + len(value)
        if need > room:
            if room >= _CMSG_HEADER:
                messages.append((level, kind, value[: room - _CMSG_HEADER]))  # cut, as in Linux
            return messages, received.flags | MSG_CTRUNC
        messages.append((level, kind, value))
        room -= -(-need // _CMSG_ALIGN) * _CMSG_ALIGN
    return messages, received.flags


def socketpair_of(host: Host | None = None, family: int = std.AF_INET) -> tuple[Socket, Socket]:
    """Two connected stream sockets over the host's loopback (there is no AF_UNIX in here)."""
    host = host or current_host() or require_host()
    with Socket(family, std.SOCK_STREAM, host=host) as listener:
        listener.bind(("127.0.0.1" if family == std.AF_INET else "::1", 0))
        listener.listen(1)
        client = Socket(family, std.SOCK_STREAM, host=host)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    assert isinstance(server, Socket)
    return client, server
