# SPDX-License-Identifier: Apache-2.0
"""Who gets a packet, and who holds a port."""

import pytest

from capas.base.config import HostConfig
from capas.base.rng import Rng
from capas.testing.segments import build
from capas.transport.demux import BoundTable, arriving_key, make_key
from capas.transport.ports import Binding, EphemeralPorts, PortBindings

A, B, ANY = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), bytes(4)
A6, B6, ANY6 = bytes(15) + b"\1", bytes(15) + b"\2", bytes(16)


@pytest.mark.parametrize(("src", "dst"), [(B, A), (B6, A6)])
def test_the_key_is_a_slice_of_the_packet(src: bytes, dst: bytes) -> None:
    packet = build(src, dst, 4000, 80, 1, 2, 16, 3, 0, b"", b"")
    l4 = 20 if len(src) == 4 else 40
    assert arriving_key(packet, 0, l4) == make_key(dst, 80, src, 4000)
    longer = packet[:l4] + bytes(8) + packet[l4:]  # IP options or an extension header between
    assert arriving_key(longer, 0, l4 + 8) == make_key(dst, 80, src, 4000)
    assert arriving_key(b"ether" + packet, 5, 5 + l4) == make_key(dst, 80, src, 4000)


def test_the_exact_address_comes_before_the_wildcard() -> None:
    table: BoundTable[str] = BoundTable()
    table.add(ANY, 80, "any")
    table.add(A, 80, "a")
    assert table.find(A, 80) == ["a"]
    assert table.find(B, 80) == ["any"]
    assert table.find(B, 81) == []
    table.remove(A, 80, "a")
    assert table.find(A, 80) == ["any"]
    table.remove(ANY, 80, "any")
    assert table.ports == {}


def test_an_ipv6_wildcard_may_take_ipv4() -> None:
    table: BoundTable[str] = BoundTable()
    table.add(ANY6, 80, "both", dual=True)
    table.add(ANY6, 81, "six")
    assert table.find(A, 80) == ["both"]
    assert table.find(A6, 80) == ["both"]
    assert table.find(A, 81) == []
    table.add(A, 80, "four")
    assert table.find(A, 80) == ["four"]
    assert table.on_port(80) == [(ANY6, "both"), (A, "four")]


def ports(**settings: int) -> PortBindings:
    return PortBindings(EphemeralPorts(HostConfig(**settings), Rng(1)))


@pytest.mark.rfc("6056", "3.3.4")
def test_ephemeral_ports_follow_each_other_per_remote_and_cannot_be_guessed() -> None:
    pick = EphemeralPorts(HostConfig(), Rng(1))
    first = [pick.pick(A, B, 80, lambda port: True) for _ in range(10)]
    assert len(set(first)) == 10
    assert all(32_768 <= port <= 60_999 for port in first)
    other = EphemeralPorts(HostConfig(), Rng(2))
    assert [other.pick(A, B, 80, lambda port: True) for _ in range(10)] != first


@pytest.mark.rfc("6056", "3.2")
def test_all_ports_are_tried_and_none_twice() -> None:
    bindings = ports(port_low=1000, port_high=1009)
    got = [bindings.bind(Binding(A, 0)).port for _ in range(10)]
    assert sorted(got) == list(range(1000, 1010))
    with pytest.raises(OSError, match="in use"):
        bindings.bind(Binding(A, 0))
    assert EphemeralPorts(HostConfig(), Rng(1)).pick(A, B, 1, lambda port: False) == 0


@pytest.mark.parametrize(
    ("one", "two", "conflict"),
    [
        (Binding(A, 5), Binding(A, 5), True),
        (Binding(A, 5), Binding(B, 5), False),
        (Binding(ANY, 5), Binding(B, 5), True),
        (Binding(ANY, 5), Binding(ANY6, 5, v6only=True), False),
        (Binding(ANY, 5), Binding(ANY6, 5, v6only=False), True),
        (Binding(A, 5, reuse_address=True), Binding(A, 5, reuse_address=True), False),
        (Binding(A, 5, reuse_address=True), Binding(A, 5), True),
        (Binding(A, 5, reuse_port=True), Binding(A, 5, reuse_port=True), False),
        (Binding(A, 5, device=1), Binding(A, 5, device=2), False),
    ],
)
def test_conflicts(one: Binding, two: Binding, conflict: bool) -> None:
    bindings = ports()
    bindings.bind(one)
    if conflict:
        with pytest.raises(OSError, match="in use"):
            bindings.bind(two)
    else:
        bindings.bind(two)


def test_a_listener_is_in_the_way_of_another() -> None:
    bindings = ports()
    one = bindings.bind(Binding(A, 5, reuse_address=True))
    two = bindings.bind(Binding(A, 5, reuse_address=True))
    bindings.listen(one)
    with pytest.raises(OSError, match="in use"):
        bindings.listen(two)
    assert not two.listening
    bindings.release(one)
    bindings.release(two)
    assert bindings.ports == {}
