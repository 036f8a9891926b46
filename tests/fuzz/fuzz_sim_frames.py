# SPDX-License-Identifier: Apache-2.0
"""Whatever a host puts on a wire: switches, queues, marks, rules and corruption take any bytes."""

from capas.base.clock import ManualClock, Scheduler
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.sim import links
from capas.sim.codel import FqCoDel
from capas.sim.impairments import corrupted
from capas.sim.links import LinkSettings
from capas.sim.marking import ecn_of, mark_ce
from capas.sim.rules import addresses_of, black_hole
from capas.sim.switch import Switch
from capas.sim.wire import Wire

ETHERNET = bytes((2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2))
SEEDS = [
    ETHERNET + b"\x08\x00\x45\x02" + bytes(18) + bytes(20),
    ETHERNET + b"\x86\xdd\x60\x20" + bytes(60),
    ETHERNET + b"\x81\x00\x00\x01\x08\x00\x45" + bytes(30),
    ETHERNET + b"\x08\x06" + bytes(28),
]


def test(data: bytes) -> None:
    frame = Frame(data)
    addresses_of(frame)
    marked = mark_ce(frame)
    assert marked is None or ecn_of(marked) == 3
    assert len(corrupted(frame, Rng(1), 3).data) == len(data)
    queue = FqCoDel(packets=2)
    for _ in range(3):
        queue.enqueue(frame, 0)
    assert len(queue) == 2
    clock, scheduler = ManualClock(), Scheduler()
    switch = Switch("s", clock, table_limit=2)
    wires = [Wire("w", clock, scheduler) for _ in range(2)]
    for wire in wires:
        switch.attach(wire.b)
        settings = LinkSettings(rate="1Mbit", corrupt=0.5, duplicate=0.5, reorder=0.5, jitter="1ms")
        for direction in wire.directions():
            links.build(direction, settings, Rng(len(data)))
    black_hole([wires[0].up], 60)
    for _ in range(3):
        wires[0].a.transmit(frame)
    while (when := scheduler.next_deadline()) < 1 << 61:
        clock.time = max(clock.time, when)
        scheduler.run_due(when)
    assert len(switch.table()) <= 2
