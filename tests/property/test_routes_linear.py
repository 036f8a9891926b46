# SPDX-License-Identifier: Apache-2.0
"""The routing table against a linear scan over all routes ever added and not removed."""

from hypothesis import given
from hypothesis import strategies as st

from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.rng import Rng
from capas.internet.route import Route, RouteTable
from capas.link.interface import Interface
from capas.link.link import Loopback
from capas.wire.address import Prefix


def interfaces() -> list[Interface]:
    args = HostConfig(), Counters(), Scheduler(), Rng(1)
    return [Interface(f"if{i}", i, bytes(6), Loopback(), *args) for i in (1, 2)]


INTERFACES = interfaces()
#: Few distinct bytes, so that prefixes nest.
octets = st.sampled_from((0, 1, 0x80, 0xFF))
v4 = st.lists(octets, min_size=4, max_size=4).map(bytes)
v6 = st.lists(octets, min_size=16, max_size=16).map(bytes)
prefixes = st.tuples(v4, st.integers(0, 32)) | st.tuples(
    v6, st.sampled_from((0, 1, 10, 48, 63, 64, 65, 128))
)
actions = st.lists(
    st.tuples(prefixes, st.integers(0, 1), st.integers(0, 2), st.booleans()), max_size=25
)


def linear(routes: list[Route], dst: bytes, index: int) -> Route | None:
    best: Route | None = None
    for route in routes:
        if not route.prefix.contains(dst) or (index and route.interface.index != index):
            continue
        if (
            best is None
            or route.prefix.length > best.prefix.length
            or (route.prefix.length == best.prefix.length and route.metric < best.metric)
        ):
            best = route
    return best


@given(actions, st.lists(v4 | v6, min_size=1, max_size=8), st.integers(0, 2))
def test_lookup(
    steps: list[tuple[tuple[bytes, int], int, int, bool]], targets: list[bytes], index: int
) -> None:
    table = RouteTable()
    kept: list[Route] = []
    for (address, length), which, metric, removes in steps:
        prefix = Prefix(address, length)
        if removes:
            gone = [r for r in kept if r.prefix == prefix]
            assert table.remove(prefix) == len(gone)
            kept = [r for r in kept if r.prefix != prefix]
        else:
            route = Route(prefix, INTERFACES[which], None, metric)
            kept = [
                r
                for r in kept
                if not (
                    r.prefix == prefix and r.interface is route.interface and r.metric == metric
                )
            ]
            kept.append(route)
            table.add(route)
        assert len(table) == len(kept)
        for dst in targets:
            assert table.lookup(dst, index) is linear(kept, dst, index)
    assert {str(route) for route in table} == {str(route) for route in kept}
    for route in kept:
        assert table.discard(route)
    assert len(table) == 0
    assert list(table) == []
