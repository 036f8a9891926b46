# SPDX-License-Identifier: Apache-2.0
"""The host under test, the raw link the script speaks over, and the driver that moves time.

The link has an IP medium.  Under Linux's manners it takes super-frames, as the test device of a
kernel does, and scripts see them whole; the runner joins what comes out smaller than a script
expects, unless the script asks for strict segments.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, final

from capas.base.checksum import checksum
from capas.base.clock import NEVER
from capas.base.config import HostConfig
from capas.base.frame import CSUM_PARTIAL, GSO_TCPV4, GSO_TCPV6, Frame
from capas.base.rng import Rng
from capas.conformance.segments import Seen, read
from capas.conformance.settings import IPV6, RunSettings
from capas.host.host import Host
from capas.link.link import FrameSink, Link, LinkCaps, Medium
from capas.link.offload import split
from capas.sockets.driver import Driver
from capas.transport.endpoint import Endpoint
from capas.wire import address as addr

TCP_GSO: Final = (GSO_TCPV4, GSO_TCPV6)
_STEPS: Final = 1_000_000  # turns without time moving on: the stack spins


@final
class ScriptLink(Link):
    """Everything the stack transmits lands in ``sent``."""

    def __init__(self, mtu: int, super_frames: bool) -> None:
        self.caps = LinkCaps(mtu, Medium.IP, super_frames, TCP_GSO if super_frames else ())
        self.sink: FrameSink | None = None
        self.sent: deque[Seen] = deque()
        self.splitting: bool = False
        self.now: int = 0

    def transmit(self, frame: Frame) -> bool:
        """Keep what the stack sends, in pieces if need be."""
        if self.splitting and frame.gso_size:
            for part in split(frame, 0, frame.gso_size):
                self._sent(part)
        else:
            self._sent(frame)
        return True

    def _sent(self, frame: Frame) -> None:
        data = frame.data
        if frame.csum == CSUM_PARTIAL:
            # Finish the checksum as a network card would: a wrong pseudo-header sum shows.
            at = frame.csum_start + frame.csum_offset
            total = checksum(data[frame.csum_start :])
            data = data[:at] + total.to_bytes(2, "big") + data[at + 2 :]
        self.sent.append(read(data, self.now))


@final
class ScriptDriver(Driver):
    """Virtual time that moves only when the runner says so."""

    def __init__(self) -> None:
        super().__init__()
        self.time: int = 0

    def now(self) -> int:
        """The runner's time."""
        return self.time

    def wall(self) -> float:
        """Seconds since the script began."""
        return self.time / 1e9

    def kick(self, host: Host) -> None:
        """Nothing: the runner flushes after each call."""

    def wait(self, endpoint: Endpoint, mask: int, deadline: int) -> int:
        """Nobody blocks: calls are generators."""
        raise AssertionError("system calls of scripts never wait here")

    def sleep(self, deadline: int) -> None:
        """Nobody sleeps here."""
        raise AssertionError("system calls of scripts never sleep here")

    def turn(self, deadline: int) -> None:
        """No event loop runs here."""
        raise AssertionError("no event loop runs here")


@final
class Network:
    """Host, link and clock of one run."""

    def __init__(self, config: HostConfig, settings: RunSettings) -> None:
        self.settings = settings
        self.driver = ScriptDriver()
        self.link = ScriptLink(settings.mtu, config.tcp_manners == "linux")
        config.dad_transmits = 0
        config.accept_ra = False
        self.host = Host("script", config, Rng(0x5C21))
        self.driver.adopt(self.host)
        length = 48 if settings.version == IPV6 else 16
        address = f"{addr.text(settings.local)}/{length}"
        self.interface = self.host.attach(self.link, name="tun0", addresses=(address,))
        everything = "::/0" if settings.version == IPV6 else "0.0.0.0/0"
        self.host.add_route(everything, interface=self.interface)
        self.settle()
        self.link.sent.clear()

    @property
    def now(self) -> int:
        """Virtual time, ns since the script began."""
        return self.driver.time

    def settle(self) -> None:
        """Let the stack do all that is due now."""
        now = self.link.now = self.driver.time
        host = self.host
        for _ in range(_STEPS):
            host.advance(now)
            host.flush(now)
            host.take_ready()
            if host.next_deadline() > now and not host.tcp.dirty:
                return
        raise AssertionError("the stack never comes to rest")

    def inject(self, packet: bytes) -> None:
        """A packet arrives from the script."""
        now = self.link.now = self.driver.time
        self.interface.receive(Frame(packet, now), now)
        self.settle()

    def run(self, until: int, done: Callable[[], bool]) -> bool:
        """Move time to ``until``, or stop as soon as ``done()``; returns whether it is done."""
        while not done():
            deadline = max(self.host.next_deadline(), self.driver.time)
            if deadline > until or deadline == NEVER:
                self.driver.time = max(until, self.driver.time) if until != NEVER else self.now
                self.settle()
                return done()
            self.driver.time = deadline
            self.settle()
        return True
