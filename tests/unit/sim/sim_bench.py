# SPDX-License-Identifier: Apache-2.0
"""A wire between two listeners, and frames to put on it."""

from capas.base.checksum import checksum, pseudo_sum
from capas.base.clock import NEVER, ManualClock, Scheduler
from capas.base.frame import CSUM_PARTIAL, GSO_TCPV4, GSO_TCPV6, Frame
from capas.base.rng import Rng
from capas.sim import links
from capas.sim.links import LinkSettings
from capas.sim.wire import Wire

MAC_A = b"\x02\x00\x00\x00\x00\x01"
MAC_B = b"\x02\x00\x00\x00\x00\x02"
A4, B4 = b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"
A6, B6 = b"\xfd" + bytes(14) + b"\x01", b"\xfd" + bytes(14) + b"\x02"


class Listener:
    """Notes what arrives and when."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.times: list[int] = []

    def receive(self, frame: Frame, now: int) -> None:
        self.frames.append(frame)
        self.times.append(now)

    def link_ready(self, now: int) -> None:
        raise AssertionError("a wire is never busy")

    @property
    def data(self) -> list[bytes]:
        return [frame.data for frame in self.frames]


class Bench:
    """Two listeners on one wire, and a clock to run it by."""

    def __init__(
        self, *, seed: int = 1, exact: bool = False, overhead: int = 0, **settings
    ) -> None:
        self.clock = ManualClock()
        self.scheduler = Scheduler()
        self.wire = Wire(
            "a-b", self.clock, self.scheduler, exact=exact, overhead=overhead, names=("a", "b")
        )
        self.rng = Rng(seed)
        for direction in self.wire.directions():
            links.build(direction, LinkSettings(**settings), self.rng)
        self.a, self.b = Listener(), Listener()
        self.wire.a.sink, self.wire.b.sink = self.a, self.b

    @property
    def up(self):
        return self.wire.up

    @property
    def counts(self):
        return self.wire.up.statistics

    def send(self, *frames: Frame) -> None:
        for frame in frames:
            assert self.wire.a.transmit(frame)

    def run(self, until: int = NEVER) -> None:
        while (when := self.scheduler.next_deadline()) <= until and when != NEVER:
            self.clock.time = max(when, self.clock.time)
            self.scheduler.run_due(when)
        if until != NEVER:
            self.clock.time = until


def plain(number: int, size: int = 1000) -> Frame:
    """A frame of ``size`` bytes that is not IP."""
    return Frame(MAC_B + MAC_A + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(size - 18))


def number_of(frame: Frame) -> int:
    return int.from_bytes(frame.data[14:18], "big")


def tcp(
    payload: bytes, *, mss: int = 1000, family: int = 4, ecn: int = 0, port: int = 1000
) -> Frame:
    """A TCP packet or super-frame, its checksum left to the link."""
    header = (
        port.to_bytes(2, "big")
        + (80).to_bytes(2, "big")
        + bytes(8)
        + bytes((0x50, 0x10))
        + (65535).to_bytes(2, "big")
    )
    length = 20 + len(payload)
    if family == 4:
        pseudo = pseudo_sum(A4, B4, 6, length)
        ip = bytearray(20)
        ip[0], ip[1], ip[8], ip[9] = 0x45, ecn, 64, 6
        ip[2:4] = (20 + length).to_bytes(2, "big")
        ip[12:20] = A4 + B4
        ip[10:12] = checksum(ip).to_bytes(2, "big")
        ethertype, kind = b"\x08\x00", GSO_TCPV4
    else:
        pseudo = pseudo_sum(A6, B6, 6, length)
        ip = bytearray(40)
        ip[0], ip[1], ip[6], ip[7] = 0x60, ecn << 4, 6, 64
        ip[4:6] = length.to_bytes(2, "big")
        ip[8:40] = A6 + B6
        ethertype, kind = b"\x86\xdd", GSO_TCPV6
    data = MAC_B + MAC_A + ethertype + ip + header + pseudo.to_bytes(2, "big") + bytes(2) + payload
    train = len(payload) > mss
    return Frame(
        bytes(data), 0, CSUM_PARTIAL, 14 + len(ip), 16, kind if train else 0, mss if train else 0
    )
