# SPDX-License-Identifier: Apache-2.0
"""A bad cable before a real device: facts survive it, damage is as asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.base.clock import MS, SECOND, Clock, ManualClock, Scheduler
from capas.base.frame import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from capas.cli.impaired import ImpairedLink, covered, uncovered
from capas.link.link import ALL_GSO, LinkCaps, Medium
from capas.real.device import Device
from capas.real.driver import RealDriver
from capas.real.pipe import CallbackPipe
from capas.sim.links import LinkSettings


class FakeDevice(Device):
    """Keeps what is written; ``room``: how many frames it takes."""

    def __init__(self, medium: Medium) -> None:
        super().__init__("fake")
        self.caps = LinkCaps(1500, medium, True, ALL_GSO)
        self.sink = None
        self.written: list[Frame] = []
        self.room = 1 << 30

    def fileno(self) -> int:
        return -1

    def read(self, now: int) -> Frame | None:
        return None

    def transmit(self, frame: Frame) -> bool:
        if len(self.written) >= self.room:
            self.busy = True
            return False
        self.written.append(frame)
        return True

    def close(self) -> None: ...


class Sink:
    def __init__(self) -> None:
        self.frames: list[tuple[int, Frame]] = []

    def receive(self, frame: Frame, now: int) -> None:
        self.frames.append((now, frame))

    def link_ready(self, now: int) -> None: ...


class Bench:
    def __init__(self, medium: Medium = Medium.IP, seed: int = 0, **settings: object) -> None:
        self.scheduler = Scheduler()
        self.clock = ManualClock()
        self.device = FakeDevice(medium)
        self.link = ImpairedLink(
            self.device,
            LinkSettings(**settings),  # type: ignore[arg-type]
            self.scheduler,
            self.clock,
            seed,
        )
        self.sink = Sink()
        self.link.sink = self.sink

    def out(self, *frames: Frame) -> list[Frame]:
        for frame in frames:
            assert self.link.transmit(frame)
        self.run()
        return self.device.written

    def come(self, *frames: Frame, now: int = 0) -> list[Frame]:
        assert self.device.sink is not None
        self.clock.time = now
        for frame in frames:
            self.device.sink.receive(frame, 0)  # the driver read its clock before the batch
        self.run()
        return [frame for _, frame in self.sink.frames]

    def run(self) -> None:
        for _ in range(10_000):
            due = self.scheduler.next_deadline()
            if due >= 1 << 60:
                return
            self.scheduler.run_due(due)
        raise AssertionError("the cable does not come to rest")


PACKET = bytes([0x45, 0, 0, 60]) + bytes(5) + bytes([17]) + bytes(50)


@pytest.mark.parametrize("medium", [Medium.IP, Medium.ETHERNET])
def test_facts_survive_a_good_cable(medium: Medium) -> None:
    bench = Bench(medium)
    facts = Frame(PACKET, 0, CSUM_PARTIAL, 20, 6, 0, 0, 3)
    caps, device = bench.link.caps, bench.device.caps
    assert (caps.mtu, caps.medium, caps.csum) == (device.mtu, device.medium, device.csum)
    assert (caps.gso_types, caps.gso_max, caps.train) == (device.gso_types, device.gso_max, 0)
    for got in (bench.out(facts), bench.come(facts)):
        (frame,) = got
        assert frame.data == PACKET
        assert (frame.csum, frame.csum_start, frame.csum_offset, frame.mark) == (
            CSUM_PARTIAL, 20, 6, 3,
        )  # fmt: skip
    (valid,) = Bench(medium).come(Frame(PACKET, 0, CSUM_VALID))
    assert valid.csum == CSUM_VALID


@given(st.binary(max_size=100), st.booleans(), st.integers(0, 60), st.integers(0, 20))
def test_covering_and_uncovering(data: bytes, partial: bool, start: int, offset: int) -> None:
    csum = CSUM_PARTIAL if partial else CSUM_NONE
    frame = uncovered(covered(Frame(data, 5, csum, start if partial else 0, offset)))
    assert (frame.data, frame.time, frame.csum) == (data, 5, csum)
    assert frame.csum_start == (start if partial else 0)


def test_the_delay_is_each_ways_own() -> None:
    bench = Bench(delay="20ms")
    bench.out(Frame(PACKET, 7 * MS))
    assert bench.link.clock.time == 7 * MS and len(bench.device.written) == 1
    bench.come(Frame(PACKET), now=50 * MS)
    assert bench.sink.frames[0][0] == 70 * MS


def test_loss_is_what_was_asked_and_follows_the_seed() -> None:
    packets = [Frame(PACKET + i.to_bytes(2, "big")) for i in range(2000)]
    got = [[f.data for f in Bench(loss=0.1, seed=seed).out(*packets)] for seed in (1, 1, 2)]
    assert got[0] == got[1] != got[2]
    # 2,000 draws of 0.1: mean 200, standard deviation 13.4; five of them
    assert all(abs(2000 - len(frames) - 200) < 67 for frames in got)
    bench = Bench(loss=0.1, seed=1)
    bench.out(*packets)
    statistics = bench.link.statistics()
    assert statistics["out"].lost == 2000 - len(got[0]) and statistics["in"].packets == 0


def test_corruption_computes_the_checksum_and_declares_nothing() -> None:
    (frame,) = Bench(corrupt=1.0).out(Frame(PACKET, 0, CSUM_PARTIAL, 20, 6))
    assert frame.csum == CSUM_NONE and len(frame.data) == len(PACKET)
    assert frame.data != PACKET


def test_a_busy_device_gets_the_rest_later() -> None:
    bench = Bench()
    bench.device.room = 2
    packets = [Frame(PACKET + bytes([i])) for i in range(5)]
    assert len(bench.out(*packets)) == 2 and bench.device.busy
    bench.device.room = 10
    assert bench.device.sink is not None
    bench.device.sink.link_ready(0)
    assert [f.data for f in bench.device.written] == [f.data for f in packets]
    bench.device.room = 0
    assert len(bench.out(*packets * 300)) == 5
    assert bench.link.counters.get("device.queue_full") == 500


class Running(Clock):
    """Time goes on whenever somebody looks."""

    def __init__(self) -> None:
        self.time = SECOND

    def now(self) -> int:
        self.time += 1000
        return self.time


def test_what_comes_through_an_undelayed_cable_is_there_in_the_same_turn() -> None:
    """Or an acknowledgement came after the flush, and what it allowed waited for some timer."""
    with RealDriver(clock=Running()) as driver:
        pipe = CallbackPipe(lambda packet: True, mtu=1400)
        host = driver.host("a")
        link = ImpairedLink(pipe, LinkSettings(), driver.scheduler, driver.clock)
        interface = host.attach(link, addresses=["10.8.0.1/24"], now=driver.now())
        driver.add_device(pipe)
        pipe.feed(b"\x45" + bytes(30))
        driver.turn(driver.now())
        assert interface.stats.rx_frames == 1
