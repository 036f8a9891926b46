# SPDX-License-Identifier: Apache-2.0
"""Fast Open below the calls of stream sockets: MSG_FASTOPEN, TCP_FASTOPEN_CONNECT, implied connect.

RFC 7413 §4.1.3, man 7 tcp; FreeBSD instead takes TCP_FASTOPEN on the client's socket and connects
by sendto (man 4 tcp).
"""

import errno
from typing import TYPE_CHECKING

from capas.base.checksum import Buffer
from capas.sockets.description import Address
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_FASTOPEN
from capas.transport.endpoint import HANGUP
from capas.transport.tcp import states
from capas.transport.tcp.fastopen import CLIENT, KEY_BYTES

if TYPE_CHECKING:
    from capas.sockets.stream import StreamDescription


def defer(description: "StreamDescription", address: Address) -> bool:
    """connect with TCP_FASTOPEN_CONNECT: True if the SYN waits for the first data."""
    if not description.host.tcp.env.fastopen.can_defer(address[0]):
        return False
    description.deferred = address
    description.endpoint.clear(HANGUP)
    return True


def send(
    description: "StreamDescription", data: Buffer, flags: int, address: Address | None
) -> int | None:
    """A send that may open the connection; -1: this is an ordinary one.

    Raises EINPROGRESS when the handshake goes on without data of ours.
    """
    config = description.host.config
    connection = description.connection
    if config.tcp_manners == "freebsd":
        return _implied_connect(description, data, address)
    deferred = description.deferred
    if not flags & MSG_FASTOPEN and deferred is None:
        return -1
    if not config.tcp_fastopen & CLIENT:
        raise fail(errno.EOPNOTSUPP)
    if connection is not None:
        if connection.state == states.SYN_SENT:
            raise fail(errno.EALREADY)
        if not description.connecting:
            raise fail(errno.EISCONN)
        description.connected()
        return -1
    target = address if address is not None else deferred
    if target is None:
        raise fail(errno.EINVAL)
    description.deferred = None
    opened = description.open(target, data)
    size = opened.fast.size if opened.fast is not None else 0
    if not size:
        raise fail(errno.EINPROGRESS)
    return size


def _implied_connect(
    description: "StreamDescription", data: Buffer, address: Address | None
) -> int | None:
    if address is None or description.connection is not None:
        return -1
    fast = data if description.settings.get("fastopen") else None
    tx = description.open(address, fast).tx
    sent = tx.queue_end - tx.iss - 1
    tx.append(memoryview(data)[sent:])
    tx.push_end = tx.queue_end
    return tx.queue_end - tx.iss - 1


def check_option(description: "StreamDescription", name: str) -> None:
    """What setsockopt says to a Fast Open option."""
    if name == "fastopen_connect":
        if not description.host.config.tcp_fastopen & CLIENT:
            raise fail(errno.EOPNOTSUPP)
        if description.connection is not None or description.listener is not None:
            raise fail(errno.EINVAL)


def set_key(description: "StreamDescription", value: int | bytes) -> None:
    """TCP_FASTOPEN_KEY: one key of 16 bytes, or the new one and the old."""
    if isinstance(value, int) or len(value) not in (KEY_BYTES, 2 * KEY_BYTES):
        raise fail(errno.EINVAL)
    keys = [value[i : i + KEY_BYTES] for i in range(0, len(value), KEY_BYTES)]
    description.fastopen_keys = keys
    if description.listener is not None:
        description.listener.fastopen_keys = list(keys)


def get_key(description: "StreamDescription") -> bytes:
    """The keys in force for this socket."""
    return b"".join(description.fastopen_keys or description.host.tcp.env.fastopen.keys())
