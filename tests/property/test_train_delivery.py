# SPDX-License-Identifier: Apache-2.0
"""Frames gathered into trains and frames one by one: the same stream, the same answers.

A sender's frames cross a socket pair that stands for a TUN device; some are lost, repeated,
swapped, damaged.  Two receivers get the same, one of them reads trains.
"""

import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capas.base.config import HostConfig
from capas.base.frame import CSUM_PARTIAL, Frame
from capas.base.rng import Rng
from capas.host.host import Host
from capas.link.link import ALL_GSO, Link, LinkCaps, Medium
from capas.real.devices import TunTap
from capas.transport.ports import Binding
from capas.transport.tcp.connection import TcpConnection
from capas.wire import address as addr

MS = 1_000_000
VNET = struct.Struct("=BBHHHH")


class Wire(Link):
    """The sender's end: keeps what is sent."""

    def __init__(self, caps: LinkCaps) -> None:
        self.caps, self.sink, self.out = caps, None, list[Frame]()

    def transmit(self, frame: Frame) -> bool:
        self.out.append(frame)
        return True


class Station:
    """A receiver on a device that reads trains, or does not."""

    def __init__(self, caps: LinkCaps, trains: bool) -> None:
        self.trains = trains
        self.host = Host("b", HostConfig(dad_transmits=0), Rng(1))
        self.back = Wire(caps)
        self.host.attach(self.back, addresses=("192.0.2.2/24", "2001:db8::2/64"))
        self.end, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.device = TunTap(far.detach(), "t", caps, VNET.size if caps.csum else 0, 0)
        tcp = self.host.tcp
        self.listeners = [
            tcp.listen(tcp.bindings.bind(Binding(wildcard, 80)), 10, 0)
            for wildcard in (addr.ANY4, addr.ANY6)
        ]
        self.connection: TcpConnection | None = None
        self.stream = bytearray()
        self.gathered = 0  # trains seen

    def turn(self, packets: list[bytes], now: int) -> list[Frame]:
        """One batch in; the answers."""
        room = 3 if self.device.header else 40  # what a socket's buffer takes
        for at in range(0, len(packets), room):
            for packet in packets[at : at + room]:
                self.end.send(packet)
            self._read(now)
        self.host.advance(now)
        self.host.flush(now)
        for listener in self.listeners:
            self.connection = self.connection or listener.accept(now)
        if self.connection is not None:
            while data := self.connection.receive(1 << 20, now):
                self.stream += data
            self.host.flush(now)
        answers, self.back.out = self.back.out, []
        return answers

    def _read(self, now: int) -> None:
        read = self.device.read_train if self.trains else self.device.read
        sink = self.back.sink
        assert sink is not None
        while (frame := read(now)) is not None:
            self.gathered += bool(frame.body)
            sink.receive(frame, now)

    def facts(self) -> dict[str, object]:
        """What must not depend on how frames came."""
        c = self.connection
        assert c is not None
        ooo = c.rx.ooo
        return {
            "rcv_nxt": c.rx.rcv_nxt,
            "window": c.rx.rcv_adv,
            "out of order": [] if ooo is None else [*ooo.ranges.starts, *ooo.ranges.ends],
            "ts_recent": c.rx.ts_recent,
            "rcv_mss": c.rx.rcv_mss,
            "bad checksums": self.host.counters.get("tcp.bad_checksum"),
            "stream": bytes(self.stream),
        }

    def close(self) -> None:
        self.end.close()
        self.device.close()


def perturbed(frames: list[Frame], plan: list[int]) -> Iterator[Frame]:
    """Of each frame: whole, lost, twice, behind the next, or damaged."""
    late = None
    for frame, fate in zip(frames, plan + [0] * len(frames), strict=False):
        if fate == 1:
            continue
        if fate == 3 and late is None:
            late = frame
            continue
        if fate == 4 and frame.csum != CSUM_PARTIAL:
            frame = frame.with_data(frame.data[:-1] + bytes([frame.data[-1] ^ 1]))
        yield frame
        if fate == 2:
            yield frame
        if late is not None:
            yield late
            late = None
    if late is not None:
        yield late


fates = st.lists(st.sampled_from([0] * 12 + [1, 2, 3, 4]), max_size=30)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("offload", [False, True])
@settings(max_examples=25, deadline=None)
@given(plans=st.lists(st.tuples(st.integers(1, 200_000), fates), min_size=1, max_size=8))
def test_the_same_stream_and_acknowledgements_at_least_as_soon(
    offload: bool, family: int, plans: list[tuple[int, list[int]]]
) -> None:
    caps = LinkCaps(1500, Medium.IP, offload, ALL_GSO if offload else ())
    sender, wire = Host("a", HostConfig(dad_transmits=0), Rng(2)), Wire(caps)
    sender.attach(wire, addresses=("192.0.2.1/24", "2001:db8::1/64"))
    one, other = stations = Station(caps, False), Station(caps, True)
    now = 1000 * MS
    remote = addr.parse("192.0.2.2" if family == 4 else "2001:db8::2")
    client = sender.tcp.connect(Binding(b"", 0), remote, 80, now)
    data = bytes(range(256)) * 800
    sent = 0
    fates_left = [(0, []), (0, []), *plans]
    for turn in range(1000):
        size, plan = fates_left[turn] if turn < len(fates_left) else (0, [])
        sent += client.send(data[:size], now) if size else 0
        sender.advance(now)
        sender.flush(now)
        frames, wire.out = wire.out, []
        packets = [packed(frame, offload) for frame in perturbed(frames, plan)]
        answers = [station.turn(packets, now) for station in stations]
        assert wire.sink is not None
        for frame in answers[0]:
            wire.sink.receive(frame, now)
        now += 3 * MS
        if one.connection is None or other.connection is None:
            continue
        assert one.facts() == other.facts()
        assert other.connection.rx.last_ack_sent >= one.connection.rx.last_ack_sent
        if len(one.stream) == sent and turn > len(fates_left):
            break
    for station in stations:
        station.close()
    assert len(one.stream) == sent


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("offload", [False, True])
def test_a_window_full_of_frames_is_a_few_trains(offload: bool, family: int) -> None:
    caps = LinkCaps(1500, Medium.IP, offload, ALL_GSO if offload else ())
    sender, wire = Host("a", HostConfig(dad_transmits=0), Rng(2)), Wire(caps)
    sender.attach(wire, addresses=("192.0.2.1/24", "2001:db8::1/64"))
    station = Station(caps, True)
    now = 1000 * MS
    remote = addr.parse("192.0.2.2" if family == 4 else "2001:db8::2")
    client = sender.tcp.connect(Binding(b"", 0), remote, 80, now)
    frames = 0
    for _ in range(60):
        client.send(bytes(1 << 18), now)
        sender.flush(now)
        packets, wire.out = [packed(frame, offload) for frame in wire.out], []
        frames += len(packets)
        assert wire.sink is not None
        for frame in station.turn(packets, now):
            wire.sink.receive(frame, now)
        now += MS
    station.close()
    assert station.gathered > 20
    assert frames > 2 * station.gathered


def packed(frame: Frame, offload: bool) -> bytes:
    """As a device has it."""
    if not offload:
        return frame.data
    partial = frame.csum == CSUM_PARTIAL
    facts = (frame.gso_type, 0, frame.gso_size, frame.csum_start, frame.csum_offset)
    return VNET.pack(partial, *facts) + frame.data
