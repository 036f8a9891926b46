# SPDX-License-Identifier: Apache-2.0
"""What the real-time driver asks of a link: a `Link` that one can also read.

A device never blocks and never calls into the stack by itself.  The driver reads frames from it
when its descriptor is readable and hands them to ``sink``.  `transmit` writes at once, or answers
False and sets ``busy``; the driver calls ``sink.link_ready`` when the descriptor is writable again.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import final

from capas.base.events import Counters
from capas.base.frame import Frame
from capas.base.native import mypyc_attr
from capas.link.link import Link


@final
class Landing:
    """Where a program wants what comes next on its connection.

    ``key``   the connection's, as `capas.transport.demux.arriving_key` finds it in a packet
    ``seq``   the sequence number expected next, in [0, 2**32)
    ``room``  the program's own memory, writable
    """

    __slots__ = ("key", "room", "seq")

    def __init__(self, key: bytes, seq: int, room: memoryview) -> None:
        self.key: bytes = key
        self.seq: int = seq
        self.room: memoryview = room


@mypyc_attr(allow_interpreted_subclasses=True)
class Device(Link):
    """A link on something of the operating system.

    ``name``      for messages and captures
    ``busy``      a frame was refused; the driver waits for writability
    ``gone``      the other side has vanished: nothing will be read or written any more
    ``counters``  ``device.*``: frames the operating system refused
    ``wake``      set by the driver: call it (from any thread) when frames arrived on a device that
                  has no descriptor
    """

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.busy: bool = False
        self.gone: bool = False
        self.counters: Counters = Counters()
        self.wake: Callable[[], object] | None = None

    @abstractmethod
    def fileno(self) -> int:
        """The descriptor to wait on, -1 if there is none."""

    @abstractmethod
    def read(self, now: int) -> Frame | None:
        """The next frame that has arrived, None if there is none just now."""

    def read_train(self, now: int, landing: Landing | None = None) -> Frame | None:
        """As `read`, but frames that arrived back to back may come as one (`Frame.body`).

        With a ``landing``, its payload lies there if it is what was expected.
        """
        return self.read(now)

    def ahead(self) -> bool:
        """Whether a frame waits in here of which the descriptor says nothing."""
        return self.fileno() < 0

    @abstractmethod
    def close(self) -> None:
        """Give the descriptor back; idempotent."""
