# SPDX-License-Identifier: Apache-2.0
"""Ten equal flows share a bottleneck: Jain's index (sum x)^2 / (n sum x^2) is at least 0.9.

The flows are equal in their delays too.  With jitter on the access links, as real paths have it,
and without any: then phase effects of the drop-tail queue (Floyd and Jacobson 1991) are at their
worst, and trains that stayed whole on the bottleneck would spare the largest windows.
"""

import pytest

from capas.base.config import HostConfig
from capas.sim.world import World
from capas.testing.pair import Transfer

FLOWS = 10
RATE = 10.0  # Mbit/s


def shares(
    congestion: str,
    seed: int,
    queue: object,
    warm: float,
    seconds: float,
    jitter: str = "2ms",
    rate: float = RATE,
) -> list[float]:
    """Mbit/s of each flow."""
    config = HostConfig(dad_transmits=0, accept_ra=False, tcp_congestion=congestion)
    world = World(seed, config=config)
    left, right = world.router("left"), world.router("right")
    pairs = []
    for i in range(FLOWS):
        a, b = world.host(f"a{i}"), world.host(f"b{i}")
        world.link(a, left, rate=f"{10 * rate}Mbit", delay="1ms", up={"jitter": jitter})
        world.link(right, b, rate=f"{10 * rate}Mbit", delay="1ms")
        pairs.append((a, b))
    world.link(left, right, rate=f"{rate}Mbit", delay="18ms", queue=queue)
    world.prepare()
    flows = [Transfer(world, a, b, 1 << 60) for a, b in pairs]
    world.run_for(warm)
    before = [flow.received for flow in flows]
    world.run_for(seconds)
    assert not any(flow.error for flow in flows)
    return [(flow.received - old) * 8e-6 / seconds for flow, old in zip(flows, before, strict=True)]


def jain(values: list[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("congestion", "queue", "warm", "seconds"),
    [("reno", 60, 10, 25), ("cubic", 60, 15, 60), ("bbr", 60, 8, 12), ("cubic", "fq_codel", 3, 7)],
)
def test_ten_flows_are_fair(congestion: str, queue: object, warm: float, seconds: float) -> None:
    got = shares(congestion, 3, queue, warm, seconds)
    index = jain(got)
    bound = RATE * 1448 / 1514
    print(
        f"{congestion}, queue {queue}: Jain {index:.3f}, {sum(got):.2f} of {bound:.2f} Mbit/s, "
        f"{min(got):.2f} to {max(got):.2f} each"
    )
    assert index >= 0.9
    # Data of before the window may be delivered in it, once a hole is filled.
    assert 0.85 * bound <= sum(got) <= bound * 1.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("congestion", "rate", "queue", "seconds"),
    [
        ("reno", 20.0, 50, 25),
        ("cubic", 20.0, 50, 25),
        ("bbr", 20.0, 50, 15),
        ("cubic", 100, 100, 9),
    ],
)
def test_ten_flows_without_jitter_are_fair(
    congestion: str, rate: float, queue: int, seconds: int
) -> None:
    got = shares(congestion, 1, queue, 5, seconds, "0ms", rate)
    index = jain(got)
    print(f"{congestion}, {rate} Mbit/s: Jain {index:.3f}, {min(got):.2f} to {max(got):.2f} each")
    assert index >= 0.9
    assert 0.85 * rate * 1448 / 1514 <= sum(got) <= rate * 1448 / 1514 * 1.01
