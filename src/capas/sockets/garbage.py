# SPDX-License-Identifier: Apache-2.0
"""How often Python looks for garbage while a driver is at work, or a large world is built.

The objects of hosts live long, and connections leave no cycles behind: with Python's 700 it took a
tenth of the time of 1,000 hosts, and of short connections.  What waits for it is 1 MB.
"""

import gc
import threading
from typing import Final

_YOUNG: Final = 10_000  # objects made before the next look

_lock: Final = threading.Lock()
_changed: Final[list[tuple[int, int, int] | None]] = []  # one for each user: what was there


def collect_seldom() -> None:
    """Look for garbage less often until as many calls of `collect_as_before`."""
    with _lock:
        found = gc.get_threshold()
        change = not _changed and 0 < found[0] < _YOUNG
        if change:
            gc.set_threshold(_YOUNG, *found[1:])
        _changed.append(found if change else None)


def collect_as_before() -> None:
    """Undo it with the last user, unless somebody has set other thresholds since."""
    with _lock:
        if len(_changed) > 1:
            _changed.pop()
        elif (found := _changed.pop()) is not None and gc.get_threshold()[0] == _YOUNG:
            gc.set_threshold(*found)
