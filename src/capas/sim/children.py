# SPDX-License-Identifier: Apache-2.0
"""Processes of the machine that a world's programs ask after: ``Popen.poll``, ``wait(timeout)``.

Who asks for the first time waits, while virtual time stands still, until the process has ended, for
a second at most: quick processes take no virtual time, in every run.  Who sleeps a moment because
one still runs, as loops that ask again do, holds virtual time to the speed of real time.
"""

import os
import subprocess
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final
from weakref import WeakSet

from capas.base.clock import SECOND
from capas.sim import virtual_time
from capas.sim.outside import HOLD, Outside
from capas.sockets.current import in_our_loop

_BRIEF: Final = SECOND  # ns; who sleeps longer does not wait for the process
_LOOK: Final = 1e-3  # s between looks at a process
_AGAIN: Final = 0.05  # s between askings of a wait, as `subprocess` has it


class _Here(threading.local):
    asked: int = 0  # the process that was asked after last, and ran


_here: Final = _Here()
_held: Final[WeakSet[Any]] = WeakSet()  # those whose second is over
_real_poll: Final = subprocess.Popen.poll
_real_wait: Final = subprocess.Popen.wait


def _ended(pid: int, seconds: float) -> bool:
    """Whether a process ends within so many seconds of real time; it stays to be waited for."""
    until = virtual_time.stopwatch() + seconds
    while True:
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except ChildProcessError:
            return True
        left = until - virtual_time.stopwatch()
        if left <= 0:
            return False
        virtual_time.pause(min(left, _LOOK))


def _poll(self: Any) -> int | None:
    """``Popen.poll``."""
    if virtual_time.current() is None or self.returncode is not None or in_our_loop():
        return _real_poll(self)
    if self not in _held:
        _held.add(self)
        _ended(self.pid, HOLD)
    found = _real_poll(self)
    _here.asked = self.pid if found is None else 0
    return found


def _wait(self: Any, timeout: float | None = None) -> int:
    """``Popen.wait``."""
    if virtual_time.current() is None or timeout is None or in_our_loop():
        return _real_wait(self, timeout)
    until = virtual_time.monotonic() + timeout
    while (found := _poll(self)) is None:
        left = until - virtual_time.monotonic()
        if left <= 0:
            raise subprocess.TimeoutExpired(self.args, timeout)
        virtual_time.sleep(min(left, _AGAIN))
    return found


def awaited(waits: list[Outside], duration: int) -> AbstractContextManager[object]:
    """While a program sleeps, so many ns, it may wait for the process that it asked after."""
    pid, _here.asked = _here.asked, 0
    if not pid or duration > _BRIEF:
        return nullcontext()

    def look(seconds: float) -> bool:
        """Wait for its end; that wakes nobody, but time may go on."""
        nonlocal pid
        if pid and _ended(pid, seconds):
            pid = 0
        return False

    return Outside(waits, look, only=True, hold=0)


def stand_ins() -> list[tuple[type, str, Any, Any]]:
    """(class, name, genuine, stand-in) of all that is replaced while a world runs."""
    if not hasattr(os, "waitid"):  # Windows, macOS before Python 3.13
        return []
    popen = subprocess.Popen
    return [(popen, "poll", _real_poll, _poll), (popen, "wait", _real_wait, _wait)]
