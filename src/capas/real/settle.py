# SPDX-License-Identifier: Apache-2.0
"""Not to end before the peers have all: a program's network ends with it, unlike the kernel's.

Who writes, closes and ends has told the kernel to see to the rest.  Here the rest, a window of data
or a segment that was lost, would end with the process.
"""

import time
from asyncio import _get_running_loop
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from capas.base.clock import SECOND
from capas.transport.tcp.states import CLOSING, FIN_WAIT_1, LAST_ACK

if TYPE_CHECKING:
    from capas.real.driver import RealDriver

_UNSURE: Final = (FIN_WAIT_1, CLOSING, LAST_ACK)  # closed, and the peer has not acknowledged all
_LEAST: Final = 0.0005  # s between looks, at first
_MOST: Final = 0.02
_LONG: Final = 2.0  # s until somebody is told


def settle(driver: "RealDriver", timeout: float, tell: Callable[[], object] | None = None) -> int:
    """Let ``driver`` run on until the peers have acknowledged what its programs closed.

    ``timeout``  s; then it is over, whoever still waits
    ``tell``     called once when it takes longer than anybody expects
    Returns how many connections still wait.  Inside a running event loop nothing can be waited for.
    """
    begin = driver.now()
    pause = _LEAST
    while True:
        with driver.lock:
            left = sum(c.state in _UNSURE for host in driver.hosts for c in host.tcp.connections())
            if not left or driver.closed or _get_running_loop() is not None:
                return left
            passed = (driver.now() - begin) / SECOND
            if passed >= timeout:
                return left
            driver.start()
        if tell is not None and passed >= _LONG:
            tell()
            tell = None
        time.sleep(pause)
        pause = min(2 * pause, _MOST)
