# SPDX-License-Identifier: Apache-2.0
"""Programs that wait let time go on themselves: only the number of thread switches shows it."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import capas
from capas.base.clock import SECOND, Timer
from capas.errors import CapasError
from capas.sim.process import Process
from capas.sim.virtual_time import real_time
from capas.sockets.socket import Socket
from capas.wire.address import text


def really_sleep(seconds: float) -> None:
    with real_time():
        time.sleep(seconds)


class Later(Timer):
    """Calls something at its time."""

    def __init__(self, world: Any, when: float, call: Callable[[], object]) -> None:
        super().__init__()
        self.call = call
        world.scheduler.at(round(when * SECOND), self)

    def fire(self, now: int) -> None:
        self.call()


@pytest.fixture
def world() -> Iterator[Any]:
    with capas.World(seed=1) as world:
        world.switch("switch")
        for name in "abc":
            world.link(world.host(name), "switch", delay="10ms")
        yield world


def beats(world: Any, log: list[tuple[float, str]], count: int) -> None:
    """A program on each host: a datagram to the next one and one from the last, every second."""
    names = list(world.hosts)

    def program(name: str, following: str) -> None:
        with Socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.bind(("0.0.0.0", 999))
            own.settimeout(0.5)
            for number in range(count):
                own.sendto(f"{name} {number}".encode(), (following, 999))
                with contextlib.suppress(TimeoutError):
                    log.append((time.monotonic(), own.recvfrom(99)[0].decode()))
                time.sleep(1)

    for name, following in zip(names, names[1:] + names[:1], strict=True):
        world.thread(name, program, name, text(world.names[following][0]))


@pytest.mark.parametrize("asked", [True, False])
def test_whoever_runs_the_events_the_same_happens(
    world: Any, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[tuple[float, str]] = []
    resumed = 0
    resume = Process.resume

    def counted(process: Process) -> None:
        nonlocal resumed
        resumed += 1
        resume(process)

    monkeypatch.setattr(Process, "resume", counted)
    beats(world, log, 5)
    if asked:  # a condition is asked after each instant, by the thread that drives
        world.run(lambda: len(log) == 15)
    else:
        world.run(10)
    assert sorted(said for _, said in log) == sorted(f"{h} {n}" for n in range(5) for h in "abc")
    assert [when for when, _ in log] == sorted(when for when, _ in log)
    assert resumed > 20 if asked else resumed < 10


def test_the_program_that_runs_the_events_may_be_killed_by_one(world: Any) -> None:
    log: list[tuple[float, str]] = []
    ended: list[str] = []

    def idle() -> None:
        try:
            time.sleep(60)
        finally:
            ended.append("killed")

    beats(world, log, 20)
    world.thread("a", idle)
    world.thread("b", idle)
    Later(world, 3.5, lambda: world.kill("a"))
    world.run(30)
    assert ended == ["killed"]
    left = [process.name for process in world.engine.processes if not process.done]
    assert left == ["b:idle"]
    assert log[-1][0] > 10  # the others go on


def test_a_program_may_be_killed_before_who_started_the_last_one_goes_on(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    start = Process._start

    def slow_start(process: Process) -> None:  # a busy machine gives the others the processor
        start(process)
        if process.name == "c:idle":
            while not ended:
                really_sleep(0.01)

    def idle(name: str) -> None:
        try:
            time.sleep(60)
        finally:
            ended.append(name)
            if name == "b":
                really_sleep(0.2)  # meanwhile who started the last one waits for the baton

    monkeypatch.setattr(Process, "_start", slow_start)
    for name in "abc":
        world.thread(name, idle, name)
    Later(world, 1, lambda: world.kill("b"))
    Later(world, 2, lambda: world.kill("c"))
    world.run(30)
    assert ended == ["b", "c"]
    left = [process.name for process in world.engine.processes if not process.done]
    assert left == ["a:idle"]


def test_a_program_kills_others(world: Any) -> None:
    ended: list[str] = []

    def idle(name: str) -> None:
        try:
            time.sleep(60)
        finally:
            ended.append(name)

    def killer() -> float:
        time.sleep(1)
        world.kill("b")
        assert ended == ["first", "second"]
        time.sleep(1)
        return time.monotonic()

    world.thread("b", idle, "first")
    world.thread("b", idle, "second")
    process = world.thread("a", killer)
    world.run(5)
    assert process.value == pytest.approx(2)


def test_what_an_event_raises_comes_out_where_the_world_is_run(world: Any) -> None:
    def bad() -> None:
        raise CapasError("no")

    beats(world, [], 5)
    Later(world, 2.5, bad)
    with pytest.raises(CapasError, match="no"):
        world.run(10)
    assert world.time == 2.5
