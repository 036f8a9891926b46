# SPDX-License-Identifier: Apache-2.0
"""A raw socket below POSIX's calls (man 7 raw, RFC 3542 §3; ICMP filters §3.2)."""

import errno
import socket
from typing import Final

from capas.base.checksum import Buffer
from capas.host.host import Host
from capas.internet.types import IcmpError
from capas.sockets import messages, options
from capas.sockets.datagram import DatagramDescription
from capas.sockets.description import Address, Ancillary, Received
from capas.sockets.driver import Driver
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_OOB
from capas.transport.raw_socket import RawSocket
from capas.wire.icmp import ICMP, ICMPV6

_FILTER4: Final = 4  # bytes of struct icmp_filter
_FILTER6: Final = 32  # of struct icmp6_filter


class RawDescription(DatagramDescription):
    """A raw socket of one host."""

    def __init__(self, host: Host, driver: Driver, family: int, proto: int) -> None:
        size = 16 if family == socket.AF_INET6 else 4
        self.raw: RawSocket = host.raw.open(host.new_endpoint(), size, proto)
        super().__init__(host, driver, family, int(socket.SOCK_RAW), proto, self.raw)
        included = int(self.raw.header_included)
        self.settings.values["header_included" if size == 4 else "header_included6"] = included

    @property
    def kind(self) -> int:
        """It has options of its own."""
        return options.RAW

    def bind(self, address: Address) -> None:
        """bind(2): there are no ports."""
        packed, port, scope = address
        if scope and len(packed) == 16:
            self.raw.options.device = scope
        self.raw.bind(packed, port)

    def send(
        self, data: Buffer, flags: int, address: Address | None, ancillary: Ancillary
    ) -> int | None:
        """send(2) and its kind: one packet, below the header or with it."""
        if flags & MSG_OOB:
            raise fail(errno.EOPNOTSUPP)
        v6 = self.family == socket.AF_INET6
        if v6 and address is not None and address[1] not in (0, self.proto):
            raise fail(errno.EINVAL)
        return self.send_to(data, flags, address, ancillary)

    def failed(self, error: IcmpError, limit: int) -> Received:
        """As `DatagramDescription.failed`: what the program wrote."""
        return messages.failed(error, 0, error.quote[:limit])

    def remote_address(self) -> Address:
        """getpeername(2); of port 0 it knows nothing (Linux)."""
        if not self.raw.remote_port:
            raise fail(errno.ENOTCONN)
        return super().remote_address()

    # -- options ----------------------------------------------------------------------------------

    def has_address(self) -> bool:
        """Never: it is of one family."""
        return False

    def apply(self, name: str, value: int) -> None:
        """As `DatagramDescription.apply`."""
        if name.startswith("header_included"):
            self.raw.header_included = bool(value)
        else:
            super().apply(name, value)

    def get_special(self, name: str) -> int | bytes:
        """Filters, and where the checksum stands."""
        if name == "icmp_filter":
            self._expect(ICMP)
            return self.raw.blocked.to_bytes(_FILTER4, "little")
        if name == "icmp6_filter":
            self._expect(ICMPV6)
            return self.raw.blocked.to_bytes(_FILTER6, "little")
        if name.endswith("checksum6"):
            return self.raw.checksum_at
        return super().get_special(name)

    def set_special(self, name: str, value: int | bytes) -> None:
        """As `get_special`."""
        if name in ("icmp_filter", "icmp6_filter"):
            self._expect(ICMP if name == "icmp_filter" else ICMPV6)
            size = _FILTER4 if name == "icmp_filter" else _FILTER6
            given = options.as_bytes(value)[:size]
            kept = self.raw.blocked.to_bytes(size, "little")
            self.raw.blocked = int.from_bytes(given + kept[len(given) :], "little")
        elif name.endswith("checksum6"):
            at = options.as_int(value)
            if (self.proto == ICMPV6 and name == "checksum6") or (at > 0 and at & 1):
                raise fail(errno.EINVAL)
            self.raw.checksum_at = max(at, -1)
        else:
            super().set_special(name, value)

    def _expect(self, protocol: int) -> None:
        if self.proto != protocol:
            raise fail(errno.EOPNOTSUPP)
