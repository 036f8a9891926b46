# SPDX-License-Identifier: Apache-2.0
"""A stream socket: TCP below POSIX's calls (RFC 9293 §3.9, man 7 tcp).

It begins idle, with an endpoint of its own that shows what Linux's poll shows for such a socket
(writable, hung up), and becomes a listener or a connection, whose endpoint takes over.  Options set
before that wait in `Settings` and are written to each connection as it is made; accepted
connections inherit the listener's (as in Linux).
"""

import errno
import socket
from functools import partial
from typing import Final

from capas.base.checksum import Buffer
from capas.host.host import Host
from capas.sockets import fastopen, options, peeking, streamoptions
from capas.sockets.addresses import reached
from capas.sockets.description import Address, Ancillary, Description, Received
from capas.sockets.driver import Driver
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_EOR, MSG_ERRQUEUE, MSG_MORE, MSG_OOB, MSG_PEEK, MSG_TRUNC
from capas.sockets.streamoptions import apply_connection, apply_listener
from capas.transport.endpoint import ERROR, HANGUP, WRITE
from capas.transport.ports import Binding
from capas.transport.tcp import states, urgent
from capas.transport.tcp.connection import TcpConnection
from capas.transport.tcp.layer import TcpLayer
from capas.transport.tcp.listener import TcpListener
from capas.transport.way import is_own
from capas.wire import address as addr

#: connection states in which there is no peer to name
_PEERLESS: Final = (states.CLOSED, states.LISTEN, states.SYN_SENT, states.TIME_WAIT)


class StreamDescription(Description):
    """A TCP socket of one host: idle, listening, or one end of a connection."""

    def __init__(
        self,
        host: Host,
        driver: Driver,
        family: int,
        proto: int,
        connection: TcpConnection | None = None,
    ) -> None:
        endpoint = connection.endpoint if connection is not None else host.new_endpoint()
        super().__init__(host, driver, family, int(socket.SOCK_STREAM), proto, endpoint)
        self.connection: TcpConnection | None = connection
        self.listener: TcpListener | None = None
        self.binding: Binding | None = None
        self._scope: int = 0
        self.connecting: bool = False
        self._connected: bool = connection is not None
        self.fastopen_keys: list[bytes] = []
        self.deferred: Address | None = None  # TCP_FASTOPEN_CONNECT: connect with the first data
        self.congestion: str = ""
        self._tcp: TcpLayer = host.tcp  # a restarted host has another one
        if connection is None:
            endpoint.set_ready(WRITE | HANGUP)

    def _abandon(self) -> None:
        """The connect failed: the socket may begin another, as if it had not."""
        if not self._connected:
            self.connection, self.connecting = None, False
            self._idle()

    def _idle(self) -> None:
        """Neither listening nor connected any more."""
        endpoint = self.host.new_endpoint()
        endpoint.set_ready(WRITE | HANGUP)
        self.exchange(endpoint)
        self.kick()

    @property
    def kind(self) -> int:
        """TCP has the options of streams."""
        return options.STREAM

    # -- opening ----------------------------------------------------------------------------------

    def bind(self, address: Address) -> None:
        """bind(2): hold the address and port."""
        if self.connection is not None and self.connection.state == states.CLOSED:
            self._abandon()
        if self.connection is not None or (self.binding is not None and self.binding.port):
            raise fail(errno.EINVAL)
        packed, port, scope = address
        get = self.settings.get
        if len(packed) == 16 and addr.is_multicast(packed):
            raise fail(errno.EINVAL)
        free = get("free_bind") or get("transparent")
        if not free and not is_own(self.host.net, packed):
            raise fail(errno.EADDRNOTAVAIL)
        self._scope = scope
        wish = streamoptions.wish(self, packed, port)
        self.binding = wish if get("bind_no_port") and not port else self._tcp.bind(wish)
        if len(packed) == 16 and not addr.is_unspecified(packed):
            self.settings.values["v6only"] = 1

    def listen(self, backlog: int) -> None:
        """listen(2); again: a new backlog."""
        backlog = min(max(backlog, 0), self.host.config.tcp_somaxconn)
        if self.listener is not None:
            self.listener.backlog = backlog
            return
        if self.connection is not None:
            raise fail(errno.EINVAL)
        if self.binding is None:
            self.bind((self._wildcard(), 0, 0))
        assert self.binding is not None
        if not self.binding.port:  # IP_BIND_ADDRESS_NO_PORT
            self._tcp.bind(self.binding)
        listener = self._tcp.listen(self.binding, backlog, self.driver.now())
        self.listener = listener
        streamoptions.begin_listener(self, listener)
        self.exchange(listener.endpoint)

    def set_children_nodelay(self) -> None:
        """As asyncio sets TCP_NODELAY on each connection: once, for all that will be accepted."""
        if self.listener is not None:
            self.listener.options = self.listener.options.copy()
            self.listener.options.nodelay = True

    def accept(self) -> "StreamDescription | None":
        """accept(2); None: nobody is waiting."""
        connection = self.take()
        return None if connection is None else self.describe(connection)

    def take(self) -> TcpConnection | None:
        """The next connection of the accept queue; None: nobody is waiting."""
        if self.listener is None:
            raise fail(errno.EINVAL)
        return self.listener.accept(self.driver.now())

    def describe(self, connection: TcpConnection) -> "StreamDescription":
        """A socket for a connection that was taken: it inherits the listener's options."""
        accepted = StreamDescription(self.host, self.driver, self.family, self.proto, connection)
        accepted.settings = options.Settings(self.settings.values)
        accepted.settings.values.pop("defer_accept", None)
        accepted.congestion = self.congestion
        return accepted

    def connect(self, address: Address | None) -> bool:
        """connect(2): False while in progress."""
        if self.listener is not None:
            raise fail(errno.EISCONN)
        if self.connection is not None and self._connect_again():
            return True
        if address is None:
            raise fail(errno.EAFNOSUPPORT)
        remote, port, scope = address
        local = self.binding.address if self.binding is not None else b""
        v6only = bool(self.settings.get("v6only"))
        remote = reached(self.family == socket.AF_INET6, v6only, remote, local)
        if addr.is_multicast(remote) or self.host.net.is_broadcast(remote):
            raise fail(errno.ENETUNREACH)
        wanted = (remote, port, scope)
        fast = bool(self.settings.get("fastopen_connect"))
        if fast and self.deferred is None and fastopen.defer(self, wanted):
            return True
        if self.deferred is not None:
            raise fail(errno.EISCONN)
        self.open(wanted, b"" if fast else None)
        return False

    def open(self, address: Address, fast: Buffer | None = None) -> TcpConnection:
        """Begin the handshake; ``fast``: with Fast Open and this data in the SYN."""
        remote, port, scope = address
        connection = self._tcp.connect(
            self.binding or streamoptions.wish(self, b"", 0),
            remote,
            port,
            self.driver.now(),
            partial(streamoptions.begin_connection, self),
            self.settings.values.get("device", 0) or scope,
            fast,
        )
        self.connection = connection
        self.connecting = True
        self.exchange(connection.endpoint)
        self.driver.kick(self.host)
        return connection

    def _connect_again(self) -> bool:
        """Whether a connect in progress has succeeded; False: the socket may begin another."""
        assert self.connection is not None
        if self.connecting:
            if not self.endpoint.readiness & (WRITE | ERROR | HANGUP):
                raise fail(errno.EALREADY)
            self.connected()
            return True
        if self._connected:
            raise fail(errno.EISCONN)
        return False

    def connected(self) -> None:
        """The handshake is over, well or not."""
        if self.connection is None:
            raise fail(errno.ECONNRESET)  # another thread shut it down meanwhile
        error = self.take_error()
        self.connecting = False
        if not error and self.connection is not None and self.connection.state == states.CLOSED:
            error = errno.ECONNABORTED  # it failed, and SO_ERROR has told
        if error:
            self._abandon()
            raise fail(error)
        self._connected = True

    # -- data -------------------------------------------------------------------------------------

    def send(
        self, data: Buffer, flags: int, address: Address | None, ancillary: Ancillary
    ) -> int | None:
        """send(2): bytes taken; None: the buffer is full."""
        opened = fastopen.send(self, data, flags, address)
        if opened != -1:
            return opened
        connection = self.connection
        if connection is None:
            raise fail(errno.EPIPE)
        now = self.driver.now()
        taken = connection.send(data, now, bool(flags & MSG_MORE), bool(flags & MSG_EOR))
        if taken:
            if flags & MSG_OOB:
                urgent.sent(connection)
            self.driver.kick(self.host)
            return taken
        return None if len(data) else 0

    def receive(self, limit: int, flags: int) -> Received | None:
        """recv(2)."""
        connection = self.connection
        if connection is None and self.deferred is not None:
            return None
        if connection is None:
            raise fail(errno.EINVAL if flags & MSG_OOB and not self.listener else errno.ENOTCONN)
        if flags & MSG_OOB:
            octet = urgent.receive(connection, not flags & MSG_PEEK)
            shown = MSG_OOB if limit else MSG_OOB | MSG_TRUNC
            return Received(octet[:limit], None, shown if octet else 0)
        if flags & MSG_ERRQUEUE:
            raise fail(errno.EAGAIN)
        now, peek, values = self.driver.now(), bool(flags & MSG_PEEK), self.settings.values
        if peek and "peek_offset" in values:
            data = peeking.stream(connection, limit, values["peek_offset"], now)
        else:
            data = connection.receive(limit, now, peek)
        if data is None:
            return None
        if data:
            self.driver.kick(self.host)
        if "peek_offset" in values:
            peeking.moved(self.settings, len(data) if peek else -len(data))
        if "inq" in values:
            return Received(data, None, 0, streamoptions.left(self, connection))
        return Received(data)

    def shutdown(self, how: int) -> None:
        """shutdown(2)."""
        now = self.driver.now()
        if self.listener is not None:
            if how != socket.SHUT_WR:
                self.listener.close(now)
                self.listener = None
                self._idle()
            return
        connection = self.connection
        if connection is not None and connection.state == states.SYN_SENT:
            connection.abort(now)
            self._abandon()
            return
        if connection is None or connection.state in _PEERLESS:
            raise fail(errno.ENOTCONN)
        self.connecting, self._connected = False, True
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            connection.shutdown_read(now)
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            connection.shutdown(now)
        self.kick()

    def close(self) -> None:
        """close(2): FIN, or RST with SO_LINGER 0; the rest happens in the background."""
        now = self.driver.now()
        if self.listener is not None:
            self.listener.close(now)
            self.listener = None
        if self.connection is not None:
            self.connection.close(now)
        if self.binding is not None and self.binding.port:
            self._tcp.bindings.release(self.binding)
        self.binding = None
        self.kick()

    # -- names and errors -------------------------------------------------------------------------

    def local_address(self) -> Address:
        """getsockname(2)."""
        connection = self.connection
        if connection is not None:
            return connection.local_address, connection.local_port, self._scope
        if self.binding is not None:
            return self.binding.address, self.binding.port, self._scope
        return self._wildcard(), 0, 0

    def remote_address(self) -> Address:
        """getpeername(2)."""
        connection = self.connection
        if connection is None or connection.state in _PEERLESS:
            raise fail(errno.ENOTCONN)
        return self.accepted_from()

    def accepted_from(self) -> Address:
        """As `remote_address`, but of a connection in whatever state."""
        assert self.connection is not None
        return self.connection.remote_address, self.connection.remote_port, self._scope

    def unread(self) -> int:
        """FIONREAD: octets that can be read, to the urgent mark at most."""
        if self.listener is not None:
            raise fail(errno.EINVAL)
        return urgent.unread(self.connection) if self.connection is not None else 0

    def at_mark(self) -> bool:
        """SIOCATMARK."""
        return self.connection is not None and urgent.at_mark(self.connection)

    def peer_ended(self) -> bool:
        """The peer's FIN has come, or an end of the connection."""
        return self.connection is not None and self.connection.receive_ended()

    def take_error(self) -> int:
        """SO_ERROR."""
        return self.connection.take_error() if self.connection is not None else 0

    def put_back(self, error: int) -> None:
        """As `Description.put_back`; EPIPE tells itself again."""
        if self.connection is not None and error != errno.EPIPE:
            self.connection.error = error
            self.endpoint.set_ready(ERROR)

    # -- options ----------------------------------------------------------------------------------

    def fact(self, name: str) -> int:
        """SO_ACCEPTCONN, TCP_MAXSEG and the common ones."""
        if name == "listening":
            return int(self.listener is not None)
        return streamoptions.segment_size(self) if name == "maxseg" else super().fact(name)

    def check_option(self, name: str, value: int | bytes) -> None:
        """As `Description.check_option`."""
        super().check_option(name, value)
        streamoptions.check(self, name, value)

    def has_address(self) -> bool:
        """Bound, or on a connection that has not ended."""
        connection = self.connection
        open_ = connection is not None and connection.state != states.CLOSED
        return self.binding is not None or open_

    def default_buffer(self, name: str) -> int:
        """Linux's tcp_rmem and tcp_wmem."""
        config = self.host.config
        if self.connection is not None and config.tcp_round_receive_buffer:
            rx, tx = self.connection.rx, self.connection.tx
            return rx.limit if name == "receive_buffer" else tx.limit
        return config.tcp_receive_buffer if name == "receive_buffer" else config.tcp_send_buffer

    def apply(self, name: str, value: int) -> None:
        """Write the value to the connection or listener, if there is one."""
        value = self.settings.values[name] = streamoptions.kept(self, name, value)
        if self.connection is not None:
            apply_connection(self.connection, name, value, self.now())
            self.kick()
        elif self.listener is not None:
            apply_listener(self.listener, name, value)
        if self.binding is not None:
            streamoptions.apply_binding(self.binding, name, value)

    def get_special(self, name: str) -> int | bytes:
        """TCP_INFO, TCP_CONGESTION, path MTU."""
        found = streamoptions.special(self, name)
        return super().get_special(name) if found is None else found

    def set_special(self, name: str, value: int | bytes) -> None:
        """TCP_CONGESTION by name (ENOENT if unknown), TCP_FASTOPEN_KEY."""
        if name == "fastopen_key":
            fastopen.set_key(self, value)
        elif name == "congestion" and not isinstance(value, int):
            streamoptions.set_congestion(self, value)
        else:
            super().set_special(name, value)
