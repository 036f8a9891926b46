# SPDX-License-Identifier: Apache-2.0
"""A simulated world that keeps step with the clock on the wall, with cables into the kernel.

The world's engine runs what is due by now and sleeps, in the devices' own epoll, until the next
event, frame or deadline.  A TAP is plugged into a switch of the world as any other cable, so the
kernel's programs reach simulated hosts across simulated routers and their impairments.
"""

import time
from typing import Any, Final, cast, final

from capas.base.clock import SECOND
from capas.errors import BlockingInLoopError, ConfigurationError
from capas.host.host import Host
from capas.real.device import Device
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

    virtual = False

    def __init__(self, world: World) -> None:
        self.world: World = world
        self.ports: Ports = Ports(_BATCH)
        self._base: int = time.monotonic_ns() - world.now
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
        switch.attach(cast(Any, device))
        self.ports.add(device)

    # -- the Driver contract --------------------------------------------------------------------

    def now(self) -> int:
        """The wall clock, ns since the world began."""
        return time.monotonic_ns() - self._base

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
        self._work()
        while not self._told:
            now = self.now()
            if now >= deadline:
                break
            due = min(deadline, self.world.scheduler.next_deadline(), now + _LONGEST)
            self.ports.sleep(max(0, due - now) / SECOND)
            self.ports.take_in(self._catch_up())
            self._work()
            if self.ports.loop_ready:
                break
        self._told = False

    def wake(self) -> None:
        """Make a `turn` that sleeps return."""
        self._told = True
        self.ports.wake()

    def release(self) -> None:
        """The loop is closed."""
        self.ports.watch_loop(None)

    # -- the world ------------------------------------------------------------------------------

    def _work(self) -> None:
        """Everything due by now, each event at its own time."""
        world, engine = self.world, self.world.engine
        world.prepare()
        engine.enter()
        try:
            limit = self.now()
            while engine.step(limit):
                pass
            self._catch_up()
            if engine.woken:
                engine.woken = False
                self._told = True
        finally:
            engine.leave()

    def _catch_up(self) -> int:
        """The world's clock is never behind a frame that comes from outside."""
        clock = self.world.engine.clock
        if self.world.scheduler.next_deadline() > (now := self.now()):
            clock.time = max(clock.time, now)
        return clock.time

    def close(self) -> None:
        """Give the descriptors back."""
        self.ports.close()
