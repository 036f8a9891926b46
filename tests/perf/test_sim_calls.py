# SPDX-License-Identifier: Apache-2.0
"""What a frame costs on a wire, counted in Python calls, so that a noisy machine cannot fail it."""

import sys

import pytest

from capas.base.clock import NEVER, ManualClock, Scheduler
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.sim import links
from capas.sim.links import LinkSettings
from capas.sim.wire import Wire


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
