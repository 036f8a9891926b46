# SPDX-License-Identifier: Apache-2.0
"""The bad cable of ``capas bench tap``: the same for the kernel and for capas.

``python -m capas.bench.cable NEAR FAR``  opens a TUN device NEAR, then FAR in a network
namespace of its own, and carries packets of at most 1,500 bytes between them: `DELAY` ns each way,
`LOSS` of them lost.  The n-th packet of a direction has the same fate for every host, in the first
sample, in the second, and so on.  Load generators run beyond it: a line "in8 HOST SECONDS" on
standard input starts one, and its number is the answer.  It is no part of the stack it
measures: TUN devices, a heap and a random number, nothing of capas's links.
"""

import contextlib
import os
import random
import select
import subprocess
import sys
import time
from heapq import heappop, heappush
from typing import Final

from capas.bench.server import CHARGEN, DISCARD, configure, ip, unshare_network

FAR: Final = ("10.98.3.2", "fd98:3::2")
NEAR: Final = ("10.98.3.1", "fd98:3::1")
DELAY: Final = 10_000_000  # ns one way: a round trip of 20 ms
LOSS: Final = 0.001
_QUEUE: Final = "5000"  # packets of a device's own queue, so that nothing but LOSS is lost
_PORTS: Final = {"in8": DISCARD, "out8": CHARGEN}


def _open(name: str) -> int:
    """A TUN device without offloads, as a descriptor."""
    import fcntl
    import struct

    from capas.real.attach import IFF_NO_PI, IFF_TUN, TUNSETIFF

    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


class _Cable:
    """Both directions, and the load generator that runs now."""

    def __init__(self, near: int, far: int) -> None:
        self._ends = {near: far, far: near}
        self._fates = {near: random.Random(), far: random.Random()}
        self._samples: dict[tuple[str, str], int] = {}  # taken so far, by kind and host
        self._flying: list[tuple[int, int, int, bytes]] = []
        self._count = 0
        self._poll = select.epoll()
        for fd in (near, far, 0):
            self._poll.register(fd, select.EPOLLIN)
        self._load: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Until standard input ends."""
        flying, clock = self._flying, time.monotonic_ns
        while True:
            wait = (flying[0][0] - clock()) / 1e9 if flying else 1.0
            for fd, _ in self._poll.poll(max(0.0, wait)):
                if fd in self._ends:
                    self._take(fd)
                elif fd == 0:
                    line = os.read(0, 4096).decode()
                    if not line:
                        return
                    self._start(*line.split())
                else:
                    self._answer(fd)
            now = clock()
            while flying and flying[0][0] <= now:
                _, _, fd, packet = heappop(flying)
                with contextlib.suppress(OSError):  # the other end is not up: lost
                    os.write(fd, packet)

    def _take(self, fd: int) -> None:
        other, read, lost = self._ends[fd], os.read, self._fates[fd].random
        for _ in range(64):
            try:
                packet = read(fd, 2048)
            except BlockingIOError:
                return
            if lost() >= LOSS:
                self._count += 1
                heappush(self._flying, (time.monotonic_ns() + DELAY, self._count, other, packet))

    def _start(self, kind: str, host: str, seconds: str) -> None:
        sample = self._samples[kind, host] = self._samples.get((kind, host), 0) + 1
        for direction, fate in enumerate(self._fates.values()):
            fate.seed(2 * sample + direction)
        words = ["-m", "capas.bench.load", kind, host, str(_PORTS[kind]), seconds]
        self._load = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE)
        assert self._load.stdout is not None
        self._poll.register(self._load.stdout, select.EPOLLIN)

    def _answer(self, fd: int) -> None:
        assert self._load is not None
        self._poll.unregister(fd)
        line = os.read(fd, 4096) or b"failed\n"
        self._load.communicate()
        os.write(1, line)


def main(words: list[str]) -> int:
    """NEAR FAR."""
    near = _open(words[0])
    ip("link", "set", words[0], "txqueuelen", _QUEUE)
    unshare_network()
    far = _open(words[1])
    ip("link", "set", words[1], "txqueuelen", _QUEUE)
    ip("link", "set", "lo", "up")
    configure(words[1], FAR)
    ip("route", "add", "default", "via", NEAR[0])
    os.write(1, b"ready\n")
    _Cable(near, far).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
