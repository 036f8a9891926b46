# SPDX-License-Identifier: Apache-2.0
"""Reading trains off a descriptor: what is handed up, in what order, and how much it holds."""

import os
import socket
from collections.abc import Iterator

import pytest

from capas.base.checksum import ones_sum
from capas.base.frame import Frame
from capas.real.device import Landing
from capas.real.gather import _BUFFER, _PIN, _POOL, Gatherer

NO_FACTS = (0, 0, 0, 0, 0)
TIMESTAMPS = b"\x01\x01\x08\x0a" + bytes(8)


def packet(seq: int, size: int, flags: int = 0x10, ack: int = 1) -> bytes:
    """A TCP segment with timestamps over IPv4, its checksums right."""
    ip = bytearray(b"\x45\0" + (52 + size).to_bytes(2, "big") + b"\0\0\x40\0\x40\6\0\0")
    ip += b"\x0a\0\0\1\x0a\0\0\2"
    ip[10:12] = (ones_sum(ip) ^ 0xFFFF).to_bytes(2, "big")
    tcp = bytearray(b"\0\7\0\x09" + seq.to_bytes(4, "big") + ack.to_bytes(4, "big"))
    tcp += bytes((0x80, flags)) + b"\1\0\0\0\0\0" + TIMESTAMPS + bytes([seq & 255]) * size
    total = ones_sum(tcp, ones_sum(ip[12:20], 6 + len(tcp)))
    tcp[16:18] = (total ^ 0xFFFF).to_bytes(2, "big")
    return bytes(ip + tcp)


class Lab:
    def __init__(self) -> None:
        self.end, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.fd = far.detach()
        os.set_blocking(self.fd, False)
        self.gatherer = Gatherer(0, 0, lambda head, size: NO_FACTS)

    def read(self) -> list[Frame]:
        """All there is."""
        frames = []
        while True:
            try:
                frame = self.gatherer.read(self.fd, 0)
            except BlockingIOError:
                return frames
            if frame is not None:
                frames.append(frame)
            elif not self.gatherer.ahead():
                return frames


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.end.close()
    os.close(lab.fd)


def test_order_stays_and_what_ends_a_train_begins_the_next(lab: Lab) -> None:
    sent = [packet(n * 1000, 1000) for n in range(5)]
    sent += [packet(9000 + n * 1000, 1000) for n in range(3)]
    sent += [b"no packet at all", packet(12_000, 1000), packet(13_000, 10, 0x11)]
    for data in sent:
        lab.end.send(data)
    frames = lab.read()
    assert [len(frame) for frame in frames] == [5052, 3052, 16, 1052, 62]
    assert [bool(frame.body) for frame in frames] == [True, True, False, True, False]
    payload = b"".join(frame.joined().data[52:] for frame in frames[:2])
    assert payload == b"".join(data[52:] for data in sent[:8])


def test_a_frame_read_ahead_is_not_lost_when_trains_end(lab: Lab) -> None:
    for data in (packet(0, 1000), packet(5000, 1000)):
        lab.end.send(data)
    first = lab.gatherer.read(lab.fd, 0)
    assert first is not None and len(first) == 1052 and lab.gatherer.ahead()
    second = lab.gatherer.take_ahead(0)
    assert second is not None and second.data == packet(5000, 1000)
    assert not lab.gatherer.ahead() and lab.gatherer.take_ahead(0) is None


def test_acknowledgements_are_thinned_to_the_last(lab: Lab) -> None:
    for ack in (10, 20, 20, 30):
        lab.end.send(packet(1, 0, ack=ack))
    assert [frame.data for frame in lab.read()] == [
        packet(1, 0, ack=20), packet(1, 0, ack=30)
    ]  # fmt: skip


def test_acknowledgements_of_either_family_are_thinned(lab: Lab) -> None:
    def packet6(ack: int) -> bytes:
        tcp = packet(1, 0, ack=ack)[20:]
        addresses = bytes(15) + b"\1" + bytes(15) + b"\2"
        tcp = tcp[:16] + b"\0\0" + tcp[18:]
        check = ones_sum(tcp, ones_sum(addresses, 6 + len(tcp))) ^ 0xFFFF
        tcp = tcp[:16] + check.to_bytes(2, "big") + tcp[18:]
        return b"\x60\0\0\0" + len(tcp).to_bytes(2, "big") + b"\6\x40" + addresses + tcp

    four = [packet(1, 0, ack=n) for n in (10, 20, 30)]
    six = [packet6(n) for n in (10, 20, 30)]
    for _ in range(2):
        for data in (*six, *four):
            lab.end.send(data)
        assert [frame.data for frame in lab.read()] == [six[0], six[2], four[0], four[2]]


def test_what_nobody_reads_holds_little_more_than_its_bytes(lab: Lab) -> None:
    """Trains too short for a view are copied; what is held is never written over."""
    lab.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    size, seq = 60_000, 0
    kept: list[Frame] = []
    for frames in (1, 2, 5, 5, 5, 3, 5, 5, 5, 1):
        for _ in range(frames):
            lab.end.send(packet(seq, size))
            seq += size
        kept += lab.read()
        seq += 1  # a gap
    views = [f.body[0] for f in kept if f.body and isinstance(f.body[0], memoryview)]
    assert len(views) > _POOL and all(len(view) * _PIN >= _BUFFER for view in views)
    assert len(lab.gatherer._pool) <= _POOL
    assert sum(len(frame) - 52 for frame in kept) == 37 * size
    for frame in kept:
        data = frame.joined().data
        seq = int.from_bytes(data[24:28], "big")
        for at in range(52, len(data), size):
            assert data[at : at + size] == bytes([(seq + at - 52) & 255]) * size


KEY = b"\x0a\0\0\1\x0a\0\0\2\0\7\0\x09"  # of what `packet` makes


def test_a_train_that_was_expected_lies_where_the_program_wants_it(lab: Lab) -> None:
    room = memoryview(bytearray(1 << 20))
    for n in range(3):
        lab.end.send(packet(n * 1000, 1000))
    frame = lab.gatherer.read(lab.fd, 0, Landing(KEY, 0, room))
    assert frame is not None and isinstance(frame.body[0], memoryview)
    assert frame.body[0].obj is room.obj and len(frame.body[0]) == 3000
    assert room[:3000] == frame.body[0]


@pytest.mark.parametrize(
    ("key", "seq", "octets"), [(KEY[:-1] + b"\0", 0, 1 << 20), (KEY, 1, 1 << 20), (KEY, 0, 70_000)]
)
def test_what_was_not_expected_never_stays_in_the_programs_memory(
    lab: Lab, key: bytes, seq: int, octets: int
) -> None:
    """Another flow's, out of order, or in a room too small for a frame."""
    room = memoryview(bytearray(octets))
    sent = [packet(n * 1000, 1000) for n in range(3)]
    for data in sent:
        lab.end.send(data)
    frame = lab.gatherer.read(lab.fd, 0, Landing(key, seq, room))
    room[:] = bytes(octets)
    assert frame is not None
    assert frame.joined().data[52:] == b"".join(data[52:] for data in sent)


def test_what_ends_a_placed_train_is_taken_out_of_the_room(lab: Lab) -> None:
    room = memoryview(bytearray(1 << 20))
    for data in (packet(0, 1000), packet(5000, 1000), packet(6000, 1000)):
        lab.end.send(data)
    first = lab.gatherer.read(lab.fd, 0, Landing(KEY, 0, room))
    assert first is not None and len(first) == 1052 and lab.gatherer.ahead()
    room[:] = bytes(1 << 20)
    rest = lab.read()
    assert (
        b"".join(f.joined().data[52:] for f in rest)
        == packet(5000, 1000)[52:] + (packet(6000, 1000)[52:])
    )


def test_asked_again_for_a_program_the_descriptor_is_read_again(lab: Lab) -> None:
    room = memoryview(bytearray(1 << 20))
    lab.end.send(packet(0, 1000))
    assert lab.gatherer.read(lab.fd, 0) is not None  # it found nothing behind it
    lab.end.send(packet(1000, 1000))
    assert lab.gatherer.read(lab.fd, 0, Landing(KEY, 1000, room)) is not None
