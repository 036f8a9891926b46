# SPDX-License-Identifier: Apache-2.0
"""What a script's descriptors stand for, and their readiness as poll(2) shows it."""

from dataclasses import dataclass, field
from typing import Final

from capas.conformance.segments import payload
from capas.sockets.stream import StreamDescription
from capas.transport.endpoint import ERROR, HANGUP, READ, URGENT, WRITE, Endpoint

POLLIN: Final = 1
POLLPRI: Final = 2
POLLOUT: Final = 4
POLLERR: Final = 8
POLLHUP: Final = 0x10
POLLRDNORM: Final = 0x40
POLLWRNORM: Final = 0x100
POLLRDHUP: Final = 0x2000

O_RDWR: Final = 2
O_NONBLOCK: Final = 0o4000


@dataclass(slots=True, eq=False)
class SocketFile:
    """A TCP socket; ``written`` and ``taken`` are positions in its two streams.

    ``trusted``: reads are compared with the stream's pattern (not after urgent data)
    ``edges``:   gains of readiness so far
    """

    description: StreamDescription
    flags: int = O_RDWR
    written: int = 0
    taken: int = 0
    trusted: bool = True
    edges: int = 0
    inq: bool = False

    def __post_init__(self) -> None:
        self.description.watch(self)

    @property
    def nonblocking(self) -> bool:
        """O_NONBLOCK is set."""
        return bool(self.flags & O_NONBLOCK)

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """Readiness was gained."""
        self.edges += 1

    def next_bytes(self, n: int) -> bytes:
        """What the next write of ``n`` bytes carries."""
        return payload(self.written, n)

    def poll(self) -> int:
        """Readiness as POLL* bits."""
        ready = self.description.endpoint.readiness
        mask = 0
        if ready & READ:
            mask |= POLLIN | POLLRDNORM
        if ready & URGENT:
            mask |= POLLPRI
        if ready & WRITE:
            mask |= POLLOUT | POLLWRNORM
        if ready & ERROR:
            mask |= POLLERR
        if ready & HANGUP:
            mask |= POLLHUP
        connection = self.description.connection
        if connection is not None and connection.receive_ended():
            mask |= POLLRDHUP | POLLIN | POLLRDNORM
        return mask


@dataclass(slots=True)
class Interest:
    """One descriptor watched by an epoll instance; ``seen``: edges already reported."""

    file: SocketFile
    events: int
    data: int
    seen: int = -1
    armed: bool = True


@dataclass(slots=True, eq=False)
class EpollFile:
    """An epoll instance."""

    interests: dict[int, Interest] = field(default_factory=dict)


ScriptFile = SocketFile | EpollFile
