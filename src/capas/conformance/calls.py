# SPDX-License-Identifier: Apache-2.0
"""The system calls of scripts, as generators over the stack's non-blocking operations.

A call that would block yields the deadline (ns) at which it must be resumed at the latest; the
runner resumes it whenever the stack has moved.  It returns its result or raises OSError.
"""

import errno
import socket
import sys
from collections.abc import Callable, Generator
from typing import Final

from capas.base.clock import MS, NEVER
from capas.conformance import values
from capas.conformance.ast import Expression, Integer, SystemCall, Word
from capas.conformance.errors import Failed, NotApplicable
from capas.conformance.files import O_NONBLOCK, EpollFile, ScriptFile, SocketFile
from capas.conformance.flow import CONNECTING, LISTENING, NEW, SYNACK_ACKED, SYNACK_SENT, Flow
from capas.conformance.network import Network
from capas.conformance.segments import payload
from capas.conformance.settings import IPV4, MAPPED
from capas.conformance.symbols import errno_name
from capas.sockets.description import Address
from capas.sockets.stream import StreamDescription
from capas.transport.endpoint import ERROR, HANGUP, WRITE
from capas.wire import address as addr

Running = Generator[int, None, int]

MSG_PEEK: Final = 2
MSG_TRUNC: Final = 0x20
MSG_DONTWAIT: Final = 0x40
MSG_FASTOPEN: Final = 0x20000000


class Calls:
    """The system-call side of a run: descriptors, flows, and the calls by name."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.files: dict[int, ScriptFile] = {}
        self.flows: list[Flow] = []
        self.current: Flow | None = None  # the socket under test
        self.table: dict[str, Callable[[SystemCall], Running]] = {
            "socket": self._socket,
            "bind": self._bind,
            "listen": self._listen,
            "accept": self._accept,
            "connect": self._connect,
            "read": self._read,
            "recv": self._recv,
            "recvfrom": self._recv,
            "write": self._write,
            "send": self._send,
            "sendto": self._sendto,
            "shutdown": self._shutdown,
            "close": self._close,
            "fcntl": self._fcntl,
            "ioctl": self._ioctl,
            "getsockopt": self._getsockopt,
            "setsockopt": self._setsockopt,
        }

    def start(self, call: SystemCall) -> Running:
        """The running call; `NotApplicable` if there is no such call here."""
        method = self.table.get(call.name)
        if method is None:
            raise NotApplicable(f"the system call {call.name}()")
        return method(call)

    # -- descriptors ------------------------------------------------------------------------------

    def file(self, value: Expression) -> ScriptFile:
        """The file of a script's descriptor; EBADF."""
        found = self.files.get(values.integer(value))
        if found is None:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return found

    def socket_of(self, value: Expression) -> SocketFile:
        """The socket of a script's descriptor; ENOTSOCK."""
        found = self.file(value)
        if not isinstance(found, SocketFile):
            raise OSError(errno.ENOTSOCK, "Socket operation on non-socket")
        return found

    def flow_of(self, fd: int) -> Flow | None:
        """The flow of a descriptor."""
        for flow in reversed(self.flows):
            if flow.fd == fd:
                return flow
        return None

    def new_flow(self) -> Flow:
        """A new socket under test."""
        flow = Flow()
        self.flows.append(flow)
        self.current = flow
        return flow

    def new_fd(self, call: SystemCall, file: ScriptFile) -> int:
        """Enter ``file`` under the descriptor the script wants."""
        if not isinstance(call.result, Integer) or call.result.value < 0:
            raise Failed(f"{call.name}() succeeded", values.describe(call.result), "a descriptor")
        fd = call.result.value
        if fd in self.files:
            raise Failed(f"descriptor {fd} is open already")
        self.files[fd] = file
        return fd

    # -- opening ----------------------------------------------------------------------------------

    def _socket(self, call: SystemCall) -> Running:
        domain, kind, protocol = call.arguments
        version = self.network.settings.version
        family = socket.AF_INET if version == IPV4 else socket.AF_INET6
        if not values.is_ellipsis(domain):
            family = socket.AddressFamily(values.integer(domain))
        bits = values.integer(kind)
        if bits & 0xF != socket.SOCK_STREAM or values.integer(protocol) not in (0, 6):
            raise NotApplicable("sockets of other protocols than TCP")
        network = self.network
        description = StreamDescription(network.host, network.driver, int(family), 6)
        file = SocketFile(description)
        file.flags |= bits & O_NONBLOCK
        fd = self.new_fd(call, file)
        flow = self.new_flow()
        flow.fd = fd
        return fd
        yield NEVER

    def _local(self) -> Address:
        settings = self.network.settings
        if settings.version == MAPPED:
            return addr.ANY6, settings.bind_port, 0
        return settings.local, settings.bind_port, 0

    def _remote(self) -> Address:
        settings = self.network.settings
        return settings.remote, settings.connect_port, 0

    def _bind(self, call: SystemCall) -> Running:
        self.socket_of(call.arguments[0]).description.bind(self._local())
        return 0
        yield NEVER

    def _listen(self, call: SystemCall) -> Running:
        file = self.socket_of(call.arguments[0])
        file.description.listen(values.integer(call.arguments[1]))
        flow = self.flow_of(values.integer(call.arguments[0]))
        if flow is not None:
            flow.state = LISTENING
        return 0
        yield NEVER

    def _accept(self, call: SystemCall) -> Running:
        file = self.socket_of(call.arguments[0])
        while True:
            description = file.description.accept()
            if description is not None:
                break
            if file.nonblocking:
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
            yield NEVER
        fd = self.new_fd(call, SocketFile(description))
        connection = description.connection
        assert connection is not None
        wanted = connection.remote_address, connection.remote_port
        for flow in self.flows:
            if flow.state in (SYNACK_SENT, SYNACK_ACKED) and flow.remote == wanted:
                flow.fd = fd
        return fd

    def _connect(self, call: SystemCall) -> Running:
        file = self.socket_of(call.arguments[0])
        self._connecting(values.integer(call.arguments[0]))
        description = file.description
        if description.connect(self._remote()):
            return 0
        if file.nonblocking:
            raise OSError(errno.EINPROGRESS, "Operation now in progress")
        while not description.endpoint.readiness & (WRITE | ERROR | HANGUP):
            yield NEVER
        description.connected()
        return 0

    def _connecting(self, fd: int) -> None:
        flow = self.flow_of(fd)
        if flow is not None and flow.state == NEW:
            flow.state = CONNECTING
            settings = self.network.settings
            flow.remote = settings.remote, settings.connect_port

    # -- data -------------------------------------------------------------------------------------

    def _read(self, call: SystemCall) -> Running:
        fd, _, count = call.arguments
        return (yield from self._receive(self.socket_of(fd), values.integer(count), 0))

    def _recv(self, call: SystemCall) -> Running:
        fd, _, count, flags = call.arguments[:4]
        n = values.integer(count)
        return (yield from self._receive(self.socket_of(fd), n, values.integer(flags)))

    def _receive(self, file: SocketFile, count: int, flags: int) -> Running:
        while True:
            received = file.description.receive(count, flags & ~(MSG_DONTWAIT | MSG_TRUNC))
            if received is not None:
                break
            if file.nonblocking or flags & MSG_DONTWAIT:
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
            yield NEVER
        data = received.data
        if file.trusted and data != payload(file.taken, len(data)):
            raise Failed("the bytes read are not the bytes that were sent")
        if not flags & MSG_PEEK:
            file.taken += len(data)
        return len(data)

    def _write(self, call: SystemCall) -> Running:
        fd, buffer, count = call.arguments
        return (yield from self._transmit(fd, buffer, values.integer(count), 0))

    def _send(self, call: SystemCall) -> Running:
        fd, buffer, count, flags = call.arguments
        n = values.integer(count)
        return (yield from self._transmit(fd, buffer, n, values.integer(flags)))

    def _sendto(self, call: SystemCall) -> Running:
        fd, buffer, count, flags = call.arguments[:4]
        bits = values.integer(flags)
        n = values.integer(count)
        return (yield from self._transmit(fd, buffer, n, bits, len(call.arguments) > 4))

    def _transmit(
        self, fd: Expression, buffer: Expression, count: int, flags: int, to: bool = False
    ) -> Running:
        file = self.socket_of(fd)
        if isinstance(buffer, Word) and buffer.name == "NULL" and count:
            raise OSError(errno.EFAULT, "Bad address")
        patient = not (file.nonblocking or flags & MSG_DONTWAIT)
        fast = bool(flags & MSG_FASTOPEN) or file.description.deferred is not None
        if to or fast:
            self._connecting(values.integer(fd))
        address = self._remote() if to else None
        sent = 0
        flags &= ~MSG_DONTWAIT
        while True:
            try:
                taken = file.description.send(file.next_bytes(count - sent), flags, address, [])
            except OSError as error:
                if error.errno == errno.EINPROGRESS and patient:
                    fast = False
                    yield from self._handshake(file, count > 0)
                    flags &= ~MSG_FASTOPEN
                    address = None
                    continue
                if sent:
                    return sent
                raise
            if taken is None and not patient:
                if sent:
                    return sent
                raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
            sent += taken or 0
            file.written += taken or 0
            if patient and fast:
                fast = False  # blocks until the handshake is over, whatever went with the SYN
                yield from self._handshake(file, sent < count)
            if sent >= count or not patient:
                return sent
            flags &= ~MSG_FASTOPEN
            address = None
            yield NEVER

    def _handshake(self, file: SocketFile, more: bool) -> Running:
        if more and file.description.connection is not None:
            file.description.connection.life.writer_waits = True
        while not file.description.endpoint.readiness & (WRITE | ERROR | HANGUP):
            yield NEVER
        file.description.connected()
        return 0

    def _shutdown(self, call: SystemCall) -> Running:
        file = self.socket_of(call.arguments[0])
        file.description.shutdown(values.integer(call.arguments[1]))
        return 0
        yield NEVER

    def _close(self, call: SystemCall) -> Running:
        fd = values.integer(call.arguments[0])
        file = self.file(call.arguments[0])
        del self.files[fd]
        for other in self.files.values():
            if isinstance(other, EpollFile):
                other.interests.pop(fd, None)
        if isinstance(file, SocketFile):
            file.description.close()
        return 0
        yield NEVER

    # -- control ----------------------------------------------------------------------------------

    def _fcntl(self, call: SystemCall) -> Running:
        file = self.socket_of(call.arguments[0])
        command = values.integer(call.arguments[1])
        if command == 3:
            return file.flags
        if command != 4 or len(call.arguments) != 3:
            raise values.Unknown("fcntl() other than F_GETFL and F_SETFL")
        # Linux keeps the access mode whatever F_SETFL says.
        file.flags = 2 | values.integer(call.arguments[2]) & O_NONBLOCK
        return 0
        yield NEVER

    def _ioctl(self, call: SystemCall) -> Running:
        file = self.socket_of(call.arguments[0])
        request = values.integer(call.arguments[1])
        connection = file.description.connection
        if request == 0x541B:
            have = file.description.unread()
        elif request in (0x5411, 0x894B) and connection is not None:
            base = connection.tx.snd_una if request == 0x5411 else connection.tx.snd_nxt
            have = connection.tx.queue_end - base
        elif request == 0x8905:
            have = int(file.description.at_mark())
        else:
            raise NotApplicable(f"the ioctl request {values.describe(call.arguments[1])}")
        expected = values.integer(values.single(call.arguments[2]))
        if have != expected:
            raise Failed("ioctl(): the value", str(expected), str(have))
        return 0
        yield NEVER

    def _getsockopt(self, call: SystemCall) -> Running:
        fd, level, name, wanted, _ = call.arguments
        file = self.socket_of(fd)
        have = file.description.get_option(values.integer(level), values.integer(name))
        if not values.is_ellipsis(values.single(wanted)):
            expected = values.option_value(wanted)
            if isinstance(have, int) and isinstance(expected, int):
                if have & 0xFFFFFFFF != expected & 0xFFFFFFFF:
                    is_error = isinstance(name, Word) and name.name == "SO_ERROR"
                    shown = errno_name(have) if is_error else str(have)
                    raise Failed(
                        f"getsockopt({values.describe(name)})",
                        values.describe(values.single(wanted)),
                        shown,
                    )
            elif isinstance(have, bytes) and isinstance(expected, bytes):
                if have.rstrip(b"\0") != expected.rstrip(b"\0"):
                    raise Failed(f"getsockopt({values.describe(name)})", repr(expected), repr(have))
            else:
                raise values.Unknown("a value of another type than the option has")
        return 0
        yield NEVER

    def _setsockopt(self, call: SystemCall) -> Running:
        fd, level, name, value = call.arguments[:4]
        file = self.socket_of(fd)
        if isinstance(name, Word) and name.name == "TCP_INQ":
            file.inq = bool(values.option_value(value))
            return 0
        wanted = values.option_value(value)
        size = values.integer(call.arguments[4]) if len(call.arguments) > 4 else 4
        if isinstance(wanted, int) and size < 4:
            wanted = (wanted & 0xFFFFFFFF).to_bytes(4, sys.byteorder)[: max(size, 0)]
        file.description.set_option(values.integer(level), values.integer(name), wanted)
        return 0
        yield NEVER


def deadline_after(now: int, milliseconds: int) -> int:
    """When a poll or epoll_wait with this timeout gives up."""
    return NEVER if milliseconds < 0 else now + milliseconds * MS
