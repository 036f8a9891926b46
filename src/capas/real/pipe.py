# SPDX-License-Identifier: Apache-2.0
"""A device for anything that takes bytes in and gives bytes out, one frame at a time.

`Pipe` works on a descriptor or socket that keeps message boundaries (``socketpair`` of SOCK_DGRAM
or SOCK_SEQPACKET, a connected UDP socket, a descriptor somebody else opened).  `CallbackPipe` works
on a pair of callables: frames out go to a function, frames in come by `CallbackPipe.feed`.  Neither
knows offloads, so the stack splits and sums by itself.

Units: bytes.  Nothing here is of one operating system.
"""

import errno
import os
import socket
import stat
from collections import deque
from collections.abc import Callable
from typing import final

from capas.base.checksum import Buffer
from capas.base.frame import Frame
from capas.link.link import ETHERNET_MTU, LinkCaps, Medium
from capas.real.device import Device

_ETHERNET_HEADER = 18  # bytes, with a VLAN tag
_FEED_LIMIT = 1000  # frames waiting for the driver (Linux txqueuelen)


@final
class Pipe(Device):
    """A device on a socket or descriptor that preserves message boundaries.

    ``end``     a socket object, or the number of a descriptor; the pipe owns it from now on
    ``medium``  what a message begins with: the IP header, or an Ethernet header

    Raises ValueError for an end without boundaries, a stream socket or a FIFO.
    """

    def __init__(
        self,
        end: socket.socket | int,
        *,
        medium: Medium = Medium.IP,
        mtu: int = ETHERNET_MTU,
        name: str = "pipe",
    ) -> None:
        super().__init__(name)
        if _is_stream(end):
            raise ValueError(
                "a pipe of packets needs message boundaries, and a stream has none: say"
                " socketpair(type=SOCK_DGRAM), or frame the packets yourself and use CallbackPipe"
            )
        self.caps = LinkCaps(mtu, medium)
        self.sink = None
        self._size: int = mtu + _ETHERNET_HEADER
        self._end: socket.socket | None = None
        self._recv: Callable[[int], bytes]
        self._send: Callable[[bytes], int]
        if isinstance(end, socket.socket):
            end.setblocking(False)
            self._end = end
            self._fd: int = end.fileno()
            self._recv = end.recv
            self._send = end.send
        else:
            os.set_blocking(end, False)
            self._fd = end
            self._recv = self._os_read
            self._send = self._os_write

    def _os_read(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def _os_write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._fd

    def read(self, now: int) -> Frame | None:
        """The next message; an empty one means that the other side has closed."""
        try:
            data = self._recv(self._size)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self.counters.add("device.read_error")
            # ECONNREFUSED on a UDP socket is an echo of something we sent, not the end
            self.gone = error.errno != errno.ECONNREFUSED
            return None
        if not data:
            self.gone = True
            return None
        return Frame(data, now)

    def transmit(self, frame: Frame) -> bool:
        """Send one message; False when the pipe is full."""
        try:
            self._send(frame.data)
        except BlockingIOError:
            self.busy = True
            return False
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self.counters.add("device.no_buffers")
            else:
                self.counters.add("device.refused")
                if error.errno in (errno.EPIPE, errno.EBADF, errno.ENOTCONN, errno.ECONNRESET):
                    self.gone = True
        return True

    def close(self) -> None:
        """Close the descriptor or socket."""
        if self._end is not None:
            self._end.close()
        elif self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _is_stream(end: socket.socket | int) -> bool:
    if isinstance(end, socket.socket):
        return end.type == socket.SOCK_STREAM
    mode = os.fstat(end).st_mode
    if not stat.S_ISSOCK(mode):
        return stat.S_ISFIFO(mode)
    with socket.socket(fileno=os.dup(end)) as copy:
        return copy.type == socket.SOCK_STREAM


@final
class CallbackPipe(Device):
    """A device on two callables: ``send`` takes what goes out, `feed` brings what comes in.

    ``send`` is called with one frame as bytes, by whichever thread flushes the host, while the
    driver's lock is held; it must not block and must not call into the stack.  Answering False
    means "full": the frame is kept and offered again after `ready`.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        *,
        medium: Medium = Medium.IP,
        mtu: int = ETHERNET_MTU,
        name: str = "pipe",
        limit: int = _FEED_LIMIT,
    ) -> None:
        super().__init__(name)
        self.caps = LinkCaps(mtu, medium)
        self.sink = None
        self.limit: int = limit
        self._send = send
        self._arrived: deque[bytes] = deque()
        self._closed = False

    def fileno(self) -> int:
        """-1: the driver is woken by `feed`."""
        return -1

    def feed(self, data: Buffer) -> bool:
        """A frame has arrived (any thread); False if it was dropped because too many wait."""
        if self._closed:
            return False
        if len(self._arrived) >= self.limit:
            self.counters.add("device.queue_full")
            return False
        self._arrived.append(bytes(data))
        if self.wake is not None:
            self.wake()
        return True

    def ready(self) -> None:
        """After ``send`` answered False: it takes frames again (any thread)."""
        self.busy = False
        if self.wake is not None:
            self.wake()

    def read(self, now: int) -> Frame | None:
        """The oldest frame fed and not yet read."""
        try:
            return Frame(self._arrived.popleft(), now)
        except IndexError:
            return None

    def transmit(self, frame: Frame) -> bool:
        """Hand the frame's bytes to ``send``."""
        if self._closed:
            self.counters.add("device.refused")
            return True
        self.busy = True  # before the call: `ready` may come while it still runs
        if self._send(frame.data) is False:
            return False
        self.busy = False
        return True

    def close(self) -> None:
        """Take and give nothing any more."""
        self._closed = True
        self._arrived.clear()
