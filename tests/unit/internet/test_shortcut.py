# SPDX-License-Identifier: Apache-2.0
"""What a router remembers of its flows: it does what the long way does, or leaves it to it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inet_double import Net, Node
from test_inet_forward import A, B, chain, packet4, packet6, tcp_super

from capas.base.clock import SECOND
from capas.base.frame import CSUM_VALID, Frame
from capas.wire.address import parse
from capas.wire.ipv6 import hop_by_hop

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def packet(family: int, size: int = 1, **fields: int) -> bytes:
    make = packet4 if family == 4 else packet6
    return make(A[family], B[family], bytes(size), **fields)


def lab(**settings: int) -> tuple[Net, Node, Node, Node]:
    """A chain where everybody knows his neighbours."""
    net, a, r, b = chain(**settings)
    for family in (4, 6):
        a.send(B[family], ttl=9)
        net.settle()
    b.recorder.packets.clear()
    for node in net.nodes:
        node.counters.values.clear()
    return net, a, r, b


def send(net: Net, a: Node, data: bytes, **facts: int) -> None:
    """``data`` from ``a`` to the router, without asking a's stack."""
    router = net.nodes[1].interfaces[1]
    kind = b"\x08\0" if data[0] >> 4 == 4 else b"\x86\xdd"
    link = a.interfaces[1].link
    link.transmit(Frame(router.mac + a.interfaces[1].mac + kind + data, net.now, **facts))
    net.settle()


@FAMILIES
def test_the_second_packet_of_a_flow_takes_it(family: int) -> None:
    net, a, r, b = lab()
    left = net.segments[0]
    for n in range(4):
        send(net, a, packet(family))
        assert left.taken == n
    assert len(b.recorder.packets) == 4
    assert r.counters.get(f"ipv{family}.forwarded") == 4
    stats = r.interfaces[1].stats, r.interfaces[2].stats
    assert stats[0].rx_frames >= 4
    assert stats[1].tx_frames >= 4
    send(net, a, packet(family, 2))  # another length, another header
    assert left.taken == 3
    a.send(A[family])  # the way back was never asked for
    assert net.segments[1].taken == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from([4, 6]),
            st.sampled_from([0, 1, 700, 1300, 1400]),
            st.sampled_from([1, 2, 64]),
            st.integers(0, 1),
        ),
        min_size=10,
        max_size=40,
    )
)
def test_both_ways_send_the_same(packets: list[tuple[int, int, int, int]]) -> None:
    logs = []
    for shortcuts in (True, False):
        net, a, r, _ = lab(mtu=1400)
        for segment in net.segments:
            segment.shortcuts = shortcuts
        for family, size, ttl, ident in packets:
            fields = {"ttl": ttl, "identification": ident} if family == 4 else {"hop_limit": ttl}
            send(net, a, packet(family, size, **fields))
        logs.append(
            (
                [[f.data for f in segment.log] for segment in net.segments],
                r.counters.snapshot(),
                [vars_of(i.stats) for i in r.interfaces],
            )
        )
    assert logs[0] == logs[1]


def vars_of(stats: object) -> list[int]:
    return [getattr(stats, name) for name in dir(stats) if name.startswith(("rx_", "tx_"))]


def down(net: Net, r: Node) -> None:
    r.interfaces[1].up = False


def silent(net: Net, r: Node) -> None:
    r.config.forwarding = False


def detour(net: Net, r: Node) -> None:
    for prefix in ("10.0.2.0/25", "2001:db8:2::/65"):
        r.route(prefix, None, r.interfaces[1])


def own(net: Net, r: Node) -> None:
    for family, length in ((4, 24), (6, 64)):
        r.stack.add_address(r.interfaces[2], parse(B[family]), length, net.now)


def spoofed(net: Net, r: Node) -> None:
    for family, length in ((4, 24), (6, 64)):
        r.stack.add_address(r.interfaces[1], parse(A[family]), length, net.now)


@FAMILIES
@pytest.mark.parametrize("change", [down, silent, detour, own, spoofed])
def test_what_changes_is_noticed(family: int, change: Callable[[Net, Node], None]) -> None:
    net, a, r, b = lab()
    send(net, a, packet(family))
    send(net, a, packet(family))
    assert net.segments[0].taken == 1
    change(net, r)
    send(net, a, packet(family))
    assert net.segments[0].taken == 1
    assert len(b.recorder.packets) == 2


@FAMILIES
def test_neighbours_are_watched_as_ever(family: int) -> None:
    net, a, r, b = lab()
    send(net, a, packet(family))
    out = r.interfaces[2]
    table = out.neighbors4 if family == 4 else out.neighbors6
    neighbor = table.table[parse(B[family])]
    net.run(60 * SECOND)
    send(net, a, packet(family))  # stale: the long way asks who is there
    assert net.segments[0].taken == 0
    table.learned(neighbor.address, b"\x02\0\0\0\0\x99", net.now, solicited=True, override=True)
    send(net, a, packet(family))
    assert net.segments[0].taken == 1
    assert net.segments[1].log[-1].data[:6] == b"\x02\0\0\0\0\x99"
    table.remove(neighbor.address, net.now)
    send(net, a, packet(family))
    assert net.segments[0].taken == 1
    assert len(b.recorder.packets) == 3


@FAMILIES
def test_super_frames(family: int) -> None:
    net, a, _, b = lab(offload=True)
    for n in range(3):
        tcp_super(net, a, family, 4, 1000)
        net.settle()
        assert net.segments[0].taken == n
    frames = [f for f in net.segments[1].log if f.gso_size]
    assert len(frames) == 3
    assert len({(f.data, f.csum, f.csum_start, f.gso_type, f.gso_size) for f in frames}) == 1
    del b


def test_what_is_not_remembered() -> None:
    net, a, r, b = lab()
    plain = packet(4)
    for data in (
        packet(4, identification=7),
        packet4(A[4], B[4], options=b"\x01" * 4),
        packet6(A[6], B[6], hop_by_hop(253, b"\x05\x02\0\0") + b"x", first=0),
        plain + bytes(20),
    ):
        for _ in range(3):
            send(net, a, data)
    assert net.segments[0].taken == 0
    for _ in range(2):
        send(net, a, plain)
    assert net.segments[0].taken == 1
    send(net, a, plain + bytes(10))  # the same header before padding
    send(net, a, plain[:-1])
    assert net.segments[0].taken == 1
    assert r.counters.get("ipv4.bad_length") == 1
    del b


def test_a_header_seen_before_does_not_vouch_for_a_longer_frame() -> None:
    net, a, _, b = lab(offload=True)
    tcp_super(net, a, 4, 4, 1000)
    net.settle()
    data = net.segments[0].log[-1].data
    assert len(data) > 1514
    link = a.interfaces[1].link
    for frame in (Frame(data), Frame(data, 0, CSUM_VALID, 0, 0, 1, 1000)):
        link.transmit(frame)
        net.settle()
    assert net.segments[0].taken == 0
    del b


def test_flows_are_capped() -> None:
    net, a, r, _ = lab(forwarding_flows=4)
    for size in range(5):
        send(net, a, packet(4, size))
    assert r.counters.get("internet.flows_full") == 1
    send(net, a, packet(4, 4))
    assert net.segments[0].taken == 1
    send(net, a, packet(4, 0))
    assert net.segments[0].taken == 1
