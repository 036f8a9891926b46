# SPDX-License-Identifier: Apache-2.0
"""The event loop below a world: one clock, one heap, and the hosts something happened to.

At each instant all events due are run; then each host that was touched, in the order of touching,
is advanced and flushed once, its readiness is told to whoever waits, and its one timer is armed
anew.  Nothing ticks and nobody looks at hosts to which nothing happened.

Programs written in blocking style are `Process`es (see `capas.sim.process`): exactly one thread
runs at a time, so the order of everything is that of the heap.
"""

import asyncio
import math
import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Final, final

from capas.base.clock import NEVER, SECOND, US, ManualClock, Scheduler, Timer
from capas.base.frame import Frame
from capas.errors import CapasError, DeadlockError
from capas.host.host import Host
from capas.link.link import FrameSink
from capas.sim.direction import PAUSED, UP, Station
from capas.sim.outside import Outside
from capas.sim.places import task_order, task_place

if TYPE_CHECKING:
    from capas.sim.process import Process

STEP: Final = US  # ns; the smallest step of time that programs see
_STILL_LIMIT: Final = 1_000_000  # turns of the engine without time going on before it gives up
_STRIDE: Final = 1024  # events run at once while they concern nobody but routers
DAY: Final = 24 * 3600 * SECOND  # without a program running: hosts only probe closed windows
_INBOX_LIMIT: Final = 4096  # frames kept for a paused host (a network card's ring)


@final
class HostNode(Timer, Station):
    """A host in a world; it is itself the timer of the host's next deadline."""

    __slots__ = (
        "condition",
        "due",
        "engine",
        "host",
        "inbox",
        "killed",
        "overflows",
        "processes",
        "touched",
    )

    def __init__(self, engine: "Engine", host: Host) -> None:
        super().__init__()
        self.engine: Engine = engine
        self.host: Host = host
        self.touched: bool = False
        self.due: bool = False  # a timer of the host is due
        self.condition: int = UP
        self.inbox: deque[tuple[FrameSink, Frame]] = deque()
        self.overflows: int = 0  # frames a paused host had no room for
        self.processes: list[Process] = []
        self.killed: list[Callable[[], None]] = []  # called when the host loses power

    def touch(self) -> None:
        """Settle this host before the instant ends."""
        if not self.touched:
            self.touched = True
            engine = self.engine
            engine.touched.append(self)
            engine.scheduler.interrupted = True

    def fire(self, now: int) -> None:
        """A deadline of the host has come."""
        self.due = True
        self.touch()

    def hold(self, sink: FrameSink, frame: Frame) -> bool:
        """Keep a frame that arrived during a pause."""
        if len(self.inbox) >= _INBOX_LIMIT:
            self.overflows += 1
            return False
        self.inbox.append((sink, frame))
        return True

    def resume(self, now: int) -> None:
        """End a pause: what came meanwhile is received now."""
        if self.condition == PAUSED:
            self.condition = UP
            while self.inbox:
                sink, frame = self.inbox.popleft()
                frame.time = now
                sink.receive(frame, now)
            self.due = True
            self.touch()
            for process in self.processes:
                process.make_runnable()


@final
class Engine:
    """Runs events, hosts and processes in virtual time.

    ``woken``    somebody was told of readiness since it was last cleared; ``wakes`` counts them
    ``current``  the process that runs; None: the thread that drives the engine
    ``checks``   called after each instant (invariants, conditions of faults)
    ``outside``  genuine descriptors that programs wait for
    ``ran``      when a process last ran, ns
    ``lost``     threads of processes that did not end when they were killed
    """

    def __init__(self) -> None:
        self.clock: ManualClock = ManualClock()
        self.scheduler: Scheduler = Scheduler()
        self.touched: list[HostNode] = []
        self.runnable: deque[Process] = deque()
        self.processes: list[Process] = []
        self.current: Process | None = None
        self.turning: list[Process] = []  # processes whose event loop waits in `turn`
        self.checks: list[Callable[[], None]] = []
        self.outside: list[Outside] = []
        self.ran: int = 0
        self.lost: set[int] = set()
        self.woken: bool = False
        self.wakes: int = 0
        self.baton = allocate_lock()  # held, but at the moment a process hands back
        self.baton.acquire()
        self._round: int = 0  # of ``runnable``, how many go on before anything else happens
        self._until: int = -1  # how far waiting processes may run events themselves, -1: nowhere
        self._context: Context = copy_context()  # of the thread that drives, for them
        self._failure: BaseException | None = None  # what was raised there
        self._still: int = 0
        self.driven_by: int = 0
        self._depth: int = 0

    def enter(self) -> None:
        """This thread drives the engine; it must be the only one that does."""
        me = threading.get_ident()
        if me in self.lost:
            stand_still()
        if self._depth and self.driven_by != me:
            raise CapasError(
                "another thread runs this world: start threads of a world by world.thread()"
            )
        self.driven_by = me
        self._depth += 1

    @property
    def busy(self) -> bool:
        """Whether some thread runs events at the moment."""
        return self._depth > 0

    def leave(self) -> None:
        """End of `enter`."""
        self._depth -= 1

    def settle(self) -> None:
        """Advance and flush every touched host, tell who waits, arm timers.

        Programs that were told answer first, as in real time: their hosts are flushed by the next
        call, at the same instant, and acknowledgements ride on answers.
        """
        now = self.clock.time
        rounds = 0
        told: list[HostNode] = []
        while self.touched:
            batch = self.touched
            self.touched = []
            rounds += 1
            if rounds > _STILL_LIMIT:
                raise CapasError(f"host {batch[0].host.name!r} always has more to do at {now} ns")
            for node in batch:
                node.touched = False
                if node.condition:
                    continue
                host = node.host
                if node.due:
                    node.due = False
                    host.advance(now)
                if not (host.ready and tell(host)):
                    host.flush(now)
                    if not (host.ready and tell(host)):  # by loopback
                        deadline = host.scheduler.next_deadline()
                        if deadline <= now:
                            node.due = True
                            node.touch()
                        elif deadline != node.deadline:
                            self.scheduler.at(deadline, node)
                        continue
                told.append(node)
        if told:
            for node in told:
                node.touch()
            self.wake()

    def wake(self) -> None:
        """Event loops look at what happened."""
        self.woken = self.scheduler.interrupted = True
        self.wakes += 1
        for process in self.turning:
            process.make_runnable()

    def step(self, limit: int, *, alone: bool = False) -> bool:
        """Run an instant not later than ``limit``; False if there is nothing to do until then.

        Instants that concern nobody (a router passes a packet on) are run with the one that does,
        unless each is to be seen ``alone``.
        """
        if self.touched:
            self.settle()
        if self.runnable:
            self._run_processes()
        elif not self.outside or not self._look_outside(limit):
            clock = self.clock
            scheduler = self.scheduler
            before = clock.time
            scheduler.interrupted = alone or bool(self.checks)
            seen = scheduler.run(clock, limit, _STRIDE)
            if not seen:
                return False
            if clock.time != before:
                self._still = 0
            else:
                self._still += seen
                if self._still > _STILL_LIMIT:
                    raise CapasError(
                        f"time stands still at {before} ns: events cause each other without"
                        " delay (a link without delay and rate, or a program that never waits)"
                    )
            if self.touched:
                self.settle()
        if self.checks:
            for check in self.checks:
                check()
        return True

    def _look_outside(self, limit: int) -> bool:
        """Whether somebody who waits for genuine descriptors was woken."""
        due = min(self.scheduler.next_deadline(), limit)
        gap = math.inf if due >= NEVER else max(due - self.clock.time, 0) / SECOND
        return any(outside.look(gap) for outside in tuple(self.outside))

    def run(self, deadline: int, stop: Callable[[], bool] | None) -> bool:
        """Run until ``stop()`` or ``deadline``; False if nothing is left to happen before either.

        Time stands at ``deadline`` afterwards, unless that is NEVER or ``stop()`` came first.
        """
        self.enter()
        before = self._until, self._context
        alone = stop is not None or bool(self.checks) or asyncio._get_running_loop() is not None
        self._until, self._context = -1 if alone else deadline, copy_context()
        patience = self.clock.time + DAY if deadline == NEVER else NEVER
        try:
            while stop is None or not stop():
                if self.clock.time > patience and self.in_vain():
                    return False
                if not self.step(deadline, alone=stop is not None):
                    if stop is not None and stop():  # what was touched has settled
                        return True
                    if deadline == NEVER:
                        return False
                    self.clock.time = max(self.clock.time, deadline)
                    return stop is None
            return True
        finally:
            self._until, self._context = before
            self.leave()

    def in_vain(self) -> bool:
        """Whether for a day no program has run, nor has set itself a time.

        Hosts probe windows that stay closed, and idle connections, for ever (RFC 9293, 3.8.6.1).
        """
        if self.clock.time <= self.ran + DAY or self.runnable:
            return False
        return all(
            process.deadline == NEVER and (process.alarm is None or not process.alarm.left())
            for process in self.processes
        )

    def _run_processes(self) -> None:
        """Give the baton to each process that can go on, in the order of waking."""
        self.ran = self.clock.time
        self._round = len(self.runnable)
        while self._round:
            self._round -= 1
            self.runnable.popleft().resume()
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self.touched:
                self.settle()

    def following(self) -> "Process | None":
        """Called by a process that waits: who gets the baton; None: the thread that drives.

        A switch of threads costs more than all that a small program does between two of them, so
        whoever waits lets time go on and gives the baton to the next process, or keeps it.  What
        happens, and in which order, is the same.
        """
        self.current = None
        if self._until < 0 or asyncio._get_running_loop() is not None:
            return None
        try:
            return self._context.run(self._next_process)
        except BaseException as error:
            self._failure = error
            return None

    def _next_process(self) -> "Process | None":
        while True:
            if self.touched:
                self.settle()
            if not self._round:
                if not self.runnable and not self.step(self._until):
                    return None
                self._round = len(self.runnable)
                continue
            process = self.runnable[0]
            if not process.started:
                return None
            self._round -= 1
            self.runnable.popleft()
            if process.may_run():
                return process

    def recall(self) -> None:
        """The next process that waits gives the baton back."""
        self._until = -1

    # -- who waits ------------------------------------------------------------------------------

    def waiting(self) -> list[str]:
        """One line for each program that waits, saying where."""
        lines = [
            f"{process.name}: {process.waits_for()}"
            for process in self.processes
            if not process.done
        ]
        loop = asyncio._get_running_loop()
        if loop is not None:
            tasks = sorted(asyncio.all_tasks(loop), key=task_order)
            places = [(task.get_name(), task_place(task)) for task in tasks]
            lines += [f"task {name}: {place}" for name, place in places if place]
        return lines

    def deadlock(self) -> DeadlockError:
        """The error that says who waits for what can never happen."""
        lines = self.waiting() or ["nobody waits for anything that could still happen"]
        why = "nothing is ready and nothing is scheduled"
        if self.scheduler.next_deadline() < NEVER:
            why = "for a day hosts only asked each other whether they are there (closed windows?)"
        return DeadlockError(
            f"deadlock at {self.clock.time / 1e9:.6f} s of virtual time: {why}\n  "
            + "\n  ".join(lines)
        )


def stand_still() -> None:
    """The calling thread goes no further."""
    lock = allocate_lock()
    while True:
        lock.acquire()


def whole_steps(deadline: int) -> int:
    """A deadline as programs see it: not before it, in steps of time."""
    return -(-deadline // STEP) * STEP if deadline < NEVER else NEVER


def tell(host: Host) -> bool:
    """Tell the watchers of endpoints that became ready; whether there were any."""
    woken = False
    for endpoint in host.take_ready():
        watcher = endpoint.watcher
        if watcher is not None:
            woken = True
            watcher.endpoint_ready(endpoint)
    return woken
