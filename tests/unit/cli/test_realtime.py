# SPDX-License-Identifier: Apache-2.0
"""A world in real time on a machine that may be as slow as it likes: no link is ever too short."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from capas.aio.run import run_on, spawn
from capas.application import diagnostics
from capas.base.clock import US, Clock, Timer
from capas.base.frame import Frame
from capas.cli.realtime import PacedDriver
from capas.link.link import LinkCaps, Medium
from capas.real.device import Device
from capas.sim.world import World
from capas.wire.address import BROADCAST_MAC, parse
from capas.wire.ethernet import ARP_REPLY, TYPE_ARP, Arp, header

MAC = b"\x02\xaa\0\0\0\1"
DELAY = 300 * US


class Machine(Clock):
    """A clock that goes on whenever somebody looks: what the machine did between is its affair."""

    def __init__(self, seed: int) -> None:
        self.time = 0
        self.draw = random.Random(seed)

    def now(self) -> int:
        self.time += self.draw.choice((0, 1, 20, 400)) * US
        return self.time


class Outside(Device):
    """Asks for an address, once for each number, and notes when the answers come."""

    def __init__(self, machine: Machine, questions: int) -> None:
        super().__init__("outside")
        self.caps = LinkCaps(1500, Medium.ETHERNET)
        self.sink = None
        self.machine = machine
        self.questions = list(range(questions))
        self.asked: dict[bytes, int] = {}
        self.took: list[int] = []
        self.room = 1 << 30
        self.answers: list[bytes] = []

    def fileno(self) -> int:
        return -1

    def read(self, now: int) -> Frame | None:
        if self.wake is not None:
            self.wake()
        if not self.questions or self.machine.draw.random() < 0.5:
            return None
        address = bytes((10, 0, 1, self.questions.pop(0) + 1))
        self.asked[address] = self.machine.now()
        request = Arp.request(MAC, address, parse("10.0.0.1"))
        return Frame(header(BROADCAST_MAC, MAC, TYPE_ARP) + request.build(), now)

    def transmit(self, frame: Frame) -> bool:
        if len(self.answers) >= self.room:
            self.busy = True
            return False
        answer = Arp.parse(frame.data, 14)
        if answer is not None and answer.operation == ARP_REPLY:
            self.took.append(self.machine.time - self.asked[answer.target])
            self.answers.append(answer.target)
        return True

    def close(self) -> None: ...


class Ticking(Timer):
    """Something else that is always due in the world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        world.scheduler.at(70 * US, self)

    def fire(self, now: int) -> None:
        self.world.scheduler.at(now + 70 * US, self)


class Bench:
    def __init__(self, seed: int, questions: int) -> None:
        self.machine = Machine(seed)
        self.world = World()
        self.world.switch("lan")
        self.a = self.world.host("a", addresses=["10.0.0.1/8"])
        self.b = self.world.host("b", addresses=["10.0.0.2/8"])
        self.world.link(self.a, "lan", delay=DELAY / 1e9)
        self.world.link(self.b, "lan")
        Ticking(self.world)
        self.driver = PacedDriver(self.world, clock=self.machine)
        self.outside = Outside(self.machine, questions)
        self.driver.plug(self.outside, "lan")

    def turn(self, times: int) -> None:
        for _ in range(times):
            self.driver.turn(self.driver.now() + DELAY)


@pytest.fixture(params=range(5))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(request.param, 40)
    yield bench
    bench.driver.close()


def test_what_comes_from_outside_waits_its_full_delay(bench: Bench) -> None:
    bench.turn(200)
    assert len(bench.outside.took) == 40
    assert min(bench.outside.took) >= 2 * DELAY


def test_what_programs_send_waits_its_full_delay(bench: Bench) -> None:
    """Also beside a program that works long while frames are under way."""
    took: list[int] = []

    async def works() -> None:
        while True:
            for _ in range(10):
                bench.machine.now()
            await asyncio.sleep(0)

    async def main() -> None:
        work = spawn(bench.a, works())
        target = parse("10.0.0.1")
        with diagnostics.EchoClient(bench.b) as client:
            for sequence in range(20):
                bench.machine.now()
                begin = bench.machine.time
                client.send(target, sequence, b"")
                assert (await client.answer(sequence, 60)).answered
                took.append(bench.machine.time - begin)
        work.cancel()

    run_on(bench.b, main)
    assert min(took) >= 2 * DELAY


def test_a_busy_device_gets_the_rest_later(bench: Bench) -> None:
    bench.outside.room = 10
    bench.turn(200)
    assert len(bench.outside.answers) == 10
    assert not bench.outside.questions
    bench.outside.room = 100
    bench.outside.busy = False
    bench.turn(2)
    assert bench.outside.answers == list(bench.outside.asked)
