# SPDX-License-Identifier: Apache-2.0
"""A thread of the kernel's that takes the frames we write, while bulk data comes (threaded NAPI).

The kernel's TCP does its work for the other end inside our ``write``: an acknowledgement of ours
pays for the sender's next super-frames, which a thread could send on another core while we read.
Bulk data comes a quarter faster by it.  But to wake a thread is an interrupt of that core for each
frame we write, more than most frames are worth: so only then.
"""

import contextlib
import os
import socket
from typing import Final, final

from capas.base.clock import MS, SECOND

_MUCH: Final = 250_000_000  # bytes/s: from here on bulk data comes
_LITTLE: Final = _MUCH // 4  # bytes/s: it comes no more
_WINDOW: Final = 100 * MS  # ns, for which either has to last: switching costs up to a millisecond


def switches() -> bool:
    """Whether a device made now would have a switch for us, asked before it is made.

    Afterwards would be late: a device made anew without has lost the addresses it was given.
    """
    try:
        shown = set(os.listdir("/sys/class/net")) - {"bonding_masters"}  # which is a file
        ours = shown == {name for _, name in socket.if_nameindex()}  # another namespace's else
        return ours and os.access("/sys/class/net/lo/threaded", os.W_OK)
    except OSError:
        return False


def open_switch(name: str) -> int:
    """The file that switches interface ``name`` between the two; -1 if we may not, or it is not."""
    place = f"/sys/class/net/{name}"
    try:
        with open(f"{place}/ifindex") as file:
            if int(file.read()) != socket.if_nametoindex(name):
                return -1  # another namespace's interfaces stand there
        return os.open(f"{place}/threaded", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return -1


@final
class KernelThread:
    """The thread of one device.

    ``switch``   from `open_switch`; closed by `close`
    ``running``  whether it takes our frames now
    """

    def __init__(self, switch: int) -> None:
        self.running: bool = False
        self._switch: int = switch
        self._bytes: int = 0
        self._since: int = 0
        self._run(False)  # who had the device before may have left it on

    def came(self, size: int, now: int) -> None:
        """So many bytes were read from the device."""
        self._bytes += size
        elapsed = now - self._since
        if elapsed < _WINDOW:
            return
        bulk = self._bytes * SECOND >= elapsed * (_LITTLE if self.running else _MUCH)
        self._bytes, self._since = 0, now
        if bulk != self.running:
            self._run(bulk)

    def _run(self, running: bool) -> None:
        if self._switch < 0:
            return
        try:
            os.pwrite(self._switch, b"1" if running else b"0", 0)
            self.running = running
        except OSError:  # the device was deleted, or rights were given up: it stays as it is
            self.close()

    def close(self) -> None:
        """Switch off, and then no more; idempotent."""
        switch, self._switch = self._switch, -1
        if switch < 0:
            return
        if self.running:
            with contextlib.suppress(OSError):
                os.pwrite(switch, b"0", 0)
        os.close(switch)
