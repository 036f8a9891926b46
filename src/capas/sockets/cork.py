# SPDX-License-Identifier: Apache-2.0
"""UDP_CORK and MSG_MORE: several calls make one datagram (man 7 udp).

Where it goes is what the first call said; one that fails loses all (Linux
udp_flush_pending_frames).
"""

import errno
from typing import final

from capas.base.checksum import Buffer
from capas.sockets.failure import fail
from capas.transport.datagram_socket import Destination
from capas.wire.udp import MAX_PAYLOAD4, MAX_PAYLOAD6


@final
class Cork:
    """A datagram that is not sent yet; ``to`` None: there is none."""

    __slots__ = ("_parts", "_size", "to")

    def __init__(self) -> None:
        self.to: Destination | None = None
        self._parts: list[bytes] = []
        self._size: int = 0

    def begin(self, to: Destination) -> None:
        """The first part is for ``to``."""
        self.to = to

    def append(self, data: Buffer) -> None:
        """One more part; EMSGSIZE if the whole is too long."""
        assert self.to is not None
        self._size += len(data)
        if self._size > (MAX_PAYLOAD4 if len(self.to.address) == 4 else MAX_PAYLOAD6):
            self.take()
            raise fail(errno.EMSGSIZE)
        if data:
            self._parts.append(bytes(data))

    def take(self) -> bytes:
        """The datagram, which is no longer here."""
        whole = b"".join(self._parts)
        self.to, self._size = None, 0
        self._parts.clear()
        return whole
