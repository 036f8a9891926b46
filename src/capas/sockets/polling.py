# SPDX-License-Identifier: Apache-2.0
"""select and poll over virtual descriptors, for blocking programs (POSIX).

Genuine descriptors may be among them: in real time they are looked at every 10 ms while the virtual
are waited for, in virtual time before it goes on (`capas.sim.outside`).
Level-triggered; times are seconds (select) or milliseconds (poll) as in module `select`.
"""

import math
import os
import select as std
import stat
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from capas.base.clock import MS, NEVER, SECOND
from capas.host.host import Host
from capas.sockets import options
from capas.sockets.current import current_host, in_our_loop, require_host
from capas.sockets.description import Description
from capas.sockets.driver import VIRTUAL_FD, Driver, driver_of
from capas.sockets.failure import fail
from capas.transport.endpoint import ERROR, HANGUP, READ, URGENT, WRITE, Endpoint

POLLIN: Final = int(getattr(std, "POLLIN", 1))
POLLPRI: Final = int(getattr(std, "POLLPRI", 2))
POLLOUT: Final = int(getattr(std, "POLLOUT", 4))
POLLERR: Final = int(getattr(std, "POLLERR", 8))
POLLHUP: Final = int(getattr(std, "POLLHUP", 16))
POLLNVAL: Final = int(getattr(std, "POLLNVAL", 32))
_POLLRDHUP: Final = int(getattr(std, "POLLRDHUP", 0x2000))
_POLLRDNORM: Final = int(getattr(std, "POLLRDNORM", 0x40))
_POLLWRNORM: Final = int(getattr(std, "POLLWRNORM", 0x100))
_POLLWRBAND: Final = int(getattr(std, "POLLWRBAND", 0x200))
_EBADF: Final = 9
_MIXED: Final = 10 * MS  # between looks at genuine descriptors

real_select: Final = std.select
real_poll: Final[Any] = getattr(std, "poll", None)
real_epoll: Final[Any] = getattr(std, "epoll", None)


def descriptor(fileobj: Any) -> int:
    """The number of a descriptor or of an object that has one."""
    if isinstance(fileobj, int):
        fd = fileobj
    elif not hasattr(fileobj, "fileno"):
        raise TypeError("argument must be an int, or have a fileno() method.")
    else:
        fd = fileobj.fileno()
    if not isinstance(fd, int):
        raise TypeError("fileno() returned a non-integer")
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    return fd


class _Any:
    """An endpoint that is ready as soon as one of others is."""

    def __init__(self, driver: Driver) -> None:
        self.endpoint: Endpoint = Endpoint([])
        self._driver: Driver = driver

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """One of them gained readiness: look again."""
        self.endpoint.set_ready(READ)
        self._driver.tell(self.endpoint)


def _may_wait(driver: Driver) -> bool:
    """Whether a wait for genuine descriptors may let virtual time go on."""
    return driver.virtual and not in_our_loop()


def await_genuine(fd: int) -> None:
    """Let virtual time go on until a read of a genuine descriptor does not block (pipes and such).

    A genuine call that blocks would stop all programs, whoever could end it among them.
    """
    host = current_host()
    if host is None or real_poll is None or not _may_wait(driver_of(host)):
        return
    if os.get_blocking(fd) and not stat.S_ISREG(os.fstat(fd).st_mode):
        poll = Poll(host)
        poll.register(fd, POLLIN)
        poll.poll()


def is_open(fd: int) -> bool:
    """Whether a genuine descriptor is open."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _may_be_a_process(fd: int) -> bool:
    """Whether a process of the machine may be at the other end: sockets are a program's own."""
    return is_open(fd) and not stat.S_ISSOCK(os.fstat(fd).st_mode)


class Poll:
    """`select.poll` of a host."""

    def __init__(self, host: Host | None = None) -> None:
        self._driver: Driver = driver_of(host or require_host())
        self._wanted: dict[int, int] = {}
        self._real: Any = None  # a genuine poll object, when there are genuine descriptors

    def register(self, fd: Any, eventmask: int = POLLIN | POLLPRI | POLLOUT) -> None:
        """Watch ``fd``; again: with another mask."""
        number = descriptor(fd)
        if number < VIRTUAL_FD and real_poll is not None:
            if self._real is None:
                self._real = real_poll()
            self._real.register(number, eventmask)
        self._wanted[number] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """Another mask for a registered descriptor (ENOENT)."""
        number = descriptor(fd)
        if number not in self._wanted:
            raise fail(2)
        self.register(number, eventmask)

    def unregister(self, fd: Any) -> None:
        """Watch it no more (KeyError)."""
        number = descriptor(fd)
        del self._wanted[number]
        if number < VIRTUAL_FD and self._real is not None:
            self._real.unregister(number)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """(descriptor, events) of what is ready within ``timeout`` milliseconds."""
        forever = timeout is None or timeout < 0
        return self._poll(NEVER if forever or timeout is None else int(timeout * MS))

    def _poll(self, patience: int) -> list[tuple[int, int]]:
        found = self._look()
        if found or patience <= 0:
            return found
        virtual = [self._description(fd) for fd in tuple(self._wanted) if fd >= VIRTUAL_FD]
        watched = [description for description in virtual if description is not None]
        driver = self._driver
        if not watched and self._real is not None and not _may_wait(driver):
            return list(self._real.poll(None if patience >= NEVER else patience // MS))
        deadline = min(driver.now() + patience, NEVER)
        common = _Any(driver)
        with driver.lock:
            for description in watched:
                description.watch(common)
        try:
            if self._real is None:
                return self._wait(common, deadline)
            only = not watched and any(map(_may_be_a_process, tuple(self._wanted)))
            with driver.outside(partial(self._look_outside, common), only=only):
                return self._wait(common, deadline)
        finally:
            with driver.lock:
                for description in watched:
                    description.unwatch(common)

    def _wait(self, common: "_Any", deadline: int) -> list[tuple[int, int]]:
        driver = self._driver
        while True:
            found = self._look()  # first of all: something may have come before the watching
            if found:
                return found
            step = deadline
            if self._real is not None and not driver.virtual:
                step = min(deadline, driver.now() + _MIXED)
            if not driver.wait(common.endpoint, READ, step) and driver.now() >= deadline:
                return self._look()
            common.endpoint.clear(READ)

    def _look_outside(self, common: "_Any", seconds: float) -> bool:
        """Wait for genuine descriptors; True if one is ready and that is news."""
        timeout = None if seconds == math.inf else math.ceil(seconds * 1000)
        if common.endpoint.readiness & READ or not self._real.poll(timeout):
            return False
        common.endpoint_ready(common.endpoint)
        return True

    def _description(self, fd: int) -> Description | None:
        return self._driver.descriptors.open.get(fd)

    def _look(self) -> list[tuple[int, int]]:
        """What is ready now."""
        found: list[tuple[int, int]] = []
        for fd, wanted in tuple(self._wanted.items()):
            if fd < VIRTUAL_FD:
                continue
            description = self._description(fd)
            if description is None:
                found.append((fd, POLLNVAL))
                continue
            events = poll_events(description.endpoint.readiness)
            if events & POLLOUT and description.kind != options.STREAM:
                events |= _POLLWRBAND  # what a datagram means by it, nobody knows (Linux)
            events &= wanted | POLLERR | POLLHUP
            if wanted & _POLLRDHUP and description.peer_ended():
                events |= _POLLRDHUP
            if events:
                found.append((fd, events))
        if self._real is not None:
            found.extend(self._real.poll(0))
        return found


def poll() -> Any:
    """``select.poll``: of the current host, or genuine."""
    host = current_host()
    return real_poll() if host is None else Poll(host)


def poll_events(readiness: int) -> int:
    """Readiness bits as poll(2) shows them."""
    events = 0
    if readiness & READ:
        events |= POLLIN | _POLLRDNORM
    if readiness & URGENT:
        events |= POLLPRI
    if readiness & WRITE:
        events |= POLLOUT | _POLLWRNORM
    if readiness & ERROR:
        events |= POLLERR
    if readiness & HANGUP:
        events |= POLLHUP
    return events


def select(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """`select.select` over virtual and genuine descriptors."""
    readers, writers, others = list(rlist), list(wlist), list(xlist)
    numbers = [descriptor(item) for item in (*readers, *writers, *others)]
    genuine = numbers and all(number < VIRTUAL_FD for number in numbers)
    if genuine and not _may_wait(driver_of(require_host())):
        return real_select(readers, writers, others, timeout)
    if timeout is not None and timeout < 0:
        raise ValueError("timeout must be non-negative")
    poll = Poll()
    masks: dict[int, int] = {}
    for item in readers:
        masks[descriptor(item)] = POLLIN
    for item in writers:
        masks[descriptor(item)] = masks.get(descriptor(item), 0) | POLLOUT
    for item in others:
        masks[descriptor(item)] = masks.get(descriptor(item), 0) | POLLPRI
    for fd, mask in masks.items():
        poll.register(fd, mask)
    found = dict(poll._poll(NEVER if timeout is None else int(timeout * SECOND)))
    if any(events & POLLNVAL for events in found.values()):
        raise fail(_EBADF)
    bad = POLLERR | POLLHUP
    return (
        [item for item in readers if found.get(descriptor(item), 0) & (POLLIN | bad)],
        [item for item in writers if found.get(descriptor(item), 0) & (POLLOUT | POLLERR)],
        [item for item in others if found.get(descriptor(item), 0) & POLLPRI],
    )
