# SPDX-License-Identifier: Apache-2.0
"""A frame's facts and the virtio header are the same thing; no device is needed to see it."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capas.base.frame import (
    CSUM_NONE,
    CSUM_PARTIAL,
    CSUM_VALID,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    Frame,
)
from capas.errors import DeviceError
from capas.link.link import ALL_GSO, LinkCaps, Medium
from capas.link.offload import cut, split
from capas.real import attach
from capas.real.devices import TunTap

VNET = struct.Struct("=BBHHHH")


class Wire:
    """A `TunTap` on one end of a datagram socket pair, the other end in our hand."""

    def __init__(self, header: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end = ours
        self.device = TunTap(theirs.detach(), "t0", LinkCaps(1500, Medium.IP), header, 0)
        self.end.setblocking(False)

    def close(self) -> None:
        self.end.close()
        self.device.close()


@pytest.fixture(params=[10, 12])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    wire = Wire(request.param)
    yield wire
    wire.close()


def header(wire: Wire, *values: int) -> bytes:
    return VNET.pack(*values).ljust(wire.device.header, b"\0")


def tcp(payload: int = 40, offset: int = 5) -> bytes:
    """Twenty bytes of IP, a TCP header of ``offset`` words."""
    return bytes(20) + bytes(12) + bytes([offset << 4]) + bytes(offset * 4 - 13) + bytes(payload)


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ((0, 0, 0, 0, 0, 0), (CSUM_NONE, 0, 0, 0, 0)),
        ((1, 0, 0, 0, 20, 16), (CSUM_PARTIAL, 20, 16, 0, 0)),
        ((2, 0, 0, 0, 0, 0), (CSUM_VALID, 0, 0, 0, 0)),
        ((1, GSO_TCPV4, 40, 1460, 20, 16), (CSUM_PARTIAL, 20, 16, GSO_TCPV4, 1460)),
        ((1, GSO_TCPV6 | 0x80, 40, 1440, 20, 16), (CSUM_PARTIAL, 20, 16, GSO_TCPV6 | 0x80, 1440)),
        ((1, GSO_UDP_L4, 28, 1400, 20, 6), (CSUM_PARTIAL, 20, 6, GSO_UDP_L4, 1400)),
        # offsets that lie outside of the frame are not believed
        ((1, 0, 0, 0, 79, 0), (CSUM_NONE, 0, 0, 0, 0)),
        ((1, 0, 0, 0, 65535, 65535), (CSUM_NONE, 0, 0, 0, 0)),
    ],
)
def test_reading(
    wire: Wire, fields: tuple[int, ...], facts: tuple[int, int, int, int, int]
) -> None:
    data = tcp()
    wire.end.send(header(wire, *fields) + data)
    frame = wire.device.read(77)
    assert frame is not None and frame.data == data and frame.time == 77
    assert (
        frame.csum, frame.csum_start, frame.csum_offset, frame.gso_type, frame.gso_size
    ) == facts  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "fields"),
    [
        (Frame(tcp()), (0, 0, 0, 0, 0, 0)),
        (Frame(tcp(), 0, CSUM_PARTIAL, 20, 16), (1, 0, 0, 0, 20, 16)),
        (Frame(tcp(), 0, CSUM_VALID), (2, 0, 0, 0, 0, 0)),
        (
            Frame(tcp(100, 8), 0, CSUM_PARTIAL, 20, 16, GSO_TCPV4, 50),
            (1, GSO_TCPV4, 52, 50, 20, 16),
        ),
        (Frame(tcp(), 0, CSUM_PARTIAL, 20, 6, GSO_UDP_L4, 9), (1, GSO_UDP_L4, 28, 9, 20, 6)),
    ],
)
def test_writing(wire: Wire, frame: Frame, fields: tuple[int, ...]) -> None:
    assert wire.device.transmit(frame)
    assert wire.end.recv(70_000) == header(wire, *fields) + frame.data


def test_without_header() -> None:
    wire = Wire(0)
    wire.end.send(b"abc")
    frame = wire.device.read(5)
    assert frame is not None and (frame.data, frame.csum) == (b"abc", CSUM_NONE)
    assert wire.device.read(5) is None
    wire.device.transmit(Frame(b"xyz"))
    assert wire.end.recv(10) == b"xyz"
    wire.close()


def test_busy_when_the_descriptor_is_full(wire: Wire) -> None:
    frame = Frame(bytes(1000))
    for _ in range(10_000):
        if not wire.device.transmit(frame):
            break
    assert wire.device.busy
    wire.end.recv(2000)
    assert wire.device.transmit(frame)


def test_what_is_refused_is_counted_and_lost(wire: Wire) -> None:
    wire.end.close()
    assert wire.device.transmit(Frame(b"x"))
    assert wire.device.counters.get("device.refused") == 1


def test_runts_are_nothing(wire: Wire) -> None:
    for size in range(wire.device.header + 1):
        wire.end.send(bytes(size))
        assert wire.device.read(0) is None
    assert not wire.device.gone


def test_close_is_idempotent(wire: Wire) -> None:
    fd = wire.device.fileno()
    wire.device.close()
    wire.device.close()
    assert wire.device.fileno() == -1
    with pytest.raises(OSError):
        os.fstat(fd)


@pytest.mark.parametrize(
    "name", ["", "x" * 16, "ünïcödé-wörds", "a b", "a/b", "a:b", ".", "..", "a%d"]
)
def test_names_the_kernel_cannot_have(name: str) -> None:
    with pytest.raises(DeviceError):
        attach.check_name(name)


def test_names_it_can_have() -> None:
    for name in ("tap0", "x" * 15, "a-b.c_d"):
        attach.check_name(name)


NO_LINUX = """
import os, sys
sys.modules["fcntl"] = None
for name in ("readv", "writev"):
    delattr(os, name)
import capas.real.devices, capas.real.driver, capas.real.pipe
from capas.errors import DeviceError
try:
    capas.real.devices.open_tap("t0")
except DeviceError as error:
    print(error)
"""


def test_elsewhere_the_modules_import_and_explain() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_LINUX], capture_output=True, text=True, check=True
    )
    assert "need Linux" in done.stdout


_WIRE10 = Wire(10)


@given(st.binary(max_size=120))
@settings(max_examples=200)
def test_no_bytes_of_a_descriptor_raise(data: bytes) -> None:
    _WIRE10.end.send(data)
    frame = _WIRE10.device.read(1)
    assert (frame is None) == (len(data) <= 10)
    if frame is not None and frame.csum == CSUM_PARTIAL:
        assert frame.csum_start + frame.csum_offset + 2 <= len(frame.data)


@pytest.mark.parametrize("room", [1 << 20, 1 << 12])
def test_without_super_frames_it_leaves_as_segments_with_checksums(room: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    device = TunTap(theirs.detach(), "t0", LinkCaps(1500, Medium.IP), 0, 0)
    ip = b"\x45\0\0\0\0\7\x40\0\x40\6\0\0\x0a\0\0\1\x0a\0\0\2"
    body = (bytes(range(256)) * 20, b"x" * 999, b"y")
    train = Frame(ip + tcp(0)[20:], 0, CSUM_PARTIAL, 20, 16, GSO_TCPV4, 1448, 0, body)
    sent, waiting = device.transmit_train(train, 0)
    assert sent + len(waiting) == 5 and device.busy == bool(waiting) == (room < 1 << 20)
    got = [ours.recv(2000) for _ in range(sent)]
    for frame in waiting:
        assert device.transmit(frame)
        got.append(ours.recv(2000))
    assert got == [one.data for one in split(train.joined(), 0, finish=True)]
    ours.close()
    device.close()


@pytest.mark.parametrize("room", [1 << 20, 1 << 17])
def test_a_train_leaves_as_its_super_frames_and_what_found_no_room_comes_back(room: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    device = TunTap(theirs.detach(), "t0", LinkCaps(1500, Medium.IP, True, ALL_GSO), 10, 0)
    ip = b"\x45\0\0\0\0\7\x40\0\x40\6\0\0\x0a\0\0\1\x0a\0\0\2"
    head = ip + tcp(0)[20:]
    body = (bytes(range(256)) * 1000, b"x" * 100_000, b"y")
    train = Frame(head, 0, CSUM_PARTIAL, 20, 16, GSO_TCPV4, 1448, 0, body)
    parts = cut(train, 0, 65_536)
    assert len(parts) == 6 and parts[-1].gso_size == 1448
    sent, waiting = device.transmit_train(train, 0)
    assert sent + len(waiting) == 6 and device.busy == bool(waiting) == (room < 1 << 20)
    got = [ours.recv(70_000) for _ in range(sent)]
    for frame in waiting:
        assert device.transmit(frame)
        got.append(ours.recv(70_000))
    assert [data[10:] for data in got] == [one.joined().data for one in parts]
    assert {VNET.unpack(data[:10]) for data in got} == {(1, GSO_TCPV4, 40, 1448, 20, 16)}
    ours.close()
    device.close()
