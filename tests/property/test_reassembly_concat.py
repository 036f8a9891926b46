# SPDX-License-Identifier: Apache-2.0
"""Reassembly against concatenation: any cut, any order, duplicates allowed, nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters
from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.internet.fragment import fragments4
from capas.internet.reassembly import Reassembly
from capas.internet.shared import Shared
from capas.link.interface import Interface
from capas.link.link import Loopback
from capas.wire.ipv4 import MF, Ipv4Header
from capas.wire.ipv6 import Fragment, Ipv6Header

SRC4, DST4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
SRC6, DST6 = bytes(15) + b"\x05", bytes(15) + b"\x06"


def rig() -> tuple[Reassembly, Interface]:
    config, counters, scheduler, rng = HostConfig(), Counters(), Scheduler(), Rng(1)
    shared = Shared(config, counters, scheduler, rng)
    interface = Interface("lo", 1, bytes(6), Loopback(), config, counters, scheduler, rng)
    return Reassembly(shared), interface


@st.composite
def cuts(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes, bool]], list[int]]:
    """(payload, fragments (offset, data, more), an order in which each comes at least once)."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=12))
    last = draw(st.integers(1, 40))
    total = sum(sizes) * 8 + last
    payload = draw(st.binary(min_size=total, max_size=total))
    parts: list[tuple[int, bytes, bool]] = []
    at = 0
    for size in sizes:
        parts.append((at, payload[at : at + size * 8], True))
        at += size * 8
    parts.append((at, payload[at:], False))
    order = draw(st.permutations(range(len(parts))))
    again = draw(st.lists(st.integers(0, len(parts) - 1), max_size=5))
    places = [draw(st.integers(0, len(order))) for _ in again]
    for i, place in zip(again, places, strict=True):
        order.insert(place, i)
    return payload, parts, order


def packet4(offset: int, data: bytes, more: bool) -> bytes:
    header = Ipv4Header(SRC4, DST4, 17, 20 + len(data), 64, 0, 9, MF if more else 0, offset).build()
    return header + data


def packet6(offset: int, data: bytes, more: bool) -> bytes:
    rest = Fragment(253, offset, more, 9).build() + data
    return Ipv6Header(SRC6, DST6, 44, len(rest)).build() + rest


@given(cuts())
def test_ipv4(case: tuple[bytes, list[tuple[int, bytes, bool]], list[int]]) -> None:
    payload, parts, order = case
    table, interface = rig()
    for n, i in enumerate(order):
        packet = packet4(*parts[i])
        whole = table.receive4(interface, Frame(packet), 0, 20, len(packet), 0)
        complete = len(dict.fromkeys(order[: n + 1])) == len(parts)
        if complete:
            assert whole is not None
            header = Ipv4Header.parse(whole.data)
            assert header is not None
            assert whole.data[20:] == payload
            assert (table.datagrams, table.bytes_held) == ({}, 0)
            return
        assert whole is None


@given(cuts())
def test_ipv6(case: tuple[bytes, list[tuple[int, bytes, bool]], list[int]]) -> None:
    payload, parts, order = case
    table, interface = rig()
    for n, i in enumerate(order):
        packet = packet6(*parts[i])
        whole = table.receive6(interface, Frame(packet), 0, 40, len(packet), 0)
        if len(dict.fromkeys(order[: n + 1])) == len(parts):
            assert whole is not None
            header = Ipv6Header.parse(whole.data)
            assert header == Ipv6Header(SRC6, DST6, 253, len(payload))
            assert whole.data[40:] == payload
            assert (table.datagrams, table.bytes_held) == ({}, 0)
            return
        assert whole is None


@given(st.binary(min_size=1, max_size=3000), st.integers(28, 700), st.integers(28, 700))
def test_what_is_fragmented_twice_comes_together(payload: bytes, one: int, two: int) -> None:
    table, interface = rig()
    header = Ipv4Header(SRC4, DST4, 17, 0, 64, 0, 9).build()[:10] + b"\0\0" + SRC4 + DST4
    whole = None
    for head, data in fragments4(header, payload, one):
        assert len(head) + len(data) <= one
        clean = head[:10] + b"\0\0" + head[12:]
        for small, piece in fragments4(clean, data, two):
            assert len(small) + len(piece) <= two
            assert whole is None
            packet = small + bytes(piece)
            if packet[6] & 0x3F or packet[7]:
                whole = table.receive4(interface, Frame(packet), 0, 20, len(packet), 0)
            else:
                whole = Frame(packet)
    assert whole is not None
    assert whole.data[20:] == payload


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.booleans()), max_size=12))
def test_whatever_comes_the_books_balance(fragments: list[tuple[int, int, bool]]) -> None:
    """Offsets in 8 bytes, sizes in 8 bytes: overlaps, holes, two ends, all of it."""
    table, interface = rig()
    for offset, size, more in fragments:
        packet = packet4(offset * 8, bytes((offset, size)) * 4 * size, more)
        table.receive4(interface, Frame(packet), 0, 20, len(packet), 0)
        assert table.bytes_held == sum(d.cost for d in table.datagrams.values())
        for datagram in table.datagrams.values():
            assert datagram.held == sum(len(p) for p in datagram.pieces)
            ends = [s + len(p) for s, p in zip(datagram.starts, datagram.pieces, strict=True)]
            assert all(a <= b for a, b in zip(ends, datagram.starts[1:], strict=False))
