# SPDX-License-Identifier: Apache-2.0
"""The devices of a real-time driver, what it sleeps on, and how it is woken.

One poller holds every device with a descriptor, the wake-up socket, and, while an event loop is
the pump, that loop's own selector as a single descriptor (an epoll or kqueue can be watched like a
file).  Where a selector has no descriptor (Windows), the two are polled in turns.
"""

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable
from typing import Final, final

from capas.link.interface import Interface
from capas.real.device import Device, Landing
from capas.real.poller import READ, WRITE, make_poller

_TRAIN: Final = 64  # frames that a train counts for: a turn, or it is answered out of a cold cache
_POLL: Final = 0.002  # s, between looks at a loop's selector that has no descriptor
_LIVELY: Final = 100_000  # ns; what came within it may have its answer come as soon


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@final
class _Port:
    """A device in the poller; ``waiting``: it was busy and has not been writable since."""

    __slots__ = ("device", "fd", "waiting")

    def __init__(self, device: Device) -> None:
        self.device: Device = device
        self.fd: int = device.fileno()
        self.waiting: bool = False


@final
class Ports:
    """All devices of one driver.

    ``loop_ready``  a genuine descriptor of the event loop is ready (set by `sleep`)
    """

    def __init__(self, batch: int) -> None:
        self.loop_ready: bool = False
        self.on_gone: Callable[[Device], object] | None = None
        self._batch: int = batch
        self._poller = make_poller()
        self._ports: dict[int, _Port] = {}
        self._fed: list[_Port] = []  # devices without a descriptor
        self._events: list[tuple[int, int]] = []
        self._lively: bool = False  # the last sleep was short
        #: Who answers runs beside us: on the same core it would wait while we look.
        self._beside: bool = cores() > 1
        self._loop: selectors.BaseSelector | None = None
        self._loop_fd: int = -1
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._wake_fd: int = self._wake_in.fileno()
        self._poller.add(self._wake_fd, READ)

    # -- what there is --------------------------------------------------------------------------

    def add(self, device: Device) -> None:
        """Read from ``device`` from now on."""
        port = _Port(device)
        device.wake = self.wake
        if port.fd < 0:
            self._fed.append(port)
        else:
            self._ports[port.fd] = port
            self._poller.add(port.fd, READ)
        self.wake()

    def remove(self, device: Device) -> None:
        """Read from ``device`` no more."""
        self._fed = [port for port in self._fed if port.device is not device]
        for fd, port in list(self._ports.items()):
            if port.device is device:
                del self._ports[fd]
                self._poller.remove(fd)

    def watch_loop(self, selector: selectors.BaseSelector | None) -> None:
        """Also wake for what is ready in an event loop's ``selector``; None: no more."""
        if selector is self._loop:
            return
        if self._loop_fd >= 0:
            self._poller.remove(self._loop_fd)
        self._loop_fd = -1
        self._loop = selector
        if selector is not None:
            fileno = getattr(selector, "fileno", None)
            if fileno is not None:
                self._loop_fd = fileno()
                self._poller.add(self._loop_fd, READ)

    # -- sleeping -------------------------------------------------------------------------------

    def sleep(self, timeout: float | None) -> None:
        """Wait (without the lock) until something is ready; `take_in` does the rest."""
        loop = self._loop
        self.loop_ready = False
        if loop is None or self._loop_fd >= 0:
            self._events = self._await(timeout)
            return
        left = timeout
        while True:
            step = _POLL if left is None else min(_POLL, left)
            self._events = self._poller.poll(step)
            if self._events or loop.select(0):
                self.loop_ready = True
                return
            if left is not None:
                left -= step
                if left <= 0:
                    return

    def _await(self, timeout: float | None) -> list[tuple[int, int]]:
        """What is ready; in a lively exchange by looking again and again before sleeping.

        To wake a processor that sleeps costs as much as the answer itself.  Whoever had to wait
        longer than `_LIVELY` sleeps at once the next time.  Only for a loop: a thread of our own
        would spin against the program's.
        """
        poll = self._poller.poll
        start = time.monotonic_ns()
        if self._lively and self._beside and self._loop_fd >= 0 and timeout != 0:
            until = start + _LIVELY
            if timeout is not None:
                until = min(until, start + int(timeout * 1e9))
            while time.monotonic_ns() < until:
                events = poll(0)
                if events:
                    return events
            if timeout is not None:
                timeout = max(0.0, timeout - _LIVELY / 1e9)
        events = poll(timeout)
        self._lively = time.monotonic_ns() - start < _LIVELY
        return events

    def wake(self) -> None:
        """Make `sleep` return; from any thread."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody sleeps
            self._wake_out.send(b"\0")

    # -- working (under the driver's lock) ------------------------------------------------------

    def take_in(self, now: int) -> None:
        """Hand up what the ready devices have, and tell those that can write again."""
        ports = self._ports
        for fd, mask in self._events:
            port = ports.get(fd)
            if port is not None:
                if mask & WRITE:
                    self._writable(port, now)
                if mask & ~WRITE:
                    self._drain(port.device, now)
            elif fd == self._loop_fd:
                self.loop_ready = True
            elif fd == self._wake_fd:
                with contextlib.suppress(OSError):
                    while self._wake_in.recv(4096):
                        pass
        self._events = []
        for port in self._fed:
            self._drain(port.device, now)

    def _drain(self, device: Device, now: int) -> None:
        """Hand up to ``batch`` frames up, or a few trains."""
        sink = device.sink
        trains = isinstance(sink, Interface) and sink.takes_trains()
        read = device.read_train if trains else device.read
        left = self._batch
        while left > 0:
            frame = read(now)
            if frame is None:
                if device.gone:
                    self.remove(device)
                    if self.on_gone is not None:
                        self.on_gone(device)
                return
            left -= _TRAIN if frame.body else 1
            if sink is not None:
                sink.receive(frame, now)
        if device.ahead():
            self.wake()  # no descriptor says that more is waiting

    def pull(self, device: Device, landing: Landing | None, now: int) -> bool:
        """Hand up one more train of ``device``; False: there is none."""
        sink = device.sink
        if device.fileno() not in self._ports or not isinstance(sink, Interface):
            return False
        frame = device.read_train(now, landing) if sink.takes_trains() else None
        if frame is None:
            return False
        sink.receive(frame, now)
        return True

    def busy_links(self, now: int) -> bool:
        """Watch devices that refused a frame; True if one takes frames again already."""
        again = False
        for port in self._ports.values():
            if port.device.busy and not port.waiting:
                port.waiting = True
                self._poller.change(port.fd, READ | WRITE)
        for port in self._fed:
            if port.device.busy:
                port.waiting = True
            elif port.waiting:
                self._writable(port, now)
                again = True
        return again

    def _writable(self, port: _Port, now: int) -> None:
        """A busy device takes frames again."""
        port.waiting = False
        if port.fd >= 0:
            self._poller.change(port.fd, READ)
        device = port.device
        device.busy = False
        if device.sink is not None:
            device.sink.link_ready(now)

    def close(self) -> None:
        """Close all devices and what the driver slept on."""
        for port in (*self._ports.values(), *self._fed):
            port.device.close()
        self._ports.clear()
        self._fed.clear()
        self._poller.close()
        self._wake_in.close()
        self._wake_out.close()
