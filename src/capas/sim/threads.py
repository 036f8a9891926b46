# SPDX-License-Identifier: Apache-2.0
"""Threads and locks of programs in a virtual world.

While a world runs, ``threading.Thread`` started by its programs is a `Process` of the world, and
locks made by them (so also conditions, events, semaphores, queues and futures, which are built on
locks) wait in virtual time.  Which of the two it is, is asked at each call, by the world that the
calling thread belongs to; other threads get the genuine things.

Only one thread of a world runs at any moment, so these locks are plain attributes.
"""

import _thread
import contextlib
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self, cast, final

from capas.base.clock import NEVER, SECOND
from capas.sim import virtual_time
from capas.sim.process import Process
from capas.sockets.current import current_host
from capas.sockets.failure import ProcessKilled

if TYPE_CHECKING:
    from capas.sim.driver import SimDriver

_start_new_thread: Final = _thread.start_new_thread
_ELSEWHERE: Final = 1e-3  # s between looks at a lock in a forked process
_GENUINE: Final = ("asyncio-waitpid-",)  # names of threads that wait for the machine


def _world() -> "SimDriver | None":
    source = virtual_time.current()
    return cast("SimDriver", source) if hasattr(source, "wait_until") else None


@final
class Lock:
    """A lock of a world (`threading.Lock`)."""

    __slots__ = ("__weakref__", "_locked", "_waiters", "_world")

    def __init__(self, world: "SimDriver") -> None:
        self._world: SimDriver = world
        self._locked: bool = False
        self._waiters: deque[Process] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; False if that cannot be had in time."""
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout < 0 and timeout != -1:
            raise ValueError("timeout value must be a non-negative number")
        if not self._locked:
            self._locked = True
            return True
        if not blocking or timeout == 0:
            return False
        return self._wait(timeout)

    def _wait(self, timeout: float) -> bool:
        if self._world.pid != os.getpid():
            return self._wait_elsewhere(timeout)
        if threading._SHUTTING_DOWN:  # type: ignore[attr-defined]
            return True  # the world goes no further
        world = _world() or self._world
        deadline = NEVER if timeout < 0 else world.now() + round(timeout * SECOND)
        process = world.engine.current
        if process is not None:
            self._waiters.append(process)
        try:
            world.wait_until(lambda: not self._locked, deadline, "waits for a lock")
        finally:
            if process is not None:
                self._waiters.remove(process)
        if self._locked:
            return False
        self._locked = True
        return True

    def _wait_elsewhere(self, timeout: float) -> bool:
        """In a forked process, which kept the lock but not its world (queues' feeder threads)."""
        begin = time.monotonic()
        while self._locked:
            if 0 <= timeout <= time.monotonic() - begin:
                return False
            time.sleep(_ELSEWHERE)
        self._locked = True
        return True

    def release(self) -> None:
        """Give it back; from any thread."""
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False
        for process in self._waiters:
            process.make_runnable()

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._locked

    def _at_fork_reinit(self) -> None:
        self._locked = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{'locked' if self._locked else 'unlocked'} virtual lock>"


@final
class RLock:
    """A lock of a world that its owner may take again (`threading.RLock`)."""

    __slots__ = ("__weakref__", "_count", "_lock", "_owner")

    def __init__(self, world: "SimDriver") -> None:
        self._lock: Lock = Lock(world)
        self._owner: int = 0
        self._count: int = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, again if it is one's own."""
        me = threading.get_ident()
        if self._owner == me:
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        """Give it back as often as taken."""
        if self._owner != threading.get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = 0
            self._lock.release()

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    # what `threading.Condition` calls

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident()

    def _recursion_count(self) -> int:
        return self._count if self._is_owned() else 0

    def _release_save(self) -> tuple[int, int]:
        state = self._count, self._owner
        self._count = self._owner = 0
        self._lock.release()
        return state

    def _acquire_restore(self, state: tuple[int, int]) -> None:
        raised: BaseException | None = None
        while True:
            try:
                self._lock.acquire()
                break
            except ProcessKilled:
                raise
            except BaseException as error:  # of an alarm's handler: the lock comes first (CPython)
                raised = raised or error
        self._count, self._owner = state
        if raised is not None:
            raise raised

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()
        self._count = self._owner = 0


@final
class Handle:
    """How Python 3.13 and later know whether a thread has ended."""

    __slots__ = ("_running", "ident")

    def __init__(self, world: "SimDriver") -> None:
        self.ident: int | None = None
        self._running: Lock = Lock(world)

    def started(self, process: Process) -> None:
        """``process`` is the thread."""
        self._running.acquire()
        process.finished.append(lambda _: self._set_done())

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end."""
        limit = -1 if timeout is None or timeout < 0 else timeout
        if self._running.acquire(True, limit):
            self._running.release()

    def is_done(self) -> bool:
        """Whether it has ended."""
        return not self._running.locked()

    def _set_done(self) -> None:
        if self._running.locked():
            self._running.release()


class _ByWorld:
    """A stand-in class: what it makes depends on who asks."""

    real: Callable[..., Any]
    ours: Callable[["SimDriver"], Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Of the world that the calling thread belongs to, or genuine."""
        world = _world()
        made = cls.real(*args, **kwargs) if world is None else cls.ours(world)
        return cast("Self", made)


def _by_world(real: Callable[..., Any], ours: Callable[["SimDriver"], Any]) -> Any:
    name = getattr(real, "__name__", "made")
    return type(name, (_ByWorld,), {"real": staticmethod(real), "ours": staticmethod(ours)})


def _sentinel(world: "SimDriver") -> Any:
    """The lock that is released when the calling thread ends (before Python 3.13)."""
    process = world.engine.current
    lock = Lock(world)
    if process is not None:
        process.finished.append(lambda _: lock.release() if lock.locked() else None)
    return lock


def _prepare(world: "SimDriver", thread: threading.Thread) -> None:
    """Make a thread that is about to start the world's; a killed one says nothing."""
    started = threading.Event()
    if world.in_loop():
        started.set()  # an event loop cannot wait for it
    thread._started = started  # type: ignore[attr-defined]
    complain = thread._invoke_excepthook  # type: ignore[attr-defined]

    def invoke(dead: threading.Thread, /) -> None:
        if not isinstance(sys.exc_info()[1], ProcessKilled):
            complain(dead)

    thread._invoke_excepthook = invoke  # type: ignore[attr-defined]


def _stays_genuine(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.name.startswith(_GENUINE)


def _thread_of(function: Callable[..., object]) -> threading.Thread | None:
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, threading.Thread) else None


def _launch(world: "SimDriver", function: Callable[[], object], name: str) -> Process:
    return world.spawn(function, host=current_host(), name=name, own_thread=False)


def _start(function: Callable[..., object], args: Any = (), kwargs: Any = None, /) -> int:
    """``_thread.start_new_thread``."""
    world = _world()
    thread = _thread_of(function)
    if world is None or _stays_genuine(thread):
        if world is not None and thread is not None:
            with virtual_time.real_time():
                started = thread._started = threading.Event()  # type: ignore[attr-defined]
                ident = _start_new_thread(function, args)
                started.wait()  # here: afterwards its locks would be the world's
                world.helpers.append(thread)
                return ident
        return _start_new_thread(function, args, *(() if kwargs is None else (kwargs,)))
    if thread is not None:
        _prepare(world, thread)
    name = thread.name if thread is not None else getattr(function, "__name__", "thread")

    def run() -> None:
        with contextlib.suppress(SystemExit):  # `_thread.exit`
            function(*args, **(kwargs or {}))

    _launch(world, run, name)
    return 0


def _start_joinable(
    function: Callable[..., object], handle: Any = None, daemon: bool = True
) -> Any:
    """``_thread.start_joinable_thread`` of Python 3.13 and later."""
    world = _world()
    thread = _thread_of(function)
    genuine = _thread.start_joinable_thread  # type: ignore[attr-defined]
    if world is None or _stays_genuine(thread):
        if world is not None and thread is not None:
            with virtual_time.real_time():
                started = thread._started = threading.Event()  # type: ignore[attr-defined]
                handle = thread._handle = _thread._ThreadHandle()  # type: ignore[attr-defined]
                genuine(function, handle=handle, daemon=daemon)
                started.wait()  # here: afterwards its locks would be the world's
                world.helpers.append(thread)
                return handle
        return genuine(function, handle=handle, daemon=daemon)
    if not isinstance(handle, Handle):
        handle = Handle(world)
    if thread is not None:
        _prepare(world, thread)
        thread._handle = handle  # type: ignore[attr-defined]
    name = thread.name if thread is not None else getattr(function, "__name__", "thread")
    handle.started(_launch(world, function, name))
    return handle


def stand_ins() -> list[tuple[Any, str, Any, Any]]:
    """(module, name, genuine, stand-in) of all that is replaced while a world runs."""
    found: list[tuple[Any, str, Any, Any]] = [
        (_thread, "start_new_thread", _start_new_thread, _start),
        (queue, "SimpleQueue", queue.SimpleQueue, _by_world(queue.SimpleQueue, _simple_queue)),
    ]
    made: dict[int, Any] = {}
    for name, ours in (
        ("Lock", Lock),
        ("_allocate_lock", Lock),
        ("_CRLock", RLock),
        ("_set_sentinel", _sentinel),
        ("_ThreadHandle", Handle),
    ):
        real = getattr(threading, name, None)
        if real is not None:
            fake = made.setdefault(id(real), _by_world(real, ours))
            found.append((threading, name, real, fake))
    for name, start in (("_start_new_thread", _start), ("_start_joinable_thread", _start_joinable)):
        real = getattr(threading, name, None)
        if real is not None:
            found.append((threading, name, real, start))
    return found


def _simple_queue(_: "SimDriver") -> Any:
    return queue._PySimpleQueue()  # type: ignore[attr-defined]
