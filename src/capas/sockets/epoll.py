# SPDX-License-Identifier: Apache-2.0
"""epoll over virtual descriptors, for blocking programs (man 7 epoll): `select.epoll` of a host.

Genuine descriptors may be among them, as in `capas.sockets.polling`; they are level-triggered.
"""

import select as std
from typing import Any, Final, final

from capas.base.clock import NEVER, SECOND
from capas.sockets.current import current_host
from capas.sockets.description import Description
from capas.sockets.driver import VIRTUAL_FD
from capas.sockets.failure import fail
from capas.sockets.kinds import Kind
from capas.sockets.polling import (
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    Poll,
    descriptor,
    is_open,
    real_epoll,
)
from capas.transport.endpoint import Endpoint

_EPOLLONESHOT: Final = int(getattr(std, "EPOLLONESHOT", 1 << 30))
_EPOLLET: Final = int(getattr(std, "EPOLLET", 1 << 31))
_EPOLL_CLOEXEC: Final = int(getattr(std, "EPOLL_CLOEXEC", 0o2000000))
_ENOENT: Final = 2
_EBADF: Final = 9
_EEXIST: Final = 17


@final
class _Registered:
    """A descriptor in an `Epoll`, for as long as what it stands for is open.

    ``description``  None: of a genuine one
    ``armed``        its events are shown: once after each `modify` if it is one-shot
    ``news``         something has come since it was told of: what counts if it is edge-triggered
    """

    def __init__(self, description: Description | None, eventmask: int) -> None:
        self.description: Description | None = description
        self.once: bool = bool(eventmask & _EPOLLONESHOT)
        self.edges: bool = False
        self.armed: bool = True
        self.news: bool = True
        if eventmask & _EPOLLET and description is not None:
            self.edges = True
            description.watch(self)
            description.endpoint.eager = True

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """Something has come."""
        self.news = True

    def told(self) -> None:
        """`Epoll.poll` has shown its events."""
        self.armed = not self.once
        self.news = not self.edges

    def forget(self) -> None:
        """It is registered no more."""
        if self.edges and self.description is not None:
            self.description.unwatch(self)


class Epoll(Poll):
    """`select.epoll` of a host."""

    closed = False

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        if sizehint < 1 and sizehint != -1:
            raise ValueError("negative sizehint")
        if flags & ~_EPOLL_CLOEXEC:
            raise OSError("invalid flags")
        super().__init__()
        self._registered: dict[int, _Registered] = {}

    def _number(self, fd: Any) -> int:
        """The number of a descriptor that is open (EBADF) and can be polled (EPERM)."""
        number = descriptor(fd)
        self._check()
        self._sweep()
        if number < VIRTUAL_FD:
            with real_epoll() as kernel:  # which knows
                kernel.register(number, 0)
        elif self._description(number) is None:
            raise fail(_EBADF)
        return number

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed epoll object")

    def _sweep(self) -> None:
        """What was closed is registered no more."""
        for fd, registered in tuple(self._registered.items()):
            gone = self._description(fd) is not registered.description
            if fd < VIRTUAL_FD and not registered.armed:  # the kernel does not watch it for us
                gone = not is_open(fd)
            if gone:
                self._forget(fd)

    def register(self, fd: Any, eventmask: int = POLLIN | POLLPRI | POLLOUT) -> None:
        """Watch ``fd``; FileExistsError if it is registered."""
        number = self._number(fd)
        if number in self._wanted:
            raise fail(_EEXIST)
        self._watch(number, eventmask)

    def _watch(self, fd: int, eventmask: int) -> None:
        with self._driver.lock:
            if fd in self._registered:
                self._registered[fd].forget()
            self._registered[fd] = _Registered(self._description(fd), eventmask)
        super().register(fd, eventmask & 0xFFFF)

    def modify(self, fd: Any, eventmask: int) -> None:
        """Another mask (FileNotFoundError)."""
        number = self._number(fd)
        if number not in self._wanted:
            raise fail(_ENOENT)
        self._watch(number, eventmask)

    def unregister(self, fd: Any) -> None:
        """Watch it no more (FileNotFoundError)."""
        number = self._number(fd)
        if number not in self._wanted:
            raise fail(_ENOENT)
        self._forget(number)

    def _forget(self, fd: int) -> None:
        if fd < VIRTUAL_FD and not self._registered[fd].armed:
            del self._wanted[fd]
        else:
            super().unregister(fd)
        with self._driver.lock:
            self._registered.pop(fd).forget()

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """(descriptor, events) of what is ready within ``timeout`` seconds."""
        self._check()
        if maxevents < 1 and maxevents != -1:
            raise ValueError(f"maxevents must be greater than 0, got {maxevents}")
        forever = timeout is None or timeout < 0
        found = self._poll(NEVER if forever or timeout is None else int(timeout * SECOND))
        if 0 < maxevents < len(found):
            found = found[:maxevents]
            for fd, _ in found:  # the others have their turn next, as in the kernel
                self._wanted[fd] = self._wanted.pop(fd)
        for fd, _ in found:
            self._registered[fd].told()
            if fd < VIRTUAL_FD and not self._registered[fd].armed:
                self._real.unregister(fd)
        return found

    def _look(self) -> list[tuple[int, int]]:
        self._sweep()
        found = []
        for fd, events in super()._look():
            registered = self._registered[fd]
            if events & POLLNVAL:  # a genuine one that was closed
                self._forget(fd)
            elif registered.armed and registered.news:
                found.append((fd, events))
        return found

    def close(self) -> None:
        """Forget everything."""
        self.closed = True
        for fd in tuple(self._registered):
            self._forget(fd)
        self._real = None

    def fileno(self) -> int:
        """It has no descriptor of its own."""
        self._check()
        raise fail(_EBADF)

    def __enter__(self) -> "Epoll":
        self._check()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DispatchingEpoll(metaclass=Kind):
    """What ``select.epoll`` is while installed; calling it makes one of the current host."""

    genuine = (real_epoll, Epoll)

    def __new__(cls, sizehint: int = -1, flags: int = 0) -> Any:
        """Of the current host, or genuine."""
        return (real_epoll if current_host() is None else Epoll)(sizehint, flags)

    @staticmethod
    def fromfd(fd: int) -> Any:
        """A genuine one: those of ours have no descriptors."""
        return real_epoll.fromfd(fd)


DispatchingEpoll.__name__ = DispatchingEpoll.__qualname__ = "epoll"
DispatchingEpoll.__module__ = "select"
