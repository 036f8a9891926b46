# SPDX-License-Identifier: Apache-2.0
"""The ping socket: SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6 (Linux man 7 icmp).

Programs write an echo request with its ICMP header, whose identifier and checksum are replaced by
ours (RFC 792, RFC 4443 §4.1), and read echo replies from the ICMP header on.  Errors about a
request are reported by the next call.
"""

import errno
import socket
from typing import Final

from capas.base.checksum import Buffer
from capas.host.host import Host
from capas.internet.echo import REPLY, EchoResult
from capas.internet.types import KIND_ERRNO
from capas.sockets import options
from capas.sockets.description import Address, Ancillary, Description, Received
from capas.sockets.driver import Driver
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_PEEK, MSG_TRUNC
from capas.transport.endpoint import READ, WRITE
from capas.wire import address as addr
from capas.wire.icmp import ECHO_REPLY, ECHO_REPLY6, ECHO_REQUEST, ECHO_REQUEST6

_HEADER: Final = 8  # bytes: type, code, checksum, identifier, sequence number


class PingDescription(Description):
    """A ping socket of one host."""

    def __init__(self, host: Host, driver: Driver, family: int, proto: int) -> None:
        endpoint = host.new_endpoint()
        super().__init__(host, driver, family, int(socket.SOCK_DGRAM), proto, endpoint)
        self._session = host.icmp.open_echo(endpoint)
        self._remote: Address | None = None
        self._next: EchoResult | None = None  # looked at, not taken
        self._error: int = 0
        endpoint.set_ready(WRITE)

    @property
    def kind(self) -> int:
        """It has the options of datagrams."""
        return options.DATAGRAM

    def bind(self, address: Address) -> None:
        """Only an address of ours, or the wildcard; the identifier is chosen for the program."""
        packed = address[0]
        if not addr.is_unspecified(packed) and not self.host.net.is_local(packed):
            raise fail(errno.EADDRNOTAVAIL)

    def connect(self, address: Address | None) -> bool:
        """Fix whom to ping."""
        self._remote = address
        return True

    def send(
        self, data: Buffer, flags: int, address: Address | None, ancillary: Ancillary
    ) -> int | None:
        """One echo request, header included."""
        self._raise_error()
        to = address or self._remote
        if to is None:
            raise fail(errno.EDESTADDRREQ)
        raw = bytes(data)
        wanted = ECHO_REQUEST6 if self.family == socket.AF_INET6 else ECHO_REQUEST
        if len(raw) < _HEADER or raw[0] != wanted or raw[1]:
            raise fail(errno.EINVAL)
        get = self.settings.values.get
        ttl = max(get("hops", 0) if self.family == socket.AF_INET6 else get("ttl", 0), 0)
        sequence = int.from_bytes(raw[6:8], "big")
        index = get("device", 0) or to[2]
        if self.host.net.route(to[0], index) is None:
            raise fail(errno.ENETUNREACH)
        self._session.send(to[0], sequence, raw[_HEADER:], self.now(), ttl, index)
        self.kick()
        return len(raw)

    def receive(self, limit: int, flags: int) -> Received | None:
        """One echo reply, header included."""
        result = self._next or self._session.receive()
        self._next = None
        while result is not None and result.kind != REPLY:
            self._error = KIND_ERRNO.get(result.kind, errno.EPROTO)
            result = self._session.receive()
        if self._error:
            self._next = result
            self._raise_error()
        if result is None:
            return None
        if flags & MSG_PEEK:
            self._next = result
            self.endpoint.set_ready(READ)
        kind = ECHO_REPLY6 if self.family == socket.AF_INET6 else ECHO_REPLY
        head = bytes((kind, 0, 0, 0)) + self._session.identifier.to_bytes(2, "big")
        data = head + result.sequence.to_bytes(2, "big") + result.payload
        cut = MSG_TRUNC if len(data) > limit else 0
        return Received(data[:limit], (result.source, 0, 0), cut)

    def _raise_error(self) -> None:
        if self._error:
            raise fail(self.take_error())

    def shutdown(self, how: int) -> None:
        """Nothing to end."""
        if self._remote is None:
            raise fail(errno.ENOTCONN)

    def local_address(self) -> Address:
        """The identifier stands where a port would."""
        wildcard = addr.ANY6 if self.family == socket.AF_INET6 else addr.ANY4
        return wildcard, self._session.identifier, 0

    def remote_address(self) -> Address:
        """Whom `connect` named."""
        if self._remote is None:
            raise fail(errno.ENOTCONN)
        return self._remote

    def take_error(self) -> int:
        """SO_ERROR."""
        error, self._error = self._error, 0
        return error

    def close(self) -> None:
        """The last descriptor was closed."""
        self._session.close()

    def default_buffer(self, name: str) -> int:
        """Linux's rmem_default and wmem_default."""
        return self.host.config.udp_receive_buffer

    def apply(self, name: str, value: int) -> None:
        """Options are read when a request is sent."""
