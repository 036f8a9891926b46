# SPDX-License-Identifier: Apache-2.0
"""Genuine descriptors that a blocking program of a virtual world waits for.

A program of the world may write to the other end (a self-pipe), or a process of the machine may.
So they are looked at before time goes on.  While the machine has processes of ours, or a genuine
thread waits for one, a program that waits for nothing else holds virtual time back: quick processes
take none of it, others no more than they take of real time.
"""

import math
import os
from collections.abc import Callable
from typing import Final, final

HOLD: Final = 1.0  # s of real time in which virtual time stands still for a process
_PATIENCE: Final = 10.0  # s of real time before a wait for virtual ones as well is a deadlock


@final
class Outside:
    """One such wait; a context manager while it lasts.

    ``look(seconds)``  waits so long for a descriptor to be ready, and wakes the program
    ``helper()``       the thread that waits for a process, which may be reaped and not yet told of
    ``only``           it waits for nothing else
    ``hold``           s of real time in which virtual time stands still for it
    """

    def __init__(
        self,
        waits: "list[Outside]",
        look: Callable[[float], bool],
        helper: Callable[[], object | None] = lambda: None,
        *,
        only: bool,
        hold: float = HOLD,
    ) -> None:
        self._waits: list[Outside] = waits
        self._look: Callable[[float], bool] = look
        self._helper: Callable[[], object | None] = helper
        self._only: bool = only
        self._hold: float = hold

    def __enter__(self) -> "Outside":
        self._waits.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._waits.remove(self)

    def look(self, gap: float) -> bool:
        """Whether the program was woken; ``gap`` is how many seconds time would go on otherwise."""
        if self._look(0):
            return True
        if self._helper() is None and not _have_processes():
            return False
        if self._only and self._hold:
            hold, self._hold = self._hold, 0.0
            if self._look(hold):
                return True
        if self._only:
            return self._look(gap)
        return gap == math.inf and self._look(_PATIENCE)


def _have_processes() -> bool:
    """Whether the machine runs processes that ours has started."""
    if not hasattr(os, "waitid"):  # Windows, macOS before Python 3.13
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
