# SPDX-License-Identifier: Apache-2.0
"""Blocking programs in virtual time: threads that pass a baton.

Each program has a thread, but only one of them, or the thread that drives the engine, runs at any
moment: whoever waits hands the baton back and is resumed by the engine when what it waits for has
happened.  So threads are coroutines in all but name, and a run is the same every time.
A switch costs about 15 us.
"""

import threading
import warnings
from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from capas.base.clock import NEVER, Timer
from capas.errors import CapasError
from capas.sim.engine import Engine, HostNode, stand_still
from capas.sim.places import thread_place
from capas.sim.virtual_time import real_time
from capas.sockets.current import context_of
from capas.sockets.failure import ProcessKilled
from capas.sockets.modules import installed
from capas.transport.endpoint import ERROR, HANGUP, READ, WRITE, Endpoint, Watcher

if TYPE_CHECKING:
    from capas.sim.virtual_time import TimeSource

_GRACE: Final = 1.0  # s of real time that an interrupted program has to come to a wait
_UNWIND: Final = 5.0  # s of real time that a killed program has to end
_DEATHS: Final = 16  # times that a killed program may go on to its next wait
_BITS: Final = ((READ, "READ"), (WRITE, "WRITE"), (ERROR, "ERROR"), (HANGUP, "HANGUP"))


class Alarms(Protocol):
    """What `capas.sim.alarms` keeps for a program."""

    __slots__ = ()

    def deliver(self) -> None:
        """Run the handler of an alarm that came."""

    def cancel(self) -> None:
        """None is to come."""

    def left(self) -> int:
        """Until it fires, ns; 0: it will not."""


@final
class Process(Timer):
    """A blocking program; it is itself the timer of its waits.

    ``done``    it has ended; ``value`` or ``error`` says how
    ``program``  the one that this is a thread of, or itself; ``alarm``: its, if there is one
    ``report``  an error nobody asks for by `result` stops the world
    """

    __slots__ = (
        "_back",
        "_baton",
        "_context",
        "_deaths",
        "_function",
        "_ident",
        "_killed",
        "_own_thread",
        "_queued",
        "_source",
        "_thread",
        "_what",
        "alarm",
        "done",
        "engine",
        "error",
        "finished",
        "name",
        "node",
        "program",
        "report",
        "value",
    )

    def __init__(
        self,
        engine: Engine,
        function: Callable[[], object],
        name: str,
        node: HostNode | None,
        source: "TimeSource",
        *,
        report: bool = True,
        own_thread: bool = True,
    ) -> None:
        super().__init__()
        self.engine: Engine = engine
        self.name: str = name
        self.node: HostNode | None = node
        self.report: bool = report
        self.done: bool = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.finished: list[Callable[[Process], None]] = []
        self._function: Callable[[], object] = function
        self._source: TimeSource = source
        self._context: Context = context_of(node.host) if node is not None else copy_context()
        self._baton = allocate_lock()
        self._baton.acquire()
        self._back = engine.baton  # what it hands back, while it runs
        self._own_thread: bool = own_thread  # False: ``function`` is a thread's bootstrap
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self._killed: bool = False
        self._deaths: int = 0  # times that it was told to end
        self._queued: bool = False
        self._what: str = "has not started"
        self.alarm: Alarms | None = None
        maker = None if own_thread else engine.current
        self.program: Process = self if maker is None else maker.program
        engine.processes.append(self)
        if node is not None:
            node.processes.append(self)
        self.make_runnable()

    # -- called by the engine -------------------------------------------------------------------

    def make_runnable(self) -> None:
        """Let the process look again at what it waits for."""
        if not self._queued and not self.done:
            self._queued = True
            engine = self.engine
            engine.runnable.append(self)
            engine.scheduler.interrupted = True

    def fire(self, now: int) -> None:
        """The time has come."""
        self.make_runnable()

    @property
    def killed(self) -> bool:
        """Whether it was stopped by `kill`."""
        return self._killed

    @property
    def started(self) -> bool:
        """Whether it has a thread."""
        return self._ident is not None

    def runs_here(self) -> bool:
        """Whether the calling thread is the program's own."""
        return self._ident == threading.get_ident()

    def may_run(self) -> bool:
        """Whether it gets the baton, its turn having come: a paused host's programs stand still."""
        self._queued = False
        node = self.node
        return not (self.done or (node is not None and node.condition and not self._killed))

    def take_baton(self) -> None:
        """Go on, or begin."""
        self.engine.current = self
        self._back = self.engine.baton
        if self._ident is None:
            self._start()
        else:
            self._baton.release()

    def resume(self) -> None:
        """Hand over the baton; it comes back when the process, or the last one it was handed on to,
        waits or has ended.
        """
        if not self.may_run():
            return
        engine = self.engine
        if self._ident is None and self._killed:
            self._end()
            return
        before = engine.current, engine.baton
        if threading.get_ident() != engine.driven_by:
            engine.baton = allocate_lock()  # a process kills another: it comes back here
            engine.baton.acquire()
        # From `take_baton` on another thread runs, and changes what is asked here.
        baton, patience = engine.baton, _UNWIND if self._killed else -1
        try:
            self.take_baton()
            if not baton.acquire(timeout=patience):
                self._give_up(baton)
        except BaseException as error:  # Ctrl-C: never go on while the program still runs
            running = engine.current
            if running is not None and running._ident is not None:
                error.add_note(f"{running.name} was running: {thread_place(running._ident)}")
            engine.recall()
            if not baton.acquire(timeout=_GRACE) and engine.current is not None:
                engine.current._break_off(baton)
            raise
        finally:
            last = engine.current
            engine.current, engine.baton = before
        if last is not None and last.done:
            last._end()

    def _start(self) -> None:
        if self._own_thread:
            with real_time():  # its locks are the machine's
                self._thread = threading.Thread(target=self._main, name=self.name, daemon=True)
                self._thread.start()
        else:
            start_new_thread(self._main, ())

    def _end(self) -> None:
        self.done = True
        engine = self.engine
        engine.scheduler.cancel(self)
        if self.alarm is not None:
            self.alarm.cancel()
        engine.processes.remove(self)
        if self.node is not None:
            self.node.processes.remove(self)
        if self._thread is not None:
            with real_time():
                self._thread.join()
        for call in self.finished:
            call(self)
        if self.error is not None and self.report:
            self.report = False
            raise self.error

    def kill(self) -> None:
        """Stop the program as a loss of power does: nothing it would still do happens."""
        if not self.done:
            self._killed = True
            self.report = False
            if self._ident == threading.get_ident():
                self.make_runnable()  # its own thread runs events: it ends when its turn comes
                return
            # What it does on the way out does not wait; and if it goes on in spite of all, it comes
            # to a wait of the world, not of the machine.
            with installed(), self._source.activate():
                self.resume()

    def _give_up(self, baton: LockType) -> None:
        """A killed program neither ends nor waits: break it off, and say so if that fails."""
        place = thread_place(self._ident or 0)
        self._break_off(baton)
        if self.done and self._ident in self.engine.lost:
            warnings.warn(
                f"{self.name} did not end {_UNWIND:g} s after it was killed, and goes on without"
                f" its world: {place}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _break_off(self, baton: LockType) -> None:
        """End a program that comes to no wait (``while True: pass``), or let go of it.

        ``baton`` comes back to who calls.
        """
        import ctypes

        ident, killed = ctypes.c_ulong(self._ident or 0), ctypes.py_object(ProcessKilled)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, killed)
        if not baton.acquire(timeout=_GRACE):  # it is in C code
            back, self._back = self._back, allocate_lock()  # what it hands back is nobody's
            self._back.acquire()
            if back.acquire(blocking=False):
                return  # it came just now
            self.engine.lost.add(self._ident or 0)
            self.done = True
            self._thread = None

    # -- in the process's own thread ------------------------------------------------------------

    def _main(self) -> None:
        self._ident = threading.get_ident()
        self._source.adopt_thread()
        try:
            self.value = self._context.run(self._function)
        except ProcessKilled:
            pass
        except BaseException as error:
            self.error = error
        self.done = True
        self.engine.lost.discard(threading.get_ident())
        self._back.release()

    def park(self) -> None:
        """Wait for the baton."""
        if self._killed:
            self._die()
        following = self.engine.following()
        if following is self:
            self.engine.current = self
        else:
            if following is not None:
                following.take_baton()
            else:
                self.engine.baton.release()
            self._baton.acquire()
        if self._killed:
            self._die()

    def _die(self) -> None:
        """Unwind; a program that goes on after each `ProcessKilled` (Twisted does) stands still."""
        self._deaths += 1
        if self._deaths > _DEATHS:
            self.done = True
            self._thread = None  # nobody waits for its end
            self._back.release()
            stand_still()
        raise ProcessKilled

    def block(self, deadline: int, what: str, ready: Callable[[], bool]) -> None:
        """Wait until ``ready()``, asked whenever somebody wakes the process, or ``deadline``."""
        engine = self.engine
        if engine.lost and threading.get_ident() in engine.lost:
            stand_still()
        self._what = what
        if deadline != NEVER:
            engine.scheduler.at(deadline, self)
        try:
            while not ready() and engine.clock.time < deadline:
                self.park()
                if self.alarm is not None:
                    self.alarm.deliver()
                if deadline != NEVER and engine.clock.time < deadline:
                    engine.scheduler.at(deadline, self)
        finally:
            engine.scheduler.cancel(self)

    # -- for people -----------------------------------------------------------------------------

    def waits_for(self) -> str:
        """What the process waits for, and where in its program."""
        if self._ident is None:
            return self._what
        return f"{self._what}, {thread_place(self._ident)}"

    def result(self) -> Any:
        """Run the world until the process has ended; its value, or raise its error.

        From another process: wait for it.
        """
        self.report = False
        engine = self.engine
        current = engine.current
        if current is self:
            raise CapasError(f"process {self.name!r} cannot wait for itself")
        if current is not None:
            self.finished.append(lambda _: current.make_runnable())
            current.block(NEVER, f"waits for {self.name}", lambda: self.done)
        elif not self.done:
            with self._source.activate():
                if not engine.run(NEVER, lambda: self.done):
                    raise engine.deadlock()
        if self.error is not None:
            raise self.error
        return self.value


@final
class Blocked:
    """Wakes the processes that wait for one endpoint, and whoever watched it before."""

    __slots__ = ("_before", "_engine", "_processes")

    def __init__(self, engine: Engine, before: Watcher | None) -> None:
        self._engine: Engine = engine
        self._before: Watcher | None = before
        self._processes: list[Process | None] = []

    def endpoint_ready(self, endpoint: Endpoint) -> None:
        """Wake all who wait."""
        for process in self._processes:
            if process is not None:
                process.make_runnable()
        if self._before is not None:
            self._before.endpoint_ready(endpoint)

    @staticmethod
    def add(engine: Engine, endpoint: Endpoint, process: Process | None) -> "Blocked":
        """Let ``process`` (None: the engine's own thread) hear of ``endpoint``."""
        watcher = endpoint.watcher
        if not isinstance(watcher, Blocked):
            watcher = endpoint.watcher = Blocked(engine, watcher)
        watcher._processes.append(process)
        return watcher

    def remove(self, endpoint: Endpoint, process: Process | None) -> None:
        """The end of `add`; the last one puts back the watcher found."""
        self._processes.remove(process)
        if not self._processes and endpoint.watcher is self:
            endpoint.watcher = self._before


def describe(mask: int) -> str:
    """What a mask of readiness asks for."""
    names = [name for bit, name in _BITS if mask & bit]
    return "waits for " + (" or ".join(names) or "nothing")
