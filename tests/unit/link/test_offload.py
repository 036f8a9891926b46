# SPDX-License-Identifier: Apache-2.0
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_fakes import ETH4, intact, tcp, udp

from capas.base.frame import (
    CSUM_NONE,
    CSUM_PARTIAL,
    CSUM_VALID,
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    Frame,
)
from capas.link.offload import complete, cut, split, transport_offset, wire_segments

BOTH = pytest.mark.parametrize("v6", [False, True])


def payload_of(frame: Frame) -> bytes:
    l4 = transport_offset(frame.data, 14)
    return frame.data[l4 + (frame.data[l4 + 12] >> 4) * 4 :]


def tcp_field(frame: Frame, offset: int, code: str) -> int:
    return int(struct.unpack_from(code, frame.data, transport_offset(frame.data, 14) + offset)[0])


# -- split ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("finish", [False, True])
def test_segments_of_a_tcp_super_frame(v6: bool, finish: bool) -> None:
    payload = bytes(range(256)) * 20
    frame = tcp(payload, v6=v6, gso=1448, flags=0x80 | 0x18 | 0x01, seq=0xFFFFFF00)
    segments = split(frame, 14, finish=finish)
    assert b"".join(payload_of(s) for s in segments) == payload
    assert [len(payload_of(s)) for s in segments] == [1448, 1448, 1448, 776]
    assert [tcp_field(s, 4, "!I") for s in segments] == [
        (0xFFFFFF00 + n * 1448) & 0xFFFFFFFF for n in range(4)
    ]
    # CWR on the first only (RFC 3168 §6.1.2), FIN and PSH on the last only
    assert [tcp_field(s, 13, "!B") for s in segments] == [0x90, 0x10, 0x10, 0x19]
    if not v6:
        assert [struct.unpack_from("!H", s.data, 18)[0] for s in segments] == [7, 8, 9, 10]
    for segment in segments:
        assert segment.gso_type == segment.gso_size == 0
        assert segment.csum == (CSUM_NONE if finish else CSUM_PARTIAL)
        assert intact(complete(segment).data)


@pytest.mark.rfc("6864", "4.1")
def test_atomic_datagrams_count_no_identifications() -> None:
    frame = tcp(bytes(5000), v6=False, gso=1448)
    data = bytearray(frame.data)
    data[18:22] = b"\0\0\x40\0"  # identification 0, don't fragment
    data[24:26] = bytes(2)
    frame = frame.with_data(bytes(data))
    for segment in split(frame, 14):
        assert segment.data[18:22] == b"\0\0\x40\0"
        assert intact(complete(segment).data)


@BOTH
@pytest.mark.parametrize("protocol", [tcp, udp])
def test_a_super_frame_in_pieces_is_the_same_on_the_wire(protocol, v6: bool) -> None:
    frame = protocol(bytes(range(250)) * 38, v6=v6, gso=1000)
    pieces = split(frame, 14, 3000)
    assert [piece.gso_size for piece in pieces] == [1000, 1000, 1000, 0]
    parts = [part for piece in pieces for part in split(piece, 14)]
    assert [part.data for part in parts] == [part.data for part in split(frame, 14)]


@BOTH
def test_segments_of_a_udp_super_frame(v6: bool) -> None:
    payload = bytes(range(250)) * 10
    segments = split(udp(payload, v6=v6, gso=1200), 14, finish=True)
    assert [len(s.data) - transport_offset(s.data, 14) - 8 for s in segments] == [1200, 1200, 100]
    assert all(intact(s.data) for s in segments)


@BOTH
def test_an_ordinary_frame_comes_back_alone(v6: bool) -> None:
    frame = tcp(b"data", v6=v6)
    assert split(frame, 14) == [frame]
    (finished,) = split(frame, 14, finish=True)
    assert intact(finished.data)


def test_the_segment_size_can_be_given() -> None:
    assert len(split(tcp(bytes(1000), gso=1448), 14, 100)) == 10


def test_the_ecn_bit_beside_the_type_does_not_hide_it() -> None:
    frame = tcp(bytes(3000), gso=1448, flags=0x90)
    frame.gso_type |= GSO_ECN
    assert [tcp_field(s, 13, "!B") for s in split(frame, 14)] == [0x90, 0x10, 0x10]


def test_without_a_link_header() -> None:
    segments = split(tcp(bytes(3000), gso=1448, l2=False), 0, finish=True)
    assert all(intact(s.data, 0) for s in segments)
    assert len(segments) == 3


def test_verified_and_unverified_super_frames() -> None:
    frame = complete(tcp(bytes(range(200)) * 15, gso=1448))
    assert (frame.csum, frame.gso_size) == (CSUM_NONE, 1448)
    assert all(intact(s.data) for s in split(frame, 14))
    frame.csum = CSUM_VALID
    assert [s.csum for s in split(frame, 14)] == [CSUM_VALID] * 3
    bad = Frame(frame.data[:-1] + b"\xff", gso_type=GSO_TCPV4, gso_size=1448)
    assert split(bad, 14) == []  # its segments would all look intact


def test_ipv6_extension_headers_stay_in_every_segment() -> None:
    frame = tcp(bytes(3000), v6=True, gso=1448)
    extension = bytes((6, 0, 1, 4, 0, 0, 0, 0))  # destination options with padding, next: TCP
    head = bytearray(frame.data[:54])
    struct.pack_into("!H", head, 18, len(frame.data) - 54 + 8)
    head[20] = 60
    longer = Frame(
        bytes(head) + extension + frame.data[54:], 0, CSUM_PARTIAL, 62, 16, GSO_TCPV6, 1448
    )
    segments = split(longer, 14, finish=True)
    assert len(segments) == 3
    for segment in segments:
        assert segment.data[54:62] == extension
        assert struct.unpack_from("!H", segment.data, 18)[0] == len(segment.data) - 54
        bare = bytearray(segment.data[:54] + segment.data[62:])  # as the book's sum wants it
        bare[20] = 6
        struct.pack_into("!H", bare, 18, len(bare) - 54)
        assert intact(bytes(bare))


@pytest.mark.parametrize(
    "frame",
    [
        Frame(b"", gso_type=GSO_TCPV4, gso_size=100),
        Frame(bytes(30), gso_type=GSO_TCPV4, gso_size=100),
        Frame(bytes(60), gso_type=GSO_TCPV4, gso_size=100),
        Frame(ETH4 + b"\x45" + bytes(60), 0, CSUM_PARTIAL, 500, 16, GSO_TCPV4, 100),
        Frame(ETH4 + b"\x45" + bytes(60), 0, CSUM_PARTIAL, 2, 16, GSO_TCPV4, 100),
        Frame(ETH4 + b"\x65" + bytes(90), 0, CSUM_PARTIAL, 34, 16, GSO_TCPV6, 100),
        Frame(ETH4 + b"\x45" + bytes(19), 0, CSUM_PARTIAL, 33, 6, GSO_UDP_L4, 100),
        Frame(tcp(bytes(90)).data, 0, CSUM_PARTIAL, 34, 16, GSO_TCPV4, 0),
        Frame(ETH4 + b"\x80" + bytes(31) + b"\x50" + bytes(60), 0, 1, 34, 16, GSO_TCPV4, 9),
        Frame(ETH4 + b"\x45" + bytes(31) + b"\x40" + bytes(60), gso_type=GSO_TCPV4, gso_size=9),
    ],
)
def test_nonsense_is_not_split(frame: Frame) -> None:
    assert split(frame, 14) == [frame]


@given(
    st.binary(min_size=1, max_size=6000),
    st.integers(1, 3000),
    st.booleans(),
    st.booleans(),
    st.integers(0, 0xFFFFFFFF),
)
def test_splitting_keeps_every_byte_and_every_sum(
    payload: bytes, size: int, v6: bool, is_udp: bool, seq: int
) -> None:
    frame = udp(payload, v6=v6, gso=size) if is_udp else tcp(payload, v6=v6, gso=size, seq=seq)
    whole, left = split(frame, 14, finish=True), split(frame, 14)
    assert all(intact(s.data) for s in whole)
    assert [complete(s).data for s in left] == [s.data for s in whole]
    skip = len(frame.data) - len(payload)
    assert b"".join(s.data[skip:] for s in whole) == payload
    assert all(len(s.data) - skip == size for s in whole[:-1])


# -- cut ------------------------------------------------------------------------------------------


@BOTH
@given(
    sizes=st.lists(st.integers(1, 70_000), min_size=1, max_size=6),
    gso=st.integers(500, 1448),
    flags=st.sampled_from([0x10, 0x18, 0x19, 0x90]),
)
def test_a_train_is_cut_into_what_one_whole_frame_would_split_into(
    v6: bool, sizes: list[int], gso: int, flags: int
) -> None:
    pieces = tuple(bytes([n]) * size for n, size in enumerate(sizes, 1))
    payload = b"".join(pieces)
    whole = tcp(payload[:1], v6=v6, gso=gso, flags=flags)
    head = whole.data[:-1]
    l4 = whole.csum_start
    # the length in the pseudo-header's sum is that of the whole train
    check = (struct.unpack_from("!H", head, l4 + 16)[0] - 1 + len(payload)) % 65535
    train = Frame(head[: l4 + 16] + struct.pack("!H", check) + head[l4 + 18 :], 7)
    train.csum, train.csum_start, train.csum_offset = CSUM_PARTIAL, l4, 16
    train.gso_type, train.gso_size, train.body = whole.gso_type, gso, pieces
    parts = cut(train, 14, 65_536)
    if len(train) - 14 > 65_536:
        assert all(len(part) - 14 <= 65_535 for part in parts)
        assert len(parts) == -(-len(payload) // ((65_536 - len(head) + 14) // gso * gso))
    got = [s for part in parts for s in split(part.joined(), 14, finish=True)]
    if len(parts) == 1:
        return  # its IP length was right before
    assert [s.data for s in got] == [s.data for s in split(train.joined(), 14, finish=True)]
    assert [s.data for s in got] == [b"".join(made) for made in wire_segments(train, 14)]
    assert all(intact(s.data) for s in got)


# -- complete -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("make", [tcp, udp])
@pytest.mark.parametrize("size", [0, 1, 2, 1447, 1448, 2500])
def test_complete_finishes_the_checksum_once(v6: bool, make: object, size: int) -> None:
    frame = make(bytes(range(250)) * 10, v6=v6) if size == 2500 else make(bytes(size), v6=v6)  # type: ignore[operator]
    done = complete(frame)
    assert intact(done.data)
    assert done.csum == CSUM_NONE
    assert complete(done) is done


def test_a_udp_sum_of_zero_is_sent_as_all_ones() -> None:
    """RFC 768: zero means that there is no checksum."""
    base = complete(udp(b"\0\0"))
    value = struct.unpack_from("!H", base.data, 40)[0]
    frame = complete(udp(struct.pack("!H", value)))
    assert struct.unpack_from("!H", frame.data, 40)[0] == 0xFFFF
    assert intact(frame.data)


def test_offsets_outside_the_frame_change_nothing() -> None:
    frame = Frame(bytes(20), 0, CSUM_PARTIAL, 15, 16)
    assert complete(frame).data == bytes(20)
