# SPDX-License-Identifier: Apache-2.0
"""What UDP and raw sockets have in common: addresses, options, groups, receive queue, errors.

A socket belongs to a family by the length of its wildcard address: 4 or 16 bytes.  Addresses in
here are never IPv4-mapped (the socket layer maps at its edge).  The receive queue is capped by
bytes, with an overhead per datagram so that empty ones count too.  Units: ns, bytes, packed
addresses, ports.
"""

import errno
from abc import ABC, abstractmethod
from collections import deque
from typing import Final, final

from capas.base.checksum import Buffer
from capas.errors import os_error
from capas.internet.net import Internet
from capas.internet.types import IcmpError
from capas.transport.endpoint import ERROR, READ, WRITE, Endpoint
from capas.transport.memberships import Memberships
from capas.wire.address import ANY4, ANY6

OVERHEAD: Final = 256  # bytes charged per queued datagram beside its payload (Linux: truesize)
ERROR_QUEUE: Final = 64  # ICMP errors kept for MSG_ERRQUEUE

PMTUDISC_DONT: Final = 0  # never set DF
PMTUDISC_WANT: Final = 1  # DF while it fits the path MTU, fragments beyond (Linux's default)
PMTUDISC_DO: Final = 2  # always DF; too big is EMSGSIZE
PMTUDISC_PROBE: Final = 3  # always DF, the path MTU is not looked at


@final
class Datagram:
    """A received datagram.

    ``interface``  index it came in by; ``time`` ns of arrival; ``segment``: bytes per original
    datagram when several came as one super-datagram (UDP_GRO), otherwise 0; ``peeked``: MSG_PEEK
    has shown it
    """

    __slots__ = (
        "data",
        "destination",
        "interface",
        "peeked",
        "segment",
        "source",
        "source_port",
        "time",
        "tos",
        "ttl",
    )

    def __init__(
        self,
        data: bytes,
        source: bytes,
        source_port: int,
        destination: bytes,
        interface: int = 0,
        ttl: int = 0,
        tos: int = 0,
        time: int = 0,
        segment: int = 0,
    ) -> None:
        self.data: bytes = data
        self.source: bytes = source
        self.source_port: int = source_port
        self.destination: bytes = destination
        self.interface: int = interface
        self.ttl: int = ttl
        self.tos: int = tos
        self.time: int = time
        self.segment: int = segment
        self.peeked: bool = False


@final
class DatagramOptions:
    """What setsockopt can change; 0 and False are the defaults unless said."""

    __slots__ = (
        "bind_no_port",
        "broadcast",
        "device",
        "dont_fragment",
        "dont_route",
        "free_bind",
        "gro",
        "multicast_all",
        "multicast_all6",
        "multicast_hops",
        "multicast_interface",
        "multicast_loop",
        "no_check_rx",
        "no_check_tx",
        "pmtu_discover",
        "prefer_source",
        "receive_buffer",
        "receive_errors",
        "reuse_address",
        "reuse_port",
        "segment",
        "span",
        "tos",
        "transparent",
        "ttl",
        "unicast_interface",
        "v6only",
    )

    def __init__(self, receive_buffer: int) -> None:
        self.bind_no_port: bool = False  # bind with port 0 leaves the port to connect and send
        self.broadcast: bool = False
        self.device: int = 0  # interface index, SO_BINDTODEVICE
        self.dont_fragment: bool = False  # over IPv6: what is too big is EMSGSIZE
        self.dont_route: bool = False  # only neighbours on the link are reached (IPv4)
        self.free_bind: bool = False  # bind to addresses that are not ours; transparent: likewise
        self.gro: bool = False
        self.multicast_all: bool = True  # groups others of the host joined, too (IP_MULTICAST_ALL)
        self.multicast_all6: bool = True
        self.multicast_hops: int = 1
        self.multicast_interface: int = 0  # interface index
        self.multicast_loop: bool = True
        self.no_check_rx: bool = False  # take zero checksums over IPv6 (RFC 6935)
        self.no_check_tx: bool = False  # send zero checksums
        self.pmtu_discover: int = PMTUDISC_WANT
        self.prefer_source: int = 0  # RFC 5014: temporary or public, as `source.select6`
        self.receive_buffer: int = receive_buffer
        self.receive_errors: bool = False  # IP_RECVERR: soft errors too, and the error queue
        self.reuse_address: bool = False
        self.reuse_port: bool = False
        self.segment: int = 0  # UDP_SEGMENT: bytes per datagram of a larger send
        self.span: int = 0  # IP_LOCAL_PORT_RANGE
        self.tos: int = 0
        self.transparent: bool = False
        self.ttl: int = 0
        self.unicast_interface: int = 0  # index
        self.v6only: bool = False


@final
class Destination:
    """Where one datagram goes and how it differs from the socket's options.

    ``scope``  interface index of a scoped address, 0: none
    ``source``, ``interface``: IP_PKTINFO; ``ttl`` 0 and ``tos`` -1: the socket's
    ``on_link``  MSG_DONTROUTE
    """

    __slots__ = (
        "address",
        "interface",
        "on_link",
        "port",
        "scope",
        "segment",
        "source",
        "tos",
        "ttl",
    )

    def __init__(
        self,
        address: bytes,
        port: int,
        scope: int = 0,
        source: bytes = b"",
        interface: int = 0,
        ttl: int = 0,
        tos: int = -1,
        segment: int = 0,
    ) -> None:
        self.address: bytes = address
        self.port: int = port
        self.scope: int = scope
        self.source: bytes = source
        self.interface: int = interface
        self.ttl: int = ttl
        self.tos: int = tos
        self.segment: int = segment
        self.on_link: bool = False


class DatagramSocket(ABC):
    """One socket that takes and gives datagrams; subclasses know their protocol.

    ``local``, ``port``    the binding; port 0: not bound yet
    ``remote``             b"" while not connected
    ``bound_address``      what the user bound, restored by `disconnect`
    ``error``              pending errno, reported once by the next call
    """

    def __init__(self, net: Internet, endpoint: Endpoint, size: int, receive_buffer: int) -> None:
        self.net: Internet = net
        self.endpoint: Endpoint = endpoint
        self.options: DatagramOptions = DatagramOptions(receive_buffer)
        self.wildcard: bytes = ANY4 if size == 4 else ANY6
        self.local: bytes = self.wildcard
        self.bound_address: bytes = self.wildcard
        self.port: int = 0
        self.remote: bytes = b""
        self.remote_port: int = 0
        self.scope: int = 0
        self.error: int = 0
        self.errors: deque[IcmpError] = deque(maxlen=ERROR_QUEUE)
        self.queue: deque[Datagram] = deque()
        self.queued: int = 0
        self.dropped: int = 0
        self.memberships: Memberships = Memberships(net)
        self.closed: bool = False
        self.read_shut: bool = False
        self.write_shut: bool = False
        endpoint.set_ready(WRITE)

    # -- what each protocol does ------------------------------------------------------------------

    @abstractmethod
    def bind(self, address: bytes, port: int) -> None:
        """Bind; port 0 picks one.  OSError EINVAL, EADDRINUSE, EADDRNOTAVAIL."""

    @abstractmethod
    def connect(self, address: bytes, port: int, scope: int = 0) -> None:
        """Fix the remote end, binding first if need be (RFC 1122 §4.1.3.5)."""

    @abstractmethod
    def disconnect(self) -> None:
        """Forget the remote end (AF_UNSPEC)."""

    @abstractmethod
    def send(self, data: Buffer, now: int, to: Destination | None = None) -> int:
        """Send one datagram to ``to``, or to the connected end; the number of bytes taken.

        Raises a pending error, too.
        """

    @abstractmethod
    def release(self) -> None:
        """It is being closed: forget it."""

    def destination(self, to: Destination | None) -> Destination:
        """``to``, or the connected end."""
        if to is not None:
            return to
        if not self.remote:
            raise os_error(errno.EDESTADDRREQ)
        return Destination(self.remote, self.remote_port, self.scope)

    # -- receiving ------------------------------------------------------------------------------

    def receive(self, peek: bool = False) -> Datagram | None:
        """The next datagram; None: would block.  Raises a pending error."""
        self.raise_error()
        queue = self.queue
        if not queue:
            return None
        if peek:
            queue[0].peeked = True
            return queue[0]
        datagram = queue.popleft()
        self._hold(-len(datagram.data) - OVERHEAD)
        if not queue and not self.read_shut:
            self.endpoint.clear(READ)
        return datagram

    def deliver(self, datagram: Datagram) -> bool:
        """Queue a received datagram; False: the buffer is full."""
        size = len(datagram.data) + OVERHEAD
        full = self.queued + size > self.options.receive_buffer or self.net.shared.memory.full
        if full and self.queue:
            self.dropped += 1
            return False
        self.queue.append(datagram)
        self._hold(size)
        self.endpoint.set_ready(READ)
        return True

    def _hold(self, n: int) -> None:
        """``n`` bytes more (or less) are queued."""
        self.queued += n
        self.net.shared.memory.charge(n)

    def shutdown_read(self) -> None:
        """Receive calls end at once with end of stream when the queue is empty."""
        self.read_shut = True
        self.endpoint.set_ready(READ)

    # -- errors ---------------------------------------------------------------------------------

    def report(self, error: IcmpError) -> None:
        """An ICMP error about a datagram of ours."""
        if self.options.receive_errors:
            self.errors.append(error)
        self.error = error.errno
        self.endpoint.set_ready(ERROR)

    def next_error(self) -> IcmpError | None:
        """The oldest entry of the error queue (MSG_ERRQUEUE)."""
        if not self.errors:
            return None
        found = self.errors.popleft()
        if not self.errors:
            self.take_error()
        return found

    def take_error(self) -> int:
        """The pending errno, which is then forgotten (SO_ERROR)."""
        error, self.error = self.error, 0
        if error and not self.errors:
            self.endpoint.clear(ERROR)
        return error

    def raise_error(self) -> None:
        """Raise the pending error, if there is one."""
        if self.error:
            raise os_error(self.take_error())

    def check_sending(self) -> None:
        """Raise a pending error, or EPIPE after a shutdown: as Linux, after all else."""
        self.raise_error()
        if self.write_shut:
            raise os_error(errno.EPIPE)

    # -- groups ---------------------------------------------------------------------------------

    def takes_group(self, group: bytes, source: bytes, interface: int) -> bool:
        """Whether what ``source`` sends to ``group`` is for this socket, ``interface`` or any."""
        options = self.options
        otherwise = options.multicast_all if len(group) == 4 else options.multicast_all6
        return self.memberships.take(group, source, interface, otherwise)

    def close(self, now: int) -> None:
        """Give up the binding and the groups."""
        if self.closed:
            return
        self.closed = True
        self.release()
        self.memberships.close(now)
        self.queue.clear()
        self._hold(-self.queued)
