# SPDX-License-Identifier: Apache-2.0
"""The learning switch (IEEE 802.1D-2004 §7)."""

from hypothesis import given
from hypothesis import strategies as st
from sim_bench import Listener

from capas.base.clock import SECOND, ManualClock, Scheduler
from capas.base.frame import Frame
from capas.sim.switch import Switch
from capas.sim.wire import Wire


class Net:
    def __init__(self, ports=3, mtus=(1500, 1500, 1500), **settings):
        self.clock, self.scheduler = ManualClock(), Scheduler()
        self.switch = Switch("s", self.clock, **settings)
        self.ends, self.wires = [], []
        for mtu in mtus[:ports]:
            wire = Wire("w", self.clock, self.scheduler, mtu=mtu)
            wire.a.sink = listener = Listener()
            self.switch.attach(wire.b)
            self.ends.append(listener)
            self.wires.append(wire)

    def send(self, port, destination, source, size=60):
        data = mac(destination) + mac(source) + b"\x88\xb5" + bytes(max(0, size - 14))
        self.wires[port].a.transmit(Frame(data))
        while self.scheduler.next_deadline() <= self.clock.time:
            self.scheduler.run_due(self.clock.time)

    def got(self):
        counts = [len(end.frames) for end in self.ends]
        for end in self.ends:
            end.frames.clear()
        return counts


def mac(value):
    return value if isinstance(value, bytes) else bytes((2, 0, 0, 0)) + value.to_bytes(2, "big")


BROADCAST = b"\xff" * 6


def test_flood_learn_forward_filter():
    net = Net()
    net.send(0, 2, 1)
    assert net.got() == [0, 1, 1]
    net.send(1, 1, 2)
    assert net.got() == [1, 0, 0]
    net.send(0, 2, 1)
    assert net.got() == [0, 1, 0]
    net.send(0, BROADCAST, 1)
    assert net.got() == [0, 1, 1]
    net.send(1, 2, 3)
    assert net.got() == [0, 0, 0]
    assert net.switch.counters.get("switch.filtered") == 1
    assert set(net.switch.table()) == {mac(1), mac(2), mac(3)}


def test_an_address_that_moves_is_found():
    net = Net()
    net.send(0, BROADCAST, 1)
    net.send(2, BROADCAST, 1)
    net.got()
    net.send(1, 1, 2)
    assert net.got() == [0, 0, 1]
    assert net.switch.counters.get("switch.moved") == 1


def test_entries_age():
    net = Net(ageing=10 * SECOND)
    net.send(0, BROADCAST, 1)
    net.got()
    net.clock.time = 10 * SECOND
    net.send(1, 1, 2)
    assert net.got() == [1, 0, 0]
    net.clock.time = 11 * SECOND
    net.send(1, 1, 2)
    assert net.got() == [1, 0, 1]
    assert mac(1) not in net.switch.table()


def test_the_table_is_bounded_and_old_entries_make_room():
    net = Net(table_limit=50, ageing=10 * SECOND)
    for i in range(100):
        net.send(0, BROADCAST, i)
    assert len(net.switch.table()) == 50
    assert net.switch.counters.get("switch.table_full") == 50
    net.clock.time = 60 * SECOND
    net.send(0, BROADCAST, 99)
    assert set(net.switch.table()) == {mac(99)}


def test_reserved_addresses_and_group_sources_go_nowhere():
    net = Net()
    net.send(0, b"\x01\x80\xc2\x00\x00\x0e", 1)
    net.send(0, 2, b"\x01\x00\x5e\x00\x00\x01")
    assert net.got() == [0, 0, 0]
    net.send(0, b"\x01\x80\xc2\x00\x00\x10", 1)
    assert net.got() == [0, 1, 1]


def test_frames_too_large_for_a_port():
    net = Net(mtus=(9000, 9000, 1500))
    net.send(0, BROADCAST, 1, size=5000)
    assert net.got() == [0, 1, 0]
    net.send(2, BROADCAST, 3)
    net.got()
    net.send(0, 3, 1, size=5000)
    assert net.got() == [0, 0, 0]
    assert net.switch.counters.get("switch.too_big") == 2


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes(frames):
    net = Net(table_limit=5)
    for data in frames:
        net.wires[0].a.transmit(Frame(data))
        net.scheduler.run_due(0)
    assert len(net.switch.table()) <= 5
    assert net.switch.counters.get("switch.short") == sum(len(d) < 14 for d in frames)
