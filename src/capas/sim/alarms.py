# SPDX-License-Identifier: Apache-2.0
"""Alarms of programs in virtual time: ``signal.alarm``, ``signal.setitimer``, SIGALRM.

Each blocking program of a world has the interval timer and the handler that a process would have;
its threads share them.  The handler runs in the program's own thread, where it waits (it takes no
virtual time otherwise): a call that waits goes on afterwards, unless the handler raises (PEP 475).
Without a handler the alarm ends the program.  It has none any more when its own function has ended,
though threads of it go on.  Other threads, other signals and other timers are the
machine's.
"""

import math
import operator
import signal
import sys
from types import ModuleType
from typing import Any, Final, cast, final

from capas.base.clock import NEVER, SECOND, US, Timer
from capas.errors import CapasError
from capas.sim import virtual_time
from capas.sim.process import Process
from capas.sockets.failure import ProcessKilled

_LONGEST: Final = 1 << 62  # ns: what waits longer, waits for ever
_HALF: Final = SECOND // 2

_real: Final = {
    name: getattr(signal, name)
    for name in ("alarm", "setitimer", "getitimer", "signal", "getsignal", "pause", "raise_signal")
    if hasattr(signal, name)
}
Handler = Any  # a callable of (signal number, frame), SIG_DFL or SIG_IGN


@final
class Alarm(Timer):
    """ITIMER_REAL of one program, and what that does about SIGALRM.

    ``interval``  ns until it fires again, 0: it does not
    ``count``     how many came to a handler
    """

    __slots__ = ("_pending", "_process", "count", "handler", "interval")

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process: Process = process
        self._pending: bool = False
        self.handler: Handler = signal.SIG_DFL
        self.interval: int = 0
        self.count: int = 0

    def set(self, delay: int, interval: int) -> None:
        """Fire after ``delay`` ns (0: never) and then each ``interval``."""
        engine = self._process.engine
        self.interval = interval
        if delay:
            engine.scheduler.at(min(engine.clock.time + delay, NEVER - 1), self)
        else:
            engine.scheduler.cancel(self)

    def cancel(self) -> None:
        """None is to come."""
        self.set(0, 0)

    def left(self) -> int:
        """Until it fires, ns; 0: it will not."""
        if self.deadline == NEVER:
            return 0
        return max(self.deadline - self._process.engine.clock.time, US)

    def fire(self, now: int) -> None:
        """The time is up."""
        if not self._process.done:
            if self.interval:
                self._process.engine.scheduler.at(now + self.interval, self)
            self._pending = True
            self._process.make_runnable()

    def raised(self) -> None:
        """Somebody of the program asks for the signal itself."""
        self._pending = True
        if self._process.runs_here():
            self.deliver()
        else:
            self._process.make_runnable()

    def deliver(self) -> None:
        """In the program's thread, which waits: have its handler run, if an alarm came."""
        while self._pending:
            self._pending = False
            if self.handler == signal.SIG_IGN:
                continue
            if self.handler == signal.SIG_DFL:
                self._end_program()
            self.count += 1
            self.handler(signal.SIGALRM, sys._getframe(1))

    def _end_program(self) -> None:
        """The default action, of all threads of the program."""
        program = self._process
        for process in list(program.engine.processes):
            if process.program is program and process is not program:
                process.kill()
        program.error = CapasError(
            f"{program.name} was ended by SIGALRM, for which it has no handler"
        )
        report = program.report
        program.kill()  # what it does on the way out does not wait
        program.report = report
        raise ProcessKilled


def _program() -> Process | None:
    """The program that the calling thread is one of; None: it is none of a world's."""
    source = virtual_time.current()
    engine = getattr(source, "engine", None)
    current = None if engine is None else engine.current
    return None if current is None else cast(Process, current).program


def _alarm_of(program: Process) -> Alarm:
    if program.alarm is None:
        program.alarm = Alarm(program)
    return cast(Alarm, program.alarm)


def _nanoseconds(seconds: float) -> int:
    if math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise signal.ItimerError(22, "Invalid argument")
    return min(math.ceil(seconds * 1_000_000) * US, _LONGEST) if seconds < _LONGEST else _LONGEST


def _setitimer(which: int, seconds: float, interval: float = 0.0, /) -> tuple[float, float]:
    program = _program()
    if program is None or which != signal.ITIMER_REAL:
        return cast(tuple[float, float], _real["setitimer"](which, seconds, interval))
    delay, again = _nanoseconds(seconds), _nanoseconds(interval)
    before = _getitimer(which)
    _alarm_of(program).set(delay, again)
    return before


def _getitimer(which: int, /) -> tuple[float, float]:
    program = _program()
    if program is None or which != signal.ITIMER_REAL:
        return cast(tuple[float, float], _real["getitimer"](which))
    alarm = _alarm_of(program)
    left = alarm.left()
    return left / SECOND, alarm.interval / SECOND if left else 0.0


def _alarm(seconds: int, /) -> int:
    program = _program()
    if program is None:
        return int(_real["alarm"](seconds))
    delay = operator.index(seconds)
    if not -(1 << 31) <= delay < 1 << 31:
        raise OverflowError("Python int too large to convert to C int")
    alarm = _alarm_of(program)
    left = alarm.left()
    alarm.set((delay & 0xFFFFFFFF) * SECOND, 0)
    whole, rest = divmod(left, SECOND)
    return whole + (rest >= _HALF or (not whole and rest > 0))  # Linux alarm_setitimer


def _signal(number: int, handler: Handler) -> Handler:
    program = _program()
    if program is None or number != signal.SIGALRM or not program.runs_here():
        return _real["signal"](number, handler)
    if not callable(handler) and handler not in (signal.SIG_DFL, signal.SIG_IGN):
        raise TypeError(
            "signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object"
        )
    alarm = _alarm_of(program)
    before, alarm.handler = alarm.handler, handler
    return before


def _getsignal(number: int) -> Handler:
    program = _program()
    if program is None or number != signal.SIGALRM:
        return _real["getsignal"](number)
    return _alarm_of(program).handler


def _pause() -> None:
    program = _program()
    if program is None:
        _real["pause"]()
        return
    alarm = _alarm_of(program)
    count = alarm.count
    waiting = cast(Process, program.engine.current)
    waiting.block(NEVER, "waits for a signal", lambda: alarm.count != count)


def _raise_signal(number: int, /) -> None:
    program = _program()
    if program is None or number != signal.SIGALRM:
        _real["raise_signal"](number)
        return
    _alarm_of(program).raised()


def stand_ins() -> list[tuple[ModuleType | type, str, Any, Any]]:
    """What takes the place of what in `signal`, where this system has it."""
    ours = {
        "alarm": _alarm,
        "setitimer": _setitimer,
        "getitimer": _getitimer,
        "signal": _signal,
        "getsignal": _getsignal,
        "pause": _pause,
        "raise_signal": _raise_signal,
    }
    if "setitimer" not in _real:  # Windows
        return []
    return [(signal, name, real, ours[name]) for name, real in _real.items()]
