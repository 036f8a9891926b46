# SPDX-License-Identifier: Apache-2.0
"""Datagram sockets below POSIX's calls: what UDP's and raw ones share (RFC 3493, man 7 ip)."""

import errno
import socket
from abc import abstractmethod
from typing import Final

from capas.base.checksum import Buffer
from capas.host.host import Host
from capas.internet.types import IcmpError
from capas.sockets import groups, messages, options, peeking, preferences
from capas.sockets.description import Address, Ancillary, Description, Received
from capas.sockets.driver import Driver
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_DONTROUTE, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_PEEK, MSG_TRUNC
from capas.transport.datagram_socket import Datagram, DatagramSocket, Destination
from capas.transport.endpoint import HANGUP
from capas.wire import address as addr

#: option name -> attribute of `DatagramOptions`
_PLAIN: Final = {
    "bind_no_port": "bind_no_port",
    "broadcast": "broadcast",
    "dont_fragment": "dont_fragment",
    "dont_route": "dont_route",
    "free_bind": "free_bind",
    "transparent": "transparent",
    "reuse_address": "reuse_address",
    "reuse_port": "reuse_port",
    "no_check_tx": "no_check_tx",
    "no_check_rx": "no_check_rx",
    "gro": "gro",
    "v6only": "v6only",
    "multicast_all": "multicast_all",
    "multicast_all6": "multicast_all6",
    "multicast_loop": "multicast_loop",
    "multicast_loop6": "multicast_loop",
    "receive_errors": "receive_errors",
    "receive_errors6": "receive_errors",
}
_NUMBERS: Final = {
    "device": "device",
    "port_range": "span",
    "unicast_interface": "unicast_interface",
    "unicast_interface6": "unicast_interface",
    "segment": "segment",
    "receive_buffer": "receive_buffer",
    "prefer_source": "prefer_source",
    "ttl": "ttl",
    "tos": "tos",
    "hops": "ttl",
    "tclass": "tos",
    "multicast_ttl": "multicast_hops",
    "multicast_hops": "multicast_hops",
    "pmtu_discover": "pmtu_discover",
    "pmtu_discover6": "pmtu_discover",
}
#: what -1 ("the default") stands for
_DEFAULT: Final = {"multicast_hops": 1}


class DatagramDescription(Description):
    """A socket of one host that takes and gives datagrams: below UDP's and raw ones.

    ``transport``  what it stands for
    """

    def __init__(
        self,
        host: Host,
        driver: Driver,
        family: int,
        type: int,
        proto: int,
        transport: DatagramSocket,
    ) -> None:
        super().__init__(host, driver, family, type, proto, transport.endpoint)
        self.transport: DatagramSocket = transport
        self._ancillary: bool = False

    def connect(self, address: Address | None) -> bool:
        """connect(2): only fixes the remote end."""
        if address is None:
            self.transport.disconnect()
        else:
            packed, port, scope = address
            self.transport.connect(self.reached(packed), port, scope)
        return True

    def reached(self, packed: bytes) -> bytes:
        """Whom this socket reaches when a program says ``packed``; OSError if nobody."""
        return addr.oneself(packed, self.transport.local) if addr.is_unspecified(packed) else packed

    def send_to(
        self, data: Buffer, flags: int, address: Address | None, ancillary: Ancillary
    ) -> int | None:
        """One datagram to ``address``, or to the connected end; never blocks."""
        to = self.whither(flags, address, ancillary)
        taken = self.transport.send(bytes(data), self.driver.now(), to)
        self.driver.kick(self.host)
        return taken

    def whither(
        self, flags: int, address: Address | None, ancillary: Ancillary
    ) -> Destination | None:
        """Where a datagram goes; None: to the connected end, with nothing special."""
        to: Destination | None = None
        if address is not None:
            packed, port, scope = address
            to = Destination(self.reached(packed), port, scope)
        if ancillary:
            to = self.transport.destination(to)
            for level, kind, value in ancillary:
                messages.apply(to, self.family, level, kind, value)
        if flags & MSG_DONTROUTE:
            to = self.transport.destination(to)
            to.on_link = True
        return to

    # -- receiving --------------------------------------------------------------------------------

    def receive(self, limit: int, flags: int) -> Received | None:
        """recv(2) and its kind: one datagram, what does not fit is lost."""
        if flags & MSG_ERRQUEUE:
            error = self.transport.next_error()
            if error is None:
                raise fail(errno.EAGAIN)
            return self.failed(error, limit)
        peek, skip = bool(flags & MSG_PEEK), 0
        watched = "peek_offset" in self.settings.values
        if peek and watched:
            datagram, skip = peeking.datagram(self.transport, self.settings.get("peek_offset"))
        else:
            datagram = self.transport.receive(peek)
        if datagram is None:
            # Who does not wait learns nothing of the shutdown (Linux).
            return Received(b"") if self.transport.read_shut and not flags & MSG_DONTWAIT else None
        data, size = datagram.data, len(datagram.data)
        result = Received(
            data if size <= limit and not skip else data[skip : skip + limit],
            (datagram.source, datagram.source_port, datagram.interface),
        )
        result.whole = size
        if limit < size and limit <= size - skip:
            result.flags = MSG_TRUNC
        if watched:
            taken = size if flags & MSG_TRUNC else len(result.data)
            peeking.moved(self.settings, taken if peek else -taken)
        if self._ancillary:
            result.ancillary = messages.describe(
                self.settings,
                self.family,
                self.driver,
                datagram,
                self.transport.port,
                self._own(datagram),
            )
        return result

    def _own(self, datagram: Datagram) -> bytes:
        """From where an answer goes (Linux fib_compute_spec_dst)."""
        net, found = self.host.net, datagram.destination
        if len(found) == 16 or net.is_local(found):
            return found
        route = net.route(datagram.source, datagram.interface)
        return (net.source(datagram.source, route) if route is not None else None) or addr.ANY4

    @abstractmethod
    def failed(self, error: IcmpError, limit: int) -> Received:
        """An entry of the error queue."""

    # -- the rest ---------------------------------------------------------------------------------

    def shutdown(self, how: int) -> None:
        """shutdown(2): ENOTCONN if it has no remote end, but who reads wakes (Linux)."""
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self.transport.shutdown_read()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self.transport.write_shut = True
        if self.transport.write_shut and self.transport.read_shut:
            self.endpoint.set_ready(HANGUP)
        self.kick()
        if not self.transport.remote:
            raise fail(errno.ENOTCONN)

    def unread(self) -> int:
        """FIONREAD: of the next datagram; a pending error stays."""
        queue = self.transport.queue
        return len(queue[0].data) if queue else 0

    def holds_data(self) -> bool:
        """A datagram is there, be it empty."""
        return bool(self.transport.queue)

    def peer_ended(self) -> bool:
        """Of no peer here: of our own reading."""
        return self.transport.read_shut

    def local_address(self) -> Address:
        """getsockname(2)."""
        return self.transport.local, self.transport.port, self.transport.options.device

    def remote_address(self) -> Address:
        """getpeername(2)."""
        if not self.transport.remote:
            raise fail(errno.ENOTCONN)
        return self.transport.remote, self.transport.remote_port, self.transport.scope

    def take_error(self) -> int:
        """SO_ERROR."""
        return self.transport.take_error()

    def close(self) -> None:
        """The last descriptor was closed."""
        self.transport.close(self.driver.now())
        self.driver.kick(self.host)

    # -- options ----------------------------------------------------------------------------------

    def has_address(self) -> bool:
        """Bound, by a call or by sending."""
        return self.transport.port != 0

    def default_buffer(self, name: str) -> int:
        """Linux's rmem_default and wmem_default."""
        config = self.host.config
        return config.udp_receive_buffer if name == "receive_buffer" else config.udp_send_buffer

    def apply(self, name: str, value: int) -> None:
        """Write the value where the transport looks."""
        attribute = _PLAIN.get(name)
        if attribute is not None:
            setattr(self.transport.options, attribute, bool(value))
        else:
            if name == "prefer_source":
                value = preferences.age(value)
            attribute = _NUMBERS.get(name)
            if attribute is not None:
                setattr(
                    self.transport.options,
                    attribute,
                    value if value >= 0 or name == "port_range" else _DEFAULT.get(name, 0),
                )
        if name in messages.WANTED:
            self._ancillary = any(map(self.settings.get, messages.WANTED))

    def get_special(self, name: str) -> int | bytes:
        """Path MTU, multicast interface."""
        sock = self.transport
        if name in ("path_mtu", "path_mtu6"):
            route = self.host.net.route(sock.remote, sock.scope) if sock.remote else None
            if route is None:
                raise fail(errno.ENOTCONN)
            return self.host.net.path_mtu(sock.remote, route, self.now())
        index = sock.options.multicast_interface
        if name == "multicast_interface6":
            return index
        if name == "multicast_interface":
            link = self.host.net.interface(index)
            own = [a.address for a in link.addresses if len(a.address) == 4] if link else []
            return own[0] if own else addr.ANY4
        if name == "ip_options":
            return b""
        return super().get_special(name)

    def set_special(self, name: str, value: int | bytes) -> None:
        """Multicast membership and interface."""
        sock = self.transport
        if groups.change(self, name, value):
            return
        if name == "multicast_interface6":
            sock.options.multicast_interface = self._link(options.as_int(value))
        elif name == "multicast_interface":
            packed = options.as_bytes(value)
            packed = packed[4:] if len(packed) >= 8 else packed
            index = groups.interface4(self, packed, errno.EADDRNOTAVAIL)
            sock.options.multicast_interface = self._link(index)
        else:
            super().set_special(name, value)

    def _link(self, index: int) -> int:
        if index and self.host.net.interface(index) is None:
            raise fail(errno.ENODEV)
        return index
