# SPDX-License-Identifier: Apache-2.0
"""The contract between sockets and whatever makes time pass.

Sockets never wait by themselves.  A driver owns the clock and a set of hosts: `SimDriver` (virtual
time, `capas.sim`) or `RealDriver` (TAP, TUN and pipes, `capas.real`).

Virtual descriptors are ints from ``VIRTUAL_FD`` on, numbered by each driver in order of creation,
so that a program which prints one prints the same on each run.
"""

import contextlib
import errno
import os
import selectors
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from capas.base.native import mypyc_attr
from capas.host.host import Host
from capas.transport.endpoint import Endpoint

if TYPE_CHECKING:
    import asyncio

    from capas.sockets.description import Description
    from capas.transport.tcp.connection import TcpConnection

VIRTUAL_FD: Final = 1 << 20  # the first descriptor of ours; above any kernel's in practice


@final
class Descriptors:
    """The descriptor table of one driver.

    ``inheritable``  those without FD_CLOEXEC: only remembered, no other process gets any
    """

    __slots__ = ("_cookies", "_next", "inheritable", "open")

    def __init__(self) -> None:
        self._next: int = VIRTUAL_FD
        self._cookies: int = 0
        self.open: dict[int, Description] = {}
        self.inheritable: set[int] = set()

    def add(self, description: "Description") -> int:
        """A new descriptor of ``description``; numbers are never used twice."""
        fd = self._next
        self._next += 1
        self.open[fd] = description
        description.references += 1
        return fd

    def draw_cookie(self) -> int:
        """A number for SO_COOKIE that was not given before."""
        self._cookies += 1
        return self._cookies

    def mark(self, fd: int, inheritable: bool) -> None:
        """Clear or set FD_CLOEXEC."""
        if inheritable:
            self.inheritable.add(fd)
        else:
            self.inheritable.discard(fd)

    def close(self, fd: int) -> None:
        """Close one descriptor (EBADF); the last one closes the description."""
        description = self.open.pop(fd, None)
        if description is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.inheritable.discard(fd)
        self.release(description)

    def release(self, description: "Description") -> None:
        """One reference less: a descriptor, or a call that waits."""
        description.references -= 1
        if description.references == 0:
            description.close()


@mypyc_attr(allow_interpreted_subclasses=True)
class Driver(ABC):
    """Makes time pass for a set of hosts."""

    #: Whether time is virtual: then programs must not notice the machine's own clock.
    virtual: ClassVar[bool] = True

    #: Genuine descriptors an event loop watches (its self-pipe, subprocesses, real sockets).  A
    #: real driver polls it together with its devices and `turn` returns early when one is ready; a
    #: virtual driver polls it without waiting, and waits on it only when nothing else is left.
    real_selector: selectors.BaseSelector | None = None

    #: Whether it is worth asking: a driver that polls it says so after each `turn`.
    genuine_ready: bool = True

    #: Whether it sleeps in ``real_selector`` until a genuine descriptor is ready: to wake it takes
    #: a byte in a self-pipe, also where time is virtual.
    asleep: bool = False

    #: Whether it has given its devices back: nobody can wait any more.
    closed: bool = False

    def __init__(self) -> None:
        #: Held around every call into a host's stack; reentrant.  Nothing where one thread runs.
        self.lock: AbstractContextManager[Any] = contextlib.nullcontext()
        #: The virtual descriptors open on this driver's hosts.
        self.descriptors: Descriptors = Descriptors()
        #: Genuine threads that wait for processes of the machine, and will tell an event loop.
        self.helpers: list[Thread] = []

    def adopt(self, host: Host) -> None:
        """``host`` lives by this driver's time: sockets made on it wait here."""
        host.driver = self

    @abstractmethod
    def now(self) -> int:
        """The driver's time, ns."""

    @abstractmethod
    def wall(self) -> float:
        """Seconds since the Unix epoch, as ``time.time()`` should tell a program."""

    @abstractmethod
    def kick(self, host: Host) -> None:
        """User code changed something on ``host``: flush it before waiting."""

    def pull(self, host: Host, connection: "TcpConnection", room: memoryview | None) -> bool:
        """A program reads bulk data: flush, and take in what follows on the device at once.

        Called by a transport of an event loop, the lock held.  ``room`` is where the program wants
        it; what arrives may lie there already when it is read into ``room`` next.  False: nothing
        arrived, or nothing is read by system calls.
        """
        return False

    @abstractmethod
    def wait(self, endpoint: Endpoint, mask: int, deadline: int) -> int:
        """Block the calling program until ``endpoint.readiness & mask`` or ``deadline``.

        Returns the ready bits, 0 on timeout.  Raises BlockingInLoopError where blocking would stop
        the event loop that makes time pass.  A watcher it puts on the endpoint meanwhile passes
        readiness on to the watcher found there, which is put back afterwards.
        """

    def outside(
        self, look: Callable[[float], bool], *, only: bool
    ) -> AbstractContextManager[object]:
        """A context for a `wait` for genuine descriptors (``only``, or others besides).

        ``look(seconds)`` waits so long for one to be ready, and then makes the wait end.  Nothing
        to do where time is the machine's own: the caller looks from time to time.
        """
        return contextlib.nullcontext()

    @abstractmethod
    def sleep(self, deadline: int) -> None:
        """Block the calling program until ``deadline``."""

    @abstractmethod
    def turn(self, deadline: int) -> None:
        """Let the network run until a watched endpoint gains readiness, or until ``deadline``.

        Called by an event loop's selector.  Flushes kicked hosts first.  Returns early if anything
        the loop should look at has happened (also `wake`, or a genuine descriptor); a deadline in
        the past means "what is due now, without waiting".
        """

    def activate(self) -> AbstractContextManager[Any]:
        """A context in which the calling thread's ``time`` and ``datetime`` tell this time.

        An event loop runs inside it.  Nothing to do where time is the machine's own.
        """
        return contextlib.nullcontext()

    def wake(self) -> None:  # noqa: B027 - nobody waits in another thread unless a driver says so
        """Make a `turn` that waits in another thread return; safe to call from any thread."""

    def tell(self, endpoint: Endpoint) -> None:
        """An endpoint that belongs to no host gained readiness: whoever waits for it looks again.

        Called while the driver tells watchers.
        """
        if endpoint.watcher is not None:
            endpoint.watcher.endpoint_ready(endpoint)

    def started(self, host: Host, task: "asyncio.Task[Any]") -> None:  # noqa: B027 - as above
        """An event loop began ``task`` on ``host``; it should end with the host."""

    def expect(self, what: object, seconds: float) -> None:  # noqa: B027 - real time goes on by itself
        """``what``, a genuine descriptor that becomes ready, is likely within so much real time.

        Virtual time goes no faster than real time until then.  0: it is awaited no more.
        """

    def helper(self) -> Thread | None:
        """The youngest of the living ``helpers``: virtual time is held as for descriptors."""
        while self.helpers and not self.helpers[-1].is_alive():
            self.helpers.pop()
        return self.helpers[-1] if self.helpers else None

    def new_event_loop(self) -> "asyncio.AbstractEventLoop | None":
        """What ``asyncio.new_event_loop`` is for programs of its hosts; None: the genuine one."""
        return None

    def release(self) -> None:  # noqa: B027 - most drivers need not know
        """An event loop that called `turn` runs no more."""

    def run_blocking(
        self,
        host: Host | None,
        function: Callable[[], object],
        done: Callable[[object, BaseException | None], None],
    ) -> bool:
        """Run blocking ``function`` beside an event loop (its `run_in_executor`).

        A virtual driver runs it as a program of its own in virtual time, calls ``done(result,
        error)`` when it ends and answers True.  False: the loop uses a pool of real threads.
        """
        return False


def driver_of(host: Host) -> Driver:
    """The driver that ``host`` lives by."""
    driver = host.driver
    if not isinstance(driver, Driver):
        raise RuntimeError(
            f"host {host.name!r} belongs to no world and no device: nothing makes its time pass"
        )
    return driver
