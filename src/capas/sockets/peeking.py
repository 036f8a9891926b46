# SPDX-License-Identifier: Apache-2.0
"""SO_PEEK_OFF: MSG_PEEK begins where the last one ended (man 7 socket; of TCP since Linux 6.9).

The offset counts bytes of what is unread; reading moves it back, peeking on.  Negative: MSG_PEEK
begins at the beginning, as without the option.
"""

from typing import TYPE_CHECKING

from capas.sockets.options import Settings
from capas.transport.datagram_socket import Datagram, DatagramSocket

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection


def moved(settings: Settings, size: int) -> None:
    """``size`` bytes were peeked at; negative: read."""
    offset = settings.get("peek_offset")
    if offset >= 0:
        settings.values["peek_offset"] = max(offset + size, 0)


def stream(connection: "TcpConnection", limit: int, offset: int, now: int) -> bytes | None:
    """Up to ``limit`` bytes from ``offset`` on; None: they have not come yet."""
    return connection.receive(limit, now, True, max(offset, 0))


def datagram(transport: DatagramSocket, offset: int) -> tuple[Datagram | None, int]:
    """What is ``offset`` bytes on in the queue, and where that is in it; raises a pending error.

    An empty datagram is seen once (Linux __skb_try_recv_from_queue).
    """
    if offset < 0:
        return transport.receive(True), 0
    transport.raise_error()
    for one in transport.queue:
        size = len(one.data)
        if offset < size or not (size or offset or one.peeked):
            one.peeked = True
            return one, offset
        offset -= size
    return None, 0
