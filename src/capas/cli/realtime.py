# SPDX-License-Identifier: Apache-2.0
"""A simulated world that keeps step with the clock on the wall, with cables into the kernel.

The world's engine runs what is due by now and sleeps, in the devices' own epoll, until the next
event, frame or deadline.  A TAP is plugged into a switch of the world as any other cable, so the
kernel's programs reach simulated hosts across simulated routers and their impairments.

Invariant: each event of the world happens at its own time, also when the process comes late, and
what comes from outside, a frame of the kernel or a call of a program, finds the world at the time
it really comes (`PacedDriver.catch_up`).  So no link is ever shorter than its delay.
"""

import time
from typing import ClassVar, Final, final

from capas.base.clock import SECOND, Clock
from capas.base.frame import Frame
from capas.errors import BlockingInLoopError, ConfigurationError
from capas.host.host import Host
from capas.link.link import Link
from capas.real.clock import MonotonicClock
from capas.real.device import Device
from capas.real.outlet import Outlet
from capas.real.ports import Ports
from capas.sim.switch import Switch
from capas.sim.world import World
from capas.sockets.driver import Driver
from capas.transport.endpoint import Endpoint

_BATCH: Final = 64  # frames read from one device in a row
_LONGEST: Final = 3600 * SECOND  # ns; a sleep without anything scheduled


@final
class PacedDriver(Driver):
    """Runs a world in real time; event loops only."""

    virtual: ClassVar[bool] = False

    def __init__(self, world: World, *, clock: Clock | None = None) -> None:
        super().__init__()
        self.world: World = world
        self.ports: Ports = Ports(_BATCH)
        self.lock = _CaughtUp(self)
        self._clock: Clock = clock if clock is not None else MonotonicClock()
        self._base: int = self._clock.now() - world.now
        self._told: bool = False
        for host in world.hosts.values():
            self.adopt(host)

    def plug(self, device: Device, to: str) -> None:
        """Plug a device into a switch."""
        switch = self.world.find(to)
        if not isinstance(switch, Switch):
            raise ConfigurationError(
                f"a TAP ends in a switch: {to!r} is none; put one between, with [switches.NAME]"
            )
        port = switch.attach(_Plug(self, device))
        for capture in self.world.captures:
            capture.add_switch_port(port)
        self.ports.add(device)

    # -- the Driver contract --------------------------------------------------------------------

    def now(self) -> int:
        """The wall clock, ns since the world began."""
        return self._clock.now() - self._base

    def wall(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    def kick(self, host: Host) -> None:
        """Flush ``host`` at the next turn."""
        self.world.driver.kick(host)

    def wait(self, endpoint: Endpoint, mask: int, deadline: int) -> int:
        """Only what is ready already: a loop does not block."""
        ready = endpoint.readiness & mask
        if ready or deadline <= self.now():
            return ready
        raise BlockingInLoopError(
            "a world in real time runs asyncio programs; blocking sockets wait in virtual time only"
        )

    def sleep(self, deadline: int) -> None:
        """Never: a loop does not block."""
        raise BlockingInLoopError("use asyncio.sleep: a blocking sleep would stop the world")

    def turn(self, deadline: int) -> None:
        """Run what is due, then sleep until the next event, frame or ``deadline``."""
        self.ports.watch_loop(self.real_selector)
        self.catch_up()
        while True:
            now = self.now()
            due = min(deadline, self.world.scheduler.next_deadline(), now + _LONGEST)
            if self._told or self.ports.busy_links(now):
                due = now
            self.ports.sleep(max(0, due - now) / SECOND)
            self.ports.take_in(self.now())
            self.catch_up()
            if self._told or self.ports.loop_ready or self.now() >= deadline:
                self.genuine_ready = self.ports.loop_ready
                self._told = False
                return

    def wake(self) -> None:
        """Make a `turn` that sleeps return."""
        self._told = True
        self.ports.wake()

    def release(self) -> None:
        """The loop is closed."""
        self.ports.watch_loop(None)

    # -- the world ------------------------------------------------------------------------------

    def catch_up(self) -> int:
        """Run all that is due, each event at its own time; the world's time, which is now."""
        world, engine = self.world, self.world.engine
        clock = engine.clock
        if engine.busy:
            return clock.time  # something in the world calls: its time is the event's
        world.prepare()
        engine.enter()
        try:
            limit = self.now()
            while engine.step(limit):
                pass
            clock.time = max(clock.time, limit)
            if engine.woken:
                engine.woken = False
                self._told = True
        finally:
            engine.leave()
        return clock.time

    def close(self) -> None:
        """Give the descriptors back."""
        self.ports.close()


@final
class _CaughtUp:
    """Held around every call of a program into a host: the world is not behind the program."""

    def __init__(self, driver: PacedDriver) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        self._driver.catch_up()

    def __exit__(self, *_: object) -> None:
        """The rest is done in the next turn."""


@final
class _Plug(Link):
    """A device as the cable of a switch's port: what comes by it comes now."""

    def __init__(self, driver: PacedDriver, device: Device) -> None:
        self.caps = device.caps.without_trains()
        self.sink = None
        self._driver = driver
        self._outlet = Outlet(device)
        device.sink = self

    def transmit(self, frame: Frame) -> bool:
        """Always taken: what finds no room in the device's queue is lost."""
        self._outlet.write(frame)
        return True

    def receive(self, frame: Frame, now: int) -> None:
        """The device has read a frame."""
        frame.time = self._driver.catch_up()
        if self.sink is not None:
            self.sink.receive(frame, frame.time)

    def link_ready(self, now: int) -> None:
        """The device takes frames again."""
        self._outlet.link_ready()
