# SPDX-License-Identifier: Apache-2.0
"""A UDP socket below POSIX's calls (RFC 768, RFC 3493, RFC 3542, man 7 udp)."""

import contextlib
import errno
import socket

from capas.base.checksum import Buffer
from capas.host.host import Host
from capas.internet.types import IcmpError
from capas.sockets import messages, options
from capas.sockets.addresses import reached
from capas.sockets.cork import Cork
from capas.sockets.datagram import DatagramDescription
from capas.sockets.description import Address, Ancillary, Received
from capas.sockets.driver import Driver
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_MORE, MSG_OOB
from capas.transport.udp_socket import UdpSocket
from capas.wire import address as addr
from capas.wire.udp import HEADER_SIZE


class UdpDescription(DatagramDescription):
    """A UDP socket of one host."""

    def __init__(self, host: Host, driver: Driver, family: int, proto: int) -> None:
        size = 16 if family == socket.AF_INET6 else 4
        self.udp: UdpSocket = host.udp.open(host.new_endpoint(), size)
        kind = int(socket.SOCK_DGRAM)
        super().__init__(host, driver, family, kind, proto, self.udp)
        self._cork: Cork = Cork()
        self._corked: bool = False  # UDP_CORK

    @property
    def kind(self) -> int:
        """UDP has the options of datagrams."""
        return options.DATAGRAM

    def bind(self, address: Address) -> None:
        """bind(2)."""
        packed, port, scope = address
        if addr.is_link_local(packed) and scope:
            self.udp.options.device = scope
        self.udp.bind(packed, port)
        if len(packed) == 16 and not addr.is_unspecified(packed):
            self.settings.values["v6only"] = 1
            self.udp.options.v6only = True

    def reached(self, packed: bytes) -> bytes:
        """As `DatagramDescription.reached`: of both families, maybe."""
        udp = self.udp
        return reached(self.family == socket.AF_INET6, udp.options.v6only, packed, udp.local)

    def send(
        self, data: Buffer, flags: int, address: Address | None, ancillary: Ancillary
    ) -> int | None:
        """send(2) and its kind: one datagram."""
        if flags & MSG_OOB:
            raise fail(errno.EOPNOTSUPP)
        if not self.udp.port:  # as Linux, before it finds that it cannot be sent
            self.udp.bind_to_send(*(address[:2] if address is not None else (b"", 0)))
        if self._corked or flags & MSG_MORE or self._cork.to is not None:
            return self._send_part(data, flags, address, ancillary)
        return self.send_to(data, flags, address, ancillary)

    def _send_part(
        self, data: Buffer, flags: int, address: Address | None, ancillary: Ancillary
    ) -> int:
        """A part of a datagram; the last one sends it."""
        if self._cork.to is None:
            to = self.udp.destination(self.whither(flags, address, ancillary))
            self.udp.check_way(to)
            self._cork.begin(to)
        self._cork.append(data)
        if not self._corked and not flags & MSG_MORE:
            self._uncork()
        return len(data)

    def _uncork(self) -> None:
        to = self._cork.to
        if to is not None:
            self.udp.send_held(self._cork.take(), self.now(), to)
            self.kick()

    def apply(self, name: str, value: int) -> None:
        """As `DatagramDescription.apply`; what was held back leaves when UDP_CORK is cleared."""
        if name == "udp_cork":
            self._corked = bool(value)
            if not value:
                with contextlib.suppress(OSError):  # nobody is told (Linux)
                    self._uncork()
        else:
            super().apply(name, value)

    def failed(self, error: IcmpError, limit: int) -> Received:
        """As `DatagramDescription.failed`: the payload and whom it was for."""
        port = int.from_bytes(error.quote[2:4], "big")
        return messages.failed(error, port, error.quote[HEADER_SIZE : HEADER_SIZE + limit])
