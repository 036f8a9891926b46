# SPDX-License-Identifier: Apache-2.0
"""What a frame costs on a wire, counted in Python calls, so that a noisy machine cannot fail it."""

import sys
from itertools import pairwise
from socket import AF_INET, SOCK_DGRAM

import pytest

from capas.base.clock import NEVER, SECOND, ManualClock, Scheduler
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.sim import links
from capas.sim.links import LinkSettings
from capas.sim.wire import Wire
from capas.sim.world import World
from capas.sockets.socket import Socket


class Sink:
    def receive(self, frame, now):
        pass

    def link_ready(self, now):
        pass


def calls_of(function):
    count = 0

    def profile(frame, event, arg):
        nonlocal count
        if event == "call":
            count += 1

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("settings", "budget"),
    [
        # transmit, push, receive; one event for all
        ({}, 3.1),
        # and offer, its queue, finish, fire, at; a delay costs no more
        ({"rate": "10Mbit"}, 8.1),
        ({"rate": "10Mbit", "delay": "10ms"}, 8.1),
        # and _look_at, enter, through, the stages, _arrive
        ({"rate": "10Mbit", "delay": "10ms", "loss": "1%"}, 15.1),
    ],
)
def test_calls_per_frame(settings, budget):
    clock, scheduler = ManualClock(), Scheduler()
    wire = Wire("w", clock, scheduler)
    links.build(wire.up, LinkSettings(**settings), Rng(1))
    wire.b.sink = Sink()
    frames = [Frame(bytes(1000)) for _ in range(500)]

    def run():
        for frame in frames:
            wire.a.transmit(frame)
        scheduler.run(clock, NEVER, 1 << 30)

    each = calls_of(run) / len(frames)
    assert each <= budget, each


class Seen:
    """A tap that keeps the frames sent."""

    def __init__(self):
        self.frames = []

    def captured(self, interface, frame, sent, now):
        if sent:
            self.frames.append(frame)


def calls_along(routers):
    """Of a datagram that passes so many routers, the lines between them idle."""
    world = World(1)
    path = [world.host("a"), *(world.router(f"r{n}") for n in range(routers)), world.host("b")]
    for one, other in pairwise(path):
        world.link(one, other, rate="1Gbit", delay="1ms")
    seen = Seen()
    path[0].interfaces[1].taps.append(seen)

    def send():
        with Socket(AF_INET, SOCK_DGRAM) as s:
            s.sendto(bytes(100), ("b", 9))

    for _ in range(2):  # the first makes the routers ask who the next one is, both make them learn
        world.thread("a", send)
        world.run_for(1)
    port, frame = path[0].interfaces[1].link, seen.frames[-1]
    path[-1].interfaces[1].link.sink = None  # nobody takes it
    port.transmit(frame)
    return calls_of(lambda: world.scheduler.run(world.engine.clock, world.now + SECOND, 1 << 30))


def test_calls_per_hop():
    """fire, take, the frame, transmit, push, at."""
    assert (calls_along(12) - calls_along(2)) / 10 <= 6.1
