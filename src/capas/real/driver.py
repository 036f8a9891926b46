# SPDX-License-Identifier: Apache-2.0
"""Real time: what feeds hosts from devices and lets programs wait for them.

One *pump* at a time makes the network go: it flushes every host, sleeps in an epoll until a device
has frames, a timer of a host is due or somebody wakes it, drains the devices up to ``batch`` frames
each, advances every host and tells the watchers.  The pump is

- the event loop, whose selector calls `RealDriver.turn`: devices and the loop's own descriptors
  stand in one epoll, no thread; or
- a background thread, for blocking sockets, started when the first program waits or kicks.

Whoever touches a host holds ``lock``: the pump while it works (never while it sleeps), a blocking
socket during a call.  A program in a loop's thread holds it by being the pump.  Readiness is told
under the lock, by the thread that caused it.

Invariants: a device is read by the pump only; a frame is written by whoever flushes; watchers never
call back into the stack.
"""

import os
import selectors
import threading
import time
from asyncio import _get_running_loop
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, final

from capas.base.clock import NEVER, SECOND, Clock, Scheduler
from capas.base.config import HostConfig
from capas.base.rng import Rng
from capas.base.seq import M32
from capas.errors import BlockingInLoopError, DeviceError
from capas.host.host import Host
from capas.link.interface import Interface
from capas.real.clock import MonotonicClock
from capas.real.device import Device, Landing
from capas.real.gather import keep_heap
from capas.real.ports import Ports
from capas.real.settle import settle
from capas.sockets.driver import Driver
from capas.sockets.garbage import collect_as_before, collect_seldom
from capas.transport.endpoint import Endpoint
from capas.transport.tcp.connection import TcpConnection

_EAGER: Final = 2  # a task wakes by one callback and answers in the next
_SETTLE: Final = 5.0  # s that leaving waits for acknowledgements of what was written and closed
_SLICE: Final = 1.0  # s; how often a waiter makes sure that somebody pumps


@final
class _Waiter:
    """A thread blocked on one endpoint."""

    __slots__ = ("condition", "mask")

    def __init__(self, mask: int, lock: "threading.RLock") -> None:
        self.mask: int = mask
        self.condition = threading.Condition(lock)


@final
class RealDriver(Driver):
    """Runs hosts on devices in real time; a context manager, which `settle`s before it closes.

    ``lock``           held by whoever touches a host
    ``scheduler``      timers that belong to no host (impaired links), run by the pump
    ``real_selector``  where an event loop registers its genuine descriptors; `turn` returns early
                       when one is ready, and ``ports.loop_ready`` says so
    ``batch``          frames read from one device before everybody else has a turn
    """

    virtual: ClassVar[bool] = False

    def __init__(self, *, clock: Clock | None = None, batch: int = 64) -> None:
        super().__init__()
        keep_heap()
        collect_seldom()
        self.clock: Clock = clock if clock is not None else MonotonicClock()
        #: What `now` asks: the machine itself, if that is the clock, without a call between.
        self._read: Callable[[], int] = self.clock.now
        self._offset: int = 0
        if isinstance(self.clock, MonotonicClock):
            self._read, self._offset = time.monotonic_ns, self.clock.offset
        self._mutex = threading.RLock()
        self.lock = self._mutex
        self.scheduler: Scheduler = Scheduler()
        self.hosts: list[Host] = []
        self.ports: Ports = Ports(batch)
        self.real_selector = selectors.DefaultSelector()
        self._waiters: dict[Endpoint, list[_Waiter]] = {}
        self._eager: int = 0  # turns left in which callbacks go on before anything is sent
        self._told: bool = False  # a watcher was told something since the last turn
        self._asleep_until: int = -1  # -1: the pump is at work, or there is none
        self._loop_thread: int = 0
        self._worker: threading.Thread | None = None
        self._stopping: bool = False
        self._failure: BaseException | None = None
        self._secret = Rng(os.urandom(32))

    # -- putting together -----------------------------------------------------------------------

    def host(self, name: str, config: HostConfig | None = None) -> Host:
        """A new host in real time, its secrets from the operating system's randomness."""
        host = Host(name, config, self._secret.stream(f"host:{name}"))
        self.add_host(host)
        return host

    def add_host(self, host: Host) -> None:
        """Run ``host`` too."""
        with self.lock:
            self.adopt(host)
            self.hosts.append(host)
            self.ports.wake()

    def add_device(self, device: Device) -> None:
        """Read frames from ``device`` and hand them to its sink."""
        with self.lock:
            self.ports.add(device)

    def attach(
        self,
        host: Host,
        device: Device,
        *,
        addresses: Sequence[str] = (),
        name: str = "",
        mac: bytes | None = None,
    ) -> Interface:
        """Put ``host`` on ``device`` with ``addresses`` ("192.0.2.2/24") and run both."""
        with self.lock:
            interface = host.attach(
                device, name=name, mac=mac, addresses=addresses, now=self.clock.now()
            )
            if host not in self.hosts:
                self.add_host(host)
            self.add_device(device)
            return interface

    # -- the Driver contract --------------------------------------------------------------------

    def now(self) -> int:
        """Monotonic ns, with the clock's offset."""
        return self._read() + self._offset

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    def kick(self, host: Host) -> None:
        """Flush ``host``: at once in a thread of its own, at the next turn in the loop's."""
        if self._in_loop():
            return  # `turn` begins with a flush: what one callback writes leaves together
        with self.lock:
            now = self.clock.now()
            host.flush(now)
            self._tell(host.take_ready())
            self._ensure_pump()
            again = self.ports.busy_links(now)
            due = min(host.next_deadline(), self.scheduler.next_deadline())
            if again or self._told or due < self._asleep_until:
                self.ports.wake()

    def pull(self, host: Host, connection: TcpConnection, room: memoryview | None) -> bool:
        """As `Driver.pull`, in the loop that pumps: one train, read to where it shall be."""
        path, rx = connection.path, connection.rx
        link = path.route.interface.link if path.route is not None else None
        if not isinstance(link, Device) or not self._in_loop():
            return False
        if rx.buffered:
            return True  # a train is longer than what the program reads: the rest of it first
        now = self.clock.now()
        host.flush(now)
        landing = None
        if room is not None and rx.ooo is None and rx.mark is None:
            landing = Landing(path.key, rx.rcv_nxt & M32, room)
        return self.ports.pull(link, landing, now)

    def wait(self, endpoint: Endpoint, mask: int, deadline: int) -> int:
        """Block this thread until ``endpoint`` is ready for ``mask`` or ``deadline`` has come."""
        if self._in_loop():
            ready = endpoint.readiness & mask
            if ready or deadline <= self.clock.now():
                return ready
            raise BlockingInLoopError(
                "a blocking socket call inside the event loop that runs this network would wait"
                " for ever: use the loop's streams, or asyncio.to_thread"
            )
        with self.lock:
            ready = endpoint.readiness & mask
            if ready:
                return ready
            waiter = _Waiter(mask, self._mutex)
            waiters = self._waiters.setdefault(endpoint, [])
            waiters.append(waiter)
            try:
                while True:
                    now = self.clock.now()
                    ready = endpoint.readiness & mask
                    if ready or now >= deadline:
                        return ready
                    if self.closed:
                        raise DeviceError("the driver of this host is closed: nothing arrives")
                    self._ensure_pump()
                    waiter.condition.wait(min((deadline - now) / SECOND, _SLICE))
            finally:
                waiters.remove(waiter)
                if not waiters:
                    self._waiters.pop(endpoint, None)

    def sleep(self, deadline: int) -> None:
        """Block this thread until ``deadline``; the network goes on."""
        if not self._in_loop():
            with self.lock:
                self._ensure_pump()
        time.sleep(max(0, deadline - self.clock.now()) / SECOND)

    def turn(self, deadline: int) -> None:
        """One look of an event loop at the network and at its own descriptors.

        What arrives is told before it is answered: the flush comes after the program's callbacks
        (those of streams take `_EAGER` turns more), so that acknowledgements ride on answers.
        """
        if self._eager and deadline <= self._read() + self._offset:
            self._eager -= 1
            self.genuine_ready = False
            return
        if self._loop_thread != threading.get_ident():
            self._adopt()
        ports = self.ports
        ports.watch_loop(self.real_selector)
        with self.lock:
            timeout = self._flush(deadline)
        while True:
            ports.sleep(timeout)
            with self.lock:
                now = self._take_in()
                if self._told or ports.loop_ready or now >= deadline:
                    self.genuine_ready = ports.loop_ready
                    self._eager = _EAGER if self._told else 0
                    self._told = False
                    return
                timeout = self._flush(deadline)

    def wake(self) -> None:
        """Make a `turn` that waits in another thread return."""
        self._told = True
        self.ports.wake()

    def tell(self, endpoint: Endpoint) -> None:
        """An endpoint that belongs to no host gained readiness."""
        self._tell([endpoint])

    def release(self) -> None:
        """The event loop turns no more: whoever blocks, now or next, has the background thread."""
        with self.lock:
            self._loop_thread = 0
            if self.closed:
                return
            self._flush(NEVER)  # what its last callbacks wrote
            if self._waiters:
                self._ensure_pump()

    # -- who pumps ------------------------------------------------------------------------------

    def _in_loop(self) -> bool:
        """Whether this thread is the event loop that pumps, inside one of its callbacks."""
        return self._loop_thread == threading.get_ident() and _get_running_loop() is not None

    def _adopt(self) -> None:
        """The event loop of this thread becomes the pump."""
        with self.lock:
            self._loop_thread = threading.get_ident()  # from here on nobody starts a thread
        self._stop_thread()

    def start(self) -> None:
        """Start the background thread now (else it starts when first needed)."""
        with self.lock:
            self._ensure_pump()

    def _ensure_pump(self) -> None:
        """Somebody must pump: the loop if one is running, else the background thread."""
        if self._failure is not None:
            raise DeviceError("the network thread has failed") from self._failure
        if self._worker is not None or self.closed:
            return
        if self._loop_thread:
            if self._loop_thread != threading.get_ident() or _get_running_loop() is not None:
                return
            self._loop_thread = 0  # the loop of this thread is over and did not say so
        self._stopping = False
        self.ports.watch_loop(None)
        thread = threading.Thread(target=self._background, name="capas-network", daemon=True)
        thread.start()
        self._worker = thread

    def _background(self) -> None:
        try:
            with self.lock:
                timeout = self._flush(NEVER)
            while not self._stopping:
                self.ports.sleep(timeout)
                with self.lock:
                    self._take_in()
                    self._told = False
                    timeout = self._flush(NEVER)
                    self._told = False
        except BaseException as error:
            with self.lock:
                self._failure = error
                self._wake_waiters()
            raise

    def _wake_waiters(self) -> None:
        for waiter in [waiter for waiters in self._waiters.values() for waiter in waiters]:
            waiter.condition.notify()

    def _stop_thread(self) -> None:
        thread = self._worker
        if thread is not None and thread is not threading.current_thread():
            self._stopping = True
            self.ports.wake()
            thread.join()
        self._worker = None

    # -- the work, in this order: flush, sleep, take in -----------------------------------------

    def _flush(self, deadline: int) -> float | None:
        """Send what is to be sent; returns how long the pump may sleep, in seconds."""
        now = self._read() + self._offset
        due = deadline
        for host in self.hosts:
            host.flush(now)
            if host.ready:
                self._tell(host.take_ready())  # by loopback
            due = min(due, host.next_deadline())
        impaired = self.scheduler.next_deadline()
        if impaired <= now:
            self.scheduler.run_due(now)  # what the flush put on an undelayed cable
            impaired = self.scheduler.next_deadline()
        due = min(due, impaired)
        if self.ports.busy_links(now) or self._told:
            due = now
        self._asleep_until = due
        if due >= NEVER:
            return None
        return max(0, due - now) / SECOND

    def _take_in(self) -> int:
        """Take what the devices have, fire what is due after it, and tell; returns the time."""
        now = self._read() + self._offset
        self._asleep_until = -1
        self.ports.take_in(now)
        now = self._read() + self._offset  # or what crosses an undelayed cable would wait
        self.scheduler.run_due(now)
        for host in self.hosts:
            host.advance(now)
            if host.ready:
                self._tell(host.take_ready())
        return now

    def _tell(self, ready: list[Endpoint]) -> None:
        """Wake the threads and watchers of endpoints that became ready."""
        for endpoint in ready:
            waiters = self._waiters.get(endpoint)
            if waiters is not None:
                for waiter in waiters:
                    if endpoint.readiness & waiter.mask:
                        waiter.condition.notify()
            watcher = endpoint.watcher
            if watcher is not None:
                watcher.endpoint_ready(endpoint)
                self._told = True

    def close(self) -> None:
        """Stop, and give all devices back; idempotent."""
        with self.lock:  # from here on nobody starts a thread
            if self.closed:
                return
            self.closed = True
        collect_as_before()
        self._stop_thread()
        with self.lock:
            self.ports.close()
            if self.real_selector is not None:
                self.real_selector.close()
            self._wake_waiters()

    def __enter__(self) -> "RealDriver":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                settle(self, _SETTLE)
        finally:
            self.close()
