# SPDX-License-Identifier: Apache-2.0
"""The driver of virtual time: programs wait, the engine runs, nothing is slept.

Time as programs see it moves in steps of at least 1 us: deadlines are rounded up to a whole
microsecond, an event loop that turns again and again without time going on gets a step after some
turns, and a program that does nothing but read the clock or send gets a step after some calls.  So
programs that wait "until later than now" come through; the steps of one that only reads grow.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final, final
from weakref import WeakSet

from capas.aio.loop import CapasEventLoop
from capas.base.clock import MS, NEVER, SECOND
from capas.errors import BlockingInLoopError, CapasError
from capas.host.host import Host
from capas.sim import alarms, children, threads, virtual_time
from capas.sim.engine import DAY, STEP, Engine, HostNode, whole_steps
from capas.sim.outside import Outside
from capas.sim.places import task_order
from capas.sim.process import Blocked, Process, describe
from capas.sockets.current import in_our_loop
from capas.sockets.driver import Driver
from capas.transport.endpoint import Endpoint

#: 2026-01-01T00:00:00Z, ns: what the time of day is at time 0 of every world.
EPOCH: Final = 1_767_225_600 * SECOND
_STILL_TURNS: Final = 128  # turns of an event loop at one instant before time goes on
_STILL_READS: Final = 4096  # readings of the clock at one instant before time goes on
_SPIN: Final = 16  # a program that only reads the clock may see the time this fraction too late,
_SPIN_MOST: Final = MS  # and no more than this
_STILL_KICKS: Final = 4096  # calls into the stack at one instant before a program takes time
_PATIENCE: Final = 16  # times that a blocking call inside a loop lets others go first
_EAGER: Final = 8  # turns in which callbacks answer before acknowledgements leave without them
_POLL_EVERY: Final = 64  # turns between looks at genuine descriptors

virtual_time.add_stand_ins([*threads.stand_ins(), *children.stand_ins(), *alarms.stand_ins()])


@final
class SimDriver(Driver):
    """Makes virtual time pass for the hosts of one world."""

    virtual: ClassVar[bool] = True

    def __init__(self, engine: Engine, prepare: Callable[[], None], epoch: int = EPOCH) -> None:
        super().__init__()
        self.engine: Engine = engine
        self.epoch: int = epoch
        self.pid: int = os.getpid()  # whose world it is: a fork has a copy that stands still
        self.nodes: dict[str, HostNode] = {}
        self.main_loop: asyncio.AbstractEventLoop | None = None  # if one runs all programs
        self._prepare: Callable[[], None] = prepare  # brings routes up to date
        self._turns: int = 0  # of an event loop, at the instant ``_turn_time``
        self._turn_time: int = -1
        self._polls: int = 0
        self._outside: dict[object, float] = {}  # answers from outside that are awaited, till when
        self._outside_until: float = 0.0  # the latest of them, of the stopwatch
        self._outside_from: float = 0.0  # s that virtual time was ahead of the stopwatch then
        self._reads: int = 0
        self._read_time: int = -1
        self._spun: int = -1  # since when a program does nothing but read the clock, -1: none does
        self._tasks: dict[str, WeakSet[asyncio.Task[Any]]] = {}  # by name of host
        self._kicks: int = 0
        self._kick_time: int = -1

    # -- time -----------------------------------------------------------------------------------

    def now(self) -> int:
        """Virtual time, ns."""
        return self.engine.clock.time

    def wall(self) -> float:
        """The time of day of the world, seconds."""
        return (self.epoch + self.engine.clock.time) / SECOND

    def read(self) -> int:
        """The time for a program that asks; too many askings at one instant take time.

        A program that does nothing but ask is waiting: the longer it has, the longer the steps.
        """
        clock = self.engine.clock
        if clock.time != self._read_time:
            self._read_time = clock.time
            self._reads = 0
        self._reads += 1
        if self._reads > _STILL_READS:
            if self._reads == _STILL_READS + 1 or self._spun < 0:
                self._spun = clock.time
            step = min((clock.time - self._spun) // _SPIN, _SPIN_MOST)
            later = clock.time + max(step - step % STEP, STEP)
            if self.engine.current is not None and not self.in_loop():
                self.sleep(later)
            else:
                clock.time = later
            self._read_time = clock.time  # a program that goes on reading steps each time
        return clock.time

    def adopt_thread(self) -> None:
        """The calling thread lives by this world's time."""
        virtual_time.adopt_thread(self)

    def activate(self) -> AbstractContextManager[None]:
        """A context in which ``time`` and ``datetime`` tell this world's time to this thread."""
        return virtual_time.running(self)

    def in_loop(self) -> bool:
        """Whether an event loop of ours runs in the calling thread."""
        return in_our_loop()

    # -- the Driver contract --------------------------------------------------------------------

    def kick(self, host: Host) -> None:
        """Flush ``host`` before time goes on."""
        node = self.nodes.get(host.name)
        if node is None or node.host is not host:
            return
        node.touch()
        self._spun = -1
        clock = self.engine.clock
        if clock.time != self._kick_time:
            self._kick_time = clock.time
            self._kicks = 0
        self._kicks += 1
        if self._kicks <= _STILL_KICKS:
            return
        if self.in_loop():
            if self.engine.current is None and not self.engine.busy:
                self._kicks = 0
                self.engine.step(clock.time)  # a callback that never ends still sends
        elif self.engine.current is not None:
            self.sleep(clock.time + STEP)

    def wait(self, endpoint: Endpoint, mask: int, deadline: int) -> int:
        """Let the world run until ``endpoint`` is ready or ``deadline`` has come."""
        ready = endpoint.readiness & mask
        if ready or deadline <= self.engine.clock.time:
            return ready
        what, is_ready = describe(mask), lambda: bool(endpoint.readiness & mask)
        self._wait(whole_steps(deadline), what, is_ready, endpoint)
        return endpoint.readiness & mask

    def sleep(self, deadline: int) -> None:
        """Let the world run until ``deadline``."""
        if deadline > self.engine.clock.time:
            with children.awaited(self.engine.outside, deadline - self.engine.clock.time):
                self._wait(whole_steps(deadline), "sleeps", lambda: False, None)

    def outside(self, look: Callable[[float], bool], *, only: bool) -> Outside:
        """Look at genuine descriptors, too, while a program waits."""
        return Outside(self.engine.outside, look, self.helper, only=only)

    def wait_until(self, ready: Callable[[], bool], deadline: int, what: str) -> None:
        """Let the world run until ``ready()``, asked when somebody wakes us, or ``deadline``."""
        self._wait(whole_steps(deadline), what, ready, None)

    def _wait(
        self, deadline: int, what: str, ready: Callable[[], bool], endpoint: Endpoint | None
    ) -> None:
        """Block this thread; ``endpoint`` tells a waiting process when to look again."""
        if self.in_loop():
            if self._ready_now(ready):
                return
            raise BlockingInLoopError(
                f"a blocking call ({what}) inside a running event loop would stop the virtual time"
                " that it waits for: use the loop's own calls, or asyncio.to_thread"
            )
        self._prepare()
        engine = self.engine
        process = engine.current
        if process is None:
            with self.activate():
                if not engine.run(deadline, ready) and deadline == NEVER:
                    raise engine.deadlock()
            return
        if endpoint is None:
            process.block(deadline, what, ready)
            return
        blocked = Blocked.add(engine, endpoint, process)
        try:
            process.block(deadline, what, ready)
        finally:
            blocked.remove(endpoint, process)

    def _ready_now(self, ready: Callable[[], bool]) -> bool:
        """Whether what a blocking call inside a loop waits for comes without time going on."""
        engine = self.engine
        self._prepare()
        process = engine.current
        if process is None:
            while not ready() and engine.step(engine.clock.time):
                pass
        else:
            for _ in range(_PATIENCE):
                if ready():
                    break
                process.make_runnable()
                process.park()
        return ready()

    def turn(self, deadline: int) -> None:
        """Let the world run until something concerns an event loop."""
        engine, clock = self.engine, self.engine.clock
        self._prepare()
        if engine.current is not None:
            self._turn_in_process(engine.current, deadline)
            return
        now = clock.time
        if now != self._turn_time:
            self._turn_time = now
            self._turns = 0
        self._turns += 1
        if deadline <= now and self._turns <= _EAGER:
            return
        engine.enter()
        try:
            if engine.touched:
                engine.settle()
            self._polls += 1
            if self._polls % _POLL_EVERY == 0:
                self._poll(0)
            still = self._turns > _STILL_TURNS
            if still:
                now += STEP
            if deadline <= now or still or engine.woken:
                self._turn_now(now)
                if still and deadline > now and not engine.woken:
                    still = False  # it was busy, and now it waits
                    self._turn_until(whole_steps(deadline))
            else:
                self._turn_until(whole_steps(deadline))
            if still:
                self._turn_time = clock.time  # a loop that goes on turning steps each time
            engine.woken = False
        finally:
            engine.leave()

    def _turn_now(self, now: int) -> None:
        """What is due by ``now``, without waiting."""
        engine = self.engine
        while True:
            if not engine.step(now):
                engine.clock.time = max(engine.clock.time, now)
                break
            if engine.woken:
                break

    def expect(self, what: object, seconds: float) -> None:
        """Until a genuine descriptor is ready, for so long at most, time goes as real time does."""
        begin = virtual_time.stopwatch()
        self._outside[what] = begin + seconds
        if seconds <= 0:
            del self._outside[what]
        self._outside_until = max(self._outside.values(), default=0.0)
        self._outside_from = self.engine.clock.time / SECOND - begin

    def _await_outside(self, deadline: int) -> None:
        """One step towards ``deadline`` in real time, as `expect` said."""
        engine = self.engine
        while not engine.woken and engine.step(engine.clock.time):
            pass
        now = virtual_time.stopwatch()
        patience = self._outside_until - now
        if patience <= 0:
            self._outside.clear()
            self._outside_until = 0.0
        if patience <= 0 or engine.woken:
            return
        due = min(engine.scheduler.next_deadline(), deadline)
        early = due / SECOND - self._outside_from - now
        if early > 0:
            self._poll(min(early, patience))
        elif not engine.step(due):
            engine.clock.time = max(engine.clock.time, due)
            engine.wake()

    def _turn_until(self, deadline: int) -> None:
        engine = self.engine
        patience = engine.clock.time + DAY if deadline == NEVER else NEVER  # see `in_vain`
        while not engine.woken:
            if self._outside_until:
                self._await_outside(deadline)
                continue
            if engine.clock.time > patience and engine.in_vain():
                raise engine.deadlock()
            if not engine.step(deadline):
                if deadline != NEVER:
                    engine.clock.time = max(engine.clock.time, deadline)
                elif not self._poll(None):
                    raise engine.deadlock()
                break

    def _turn_in_process(self, process: Process, deadline: int) -> None:
        """The turn of an event loop that runs inside a blocking program."""
        engine = self.engine
        engine.turning.append(process)
        try:
            if deadline <= engine.clock.time:
                process.make_runnable()
                process.park()
                self._turns += 1
                if self._turns % _STILL_TURNS == 0:
                    process.block(engine.clock.time + STEP, "turns its event loop", lambda: False)
            else:
                seen = engine.wakes
                process.block(
                    whole_steps(deadline), "waits in its event loop", lambda: engine.wakes != seen
                )
        finally:
            engine.turning.remove(process)

    def _poll(self, timeout: float | None) -> bool:
        """Look at genuine descriptors, or wait for them when nothing else is left.

        The loop's self-pipe alone is nothing to wait for: in virtual time nobody would write to it.
        """
        selector = self.real_selector
        if selector is None:
            return False
        if timeout is None and len(selector.get_map()) < 2 and self.helper() is None:
            return False
        self.asleep = timeout is None  # from here on who wakes us writes to the self-pipe
        try:
            if not self.engine.woken and not selector.select(timeout):
                return False
        finally:
            self.asleep = False
        self.engine.wake()
        return True

    def wake(self) -> None:
        """Make the turn under way return."""
        self.engine.wake()

    # -- programs -------------------------------------------------------------------------------

    def spawn(
        self,
        function: Callable[[], object],
        *,
        host: Host | None = None,
        name: str = "",
        report: bool = True,
        own_thread: bool = True,
    ) -> Process:
        """Start a blocking program, on ``host`` if given; it runs from the next instant on."""
        node = None
        if host is not None:
            node = self.nodes.get(host.name)
            if node is None or node.host is not host:
                raise CapasError(f"host {host.name!r} belongs to another world")
        name = name or getattr(function, "__qualname__", "program")

        def program() -> object:
            self._prepare()  # it may be the first thing that happens in its world
            return function()

        return Process(self.engine, program, name, node, self, report=report, own_thread=own_thread)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop in the time of this world, for programs that make one by themselves."""
        if self.main_loop is not None and self.engine.current is None:
            raise BlockingInLoopError(
                "a second event loop here would stop the one that runs this world's programs:"
                " use host.run(main()), or host.thread(asyncio.run, main())"
            )
        return CapasEventLoop(self)

    def started(self, host: Host, task: "asyncio.Task[Any]") -> None:
        """Have ``task`` die with its host."""
        self._tasks.setdefault(host.name, WeakSet()).add(task)

    def kill_tasks(self, host: Host) -> int:
        """Cancel the tasks of a host that lost power; how many there were."""
        tasks = [task for task in self._tasks.pop(host.name, ()) if not task.done()]
        for task in sorted(tasks, key=task_order):
            task.cancel(f"host {host.name!r} lost power")
        if tasks:
            self.engine.wake()
        return len(tasks)

    def run_blocking(
        self,
        host: Host | None,
        function: Callable[[], object],
        done: Callable[[object, BaseException | None], None],
    ) -> bool:
        """Run ``function`` as a program of its own; always True."""

        def ended(process: Process) -> None:
            done(process.value, process.error)
            self.engine.wake()

        self.spawn(function, host=host, report=False).finished.append(ended)
        return True
