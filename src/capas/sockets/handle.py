# SPDX-License-Identifier: Apache-2.0
"""`Handle`: what a socket object is before it does anything: descriptor, properties, waiting.

It inherits from CPython's `socket.socket` without ever running its C initialiser, so it owns no
kernel descriptor.  Times are seconds at this border, ns below.
"""

import contextlib
import errno
import operator
import socket as std
import warnings
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

from capas.base.clock import NEVER, SECOND, US
from capas.host.host import Host
from capas.sockets import linger, options
from capas.sockets.arguments import TIME_MAX, seconds
from capas.sockets.current import require_host
from capas.sockets.description import Description
from capas.sockets.driver import Driver, driver_of
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_DONTWAIT
from capas.sockets.ping import PingDescription
from capas.sockets.raw import RawDescription
from capas.sockets.stream import StreamDescription
from capas.sockets.udp import UdpDescription
from capas.transport.endpoint import ERROR, HANGUP, WRITE

T = TypeVar("T")

_NONBLOCK: Final = options.number("SOCK_NONBLOCK", 0o4000)
_TYPE_FLAGS: Final = _NONBLOCK | options.number("SOCK_CLOEXEC", 0o2000000)

_PROTOCOLS: Final = 256
_ICMP: Final = options.number("IPPROTO_ICMP", 1)
_ICMPV6: Final = options.number("IPPROTO_ICMPV6", 58)

#: how a new socket of (type, protocol) is made; 0 is the type's usual protocol
_KINDS: Final[dict[tuple[int, int], Callable[[Host, Driver, int, int], Description]]] = {
    (std.SOCK_STREAM, 0): StreamDescription,
    (std.SOCK_STREAM, 6): StreamDescription,
    (std.SOCK_DGRAM, 0): UdpDescription,
    (std.SOCK_DGRAM, 17): UdpDescription,
    (std.SOCK_DGRAM, _ICMP): PingDescription,
    (std.SOCK_DGRAM, _ICMPV6): PingDescription,
}


def describe(host: Host, family: int, type: int, proto: int) -> Description:
    """socket(2) on ``host``."""
    if family not in (std.AF_INET, std.AF_INET6):
        raise fail(errno.EAFNOSUPPORT)
    if not 0 <= proto < _PROTOCOLS:
        raise fail(errno.EINVAL)
    make = _KINDS.get((type, proto))
    if type == std.SOCK_RAW and proto:
        make = RawDescription
    elif proto in (_ICMP, _ICMPV6) and (proto == _ICMPV6) != (family == std.AF_INET6):
        make = None
    if make is None:
        known = type == std.SOCK_RAW or any(kind == type for kind, _ in _KINDS)
        raise fail(errno.EPROTONOSUPPORT if known else errno.ESOCKTNOSUPPORT)
    return make(host, driver_of(host), family, proto)


class Handle(std.socket):
    """A descriptor on the current host, or on ``host``."""

    __slots__ = ("_description", "_driver", "_fd", "_proto", "_timeout")

    def __init__(
        self,
        family: int = -1,
        type: int = -1,
        proto: int = -1,
        fileno: int | None = None,
        *,
        host: Host | None = None,
    ) -> None:
        # The C initialiser is not called: it would open a kernel descriptor.
        self._io_refs = 0
        self._closed = True
        self._fd: int = -1
        timeout = std.getdefaulttimeout()
        if fileno is None:
            kind = int(std.SOCK_STREAM) if type == -1 else int(type)
            if kind & _NONBLOCK and _NONBLOCK:
                timeout = 0.0
            description = describe(
                host or require_host(),
                int(std.AF_INET) if family == -1 else int(family),
                kind & ~_TYPE_FLAGS,
                0 if proto == -1 else int(proto),
            )
            self._adopt(description, description.driver.descriptors.add(description))
        else:
            self._reopen(operator.index(fileno), host)
            if proto == -1:
                proto = self._description.fact("protocol")
        self._proto: int = 0 if proto == -1 else int(proto)
        self._timeout: float | None = timeout
        self._closed = False
        if timeout is not None:
            self._description.nonblocking = True

    def _adopt(self, description: Description, fd: int) -> None:
        self._description: Description = description
        self._driver: Driver = description.driver
        self._fd = fd

    def _reopen(self, fd: int, host: Host | None) -> None:
        """A socket object for a descriptor that is open already."""
        description = driver_of(host or require_host()).descriptors.open.get(fd)
        if description is None:
            raise fail(errno.EBADF)
        self._adopt(description, fd)

    @classmethod
    def of(cls, description: Description) -> Self:
        """A socket object with a descriptor of its own for ``description``."""
        fd = description.driver.descriptors.add(description)
        return cls(fileno=fd, host=description.host, proto=description.proto)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._io_refs = 0
            self._description.settings.values.pop("linger", None)  # no wait in a finaliser
            with contextlib.suppress(OSError):  # another object closed the descriptor
                self.close()

    # -- what it is -------------------------------------------------------------------------------

    @property
    def family(self) -> std.AddressFamily:
        """AF_INET or AF_INET6."""
        return std.AddressFamily(self._description.family)

    @property
    def type(self) -> std.SocketKind:
        """SOCK_STREAM, SOCK_DGRAM or SOCK_RAW."""
        return std.SocketKind(self._description.type)

    @property
    def proto(self) -> int:
        """The protocol as it was given; of a descriptor that was opened again, SO_PROTOCOL."""
        return self._proto

    @property
    def timeout(self) -> float | None:
        """As `gettimeout`."""
        return self._timeout

    @property
    def host(self) -> Host:
        """The host it is on."""
        return self._description.host

    @property
    def description(self) -> Description:
        """What its descriptor stands for; EBADF when it is closed."""
        description = self._driver.descriptors.open.get(self._fd)
        if description is None:
            raise fail(errno.EBADF)
        return description

    def fileno(self) -> int:
        """A virtual descriptor, -1 when closed."""
        return self._fd

    # -- blocking ---------------------------------------------------------------------------------

    def settimeout(self, value: float | None) -> None:
        """None: block; 0: do not; else seconds."""
        if value is not None:
            if type(value) is not float or not 0 <= value < TIME_MAX:
                value = seconds(value)
            if value < 0:
                raise ValueError("Timeout value out of range")
        self.description.nonblocking = value is not None  # EBADF
        self._timeout = value

    def gettimeout(self) -> float | None:
        """The timeout in seconds, None: block."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Block, or do not."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Whether calls wait at all."""
        return self._timeout is None or self._timeout > 0

    def _never_waits(self) -> bool:
        """Whether a call that would block fails: by its timeout, or by fcntl(2) on its back."""
        return self._timeout == 0 or (self._timeout is None and self._description.nonblocking)

    def _limit(self, bit: int) -> int:
        """SO_RCVTIMEO or SO_SNDTIMEO, ns; 0: none, or Python's own timeout counts."""
        name = "send_timeout" if bit == WRITE else "receive_timeout"
        return self._description.settings.values.get(name, 0) * US if self._timeout is None else 0

    def _deadline(self) -> int:
        timeout = self._timeout
        if timeout is None or timeout > 1e9:
            return NEVER
        return self._driver.now() + int(timeout * SECOND)

    def _retry(self, call: Callable[[], T | None], bit: int, flags: int, deadline: int = -1) -> T:
        """``call`` until it answers something else than None ("would block")."""
        driver = self._driver
        with driver.lock:
            result = call()
        if result is not None:
            return result
        if flags & MSG_DONTWAIT or self._never_waits():
            raise fail(errno.EAGAIN)
        if deadline < 0:
            deadline = self._deadline()
        limit = self._limit(bit)
        if limit:
            deadline = min(deadline, driver.now() + limit)
        mask = bit | ERROR | HANGUP
        description = self.description
        description.references += 1  # another thread may close it meanwhile
        try:
            while True:
                ready = driver.wait(description.endpoint, mask, deadline)
                if self._timeout is not None and self._fd < 0:
                    raise fail(errno.EBADF)  # CPython calls again by the descriptor
                with driver.lock:
                    result = call()
                if result is not None:
                    return result
                if ready == 0 and driver.now() >= deadline:
                    raise fail(errno.EAGAIN) if limit else TimeoutError("timed out")
                if not ready & bit:
                    mask = bit  # an old error or hang-up that this call does not mind
        finally:
            with driver.lock:
                driver.descriptors.release(description)

    # -- the end ----------------------------------------------------------------------------------

    def _real_close(self, *_: Any) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            linger.close(self._driver, fd)

    def detach(self) -> int:
        """Give up the descriptor without closing it."""
        self._closed = True
        fd, self._fd = self._fd, -1
        return fd

    def dup(self) -> Self:
        """Another descriptor of the same description."""
        copy = type(self).of(self.description)
        copy._timeout = self._timeout
        copy._proto = self._proto
        return copy
