# SPDX-License-Identifier: Apache-2.0
"""An hour of a Raft cluster whose hosts are cut off one after the other: no read is stale."""

import random

import pytest

counter = pytest.importorskip("counter", exc_type=ImportError)


@pytest.mark.slow
def test_reads_are_never_older_than_what_was_acknowledged(internet, buggy):
    stations = internet.hosts("a", "b", "c")
    internet.switch("lan", *stations, delay="5ms", jitter="2ms")
    places = {station.name: f"{station.address}:{counter.PORT}" for station in stations}
    nodes = {}
    for station in stations:
        others = [place for name, place in places.items() if name != station.name]
        me = places[station.name]
        station.thread(counter.run, me, others, lambda n, at=station.name: nodes.update({at: n}))
    acknowledged = reads = 0

    def added(value, error):
        nonlocal acknowledged
        if error == 0:
            acknowledged = max(acknowledged, value)

    def read(node):
        least = acknowledged

        def told(value):
            nonlocal reads
            reads += 1
            assert value >= least, f"read {value} after {least} was acknowledged"

        (node.read_here if buggy else node.read_log)(told)

    internet.run(until=20)
    cut = None
    while internet.now < 3600:
        if cut is None and random.random() < 0.2:
            cut = random.choice(stations).isolate()
        elif cut is not None and random.random() < 0.2:
            cut.remove()
            cut = None
        random.choice(list(nodes.values())).add(callback=added)
        internet.run_for(f"{random.randrange(2_000, 15_000)}ms")
        for node in nodes.values():
            read(node)
    assert acknowledged > 50
    assert reads > 50
