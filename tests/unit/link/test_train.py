# SPDX-License-Identifier: Apache-2.0
"""What joins a train, and what is left for TCP to judge by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_fakes import ETH4, intact, tcp, udp

from capas.base.frame import CSUM_VALID, GSO_TCPV4, GSO_TCPV6, Frame
from capas.link.offload import complete, split
from capas.link.train import Train

TS = b"\x01\x01\x08\x0a\x00\x00\x00\x07\x00\x00\x00\x09"
HEAD = 14 + 20 + 32


def parts(frame: Frame, head: int) -> tuple[bytearray, memoryview]:
    return bytearray(frame.data[:head]), memoryview(frame.data)[head:]


def gather(frames: list[Frame], verify: bool = True, head: int = HEAD) -> tuple[Train, int]:
    """The train that begins with the first frame, and how many frames it took."""
    train = Train(14, True)
    if not train.begin(*parts(frames[0], head), verify):
        return train, 0
    for n, frame in enumerate(frames[1:], 1):
        headers, rest = parts(frame, head)
        if not train.joins(headers, rest, len(rest)):
            return train, n
    return train, len(frames)


def segment(size: int = 100, seq: int = 1000, **fields: object) -> Frame:
    fields.setdefault("flags", 0x10)
    fields.setdefault("options", TS)
    return complete(tcp(bytes(size), seq=seq, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("skip", [0, 14])
def test_segments_of_a_super_frame_become_one_again(v6: bool, skip: int) -> None:
    data = bytes(range(256)) * 100
    frames = split(tcp(data, v6=v6, gso=1448, options=TS), 14, finish=True)
    head = HEAD + (20 if v6 else 0)
    train, taken = gather(frames, head=head)
    assert taken == len(frames) == train.count
    whole = train.frame(skip, data, 0, 5)
    assert whole.body == (data,) and whole.time == 5 and len(whole) == head - skip + len(data)
    assert (whole.csum, whole.gso_size) == (CSUM_VALID, 1448)
    assert whole.gso_type == (GSO_TCPV6 if v6 else GSO_TCPV4)
    # its IP header is that of a packet without payload, and right
    head_only = frames[0].data[:14] + whole.data[14 - skip :]
    l3 = 14
    length = head_only[l3 + 2] << 8 | head_only[l3 + 3]
    if v6:
        length = 40 + (head_only[l3 + 4] << 8 | head_only[l3 + 5])
    else:
        assert int.from_bytes(head_only[l3 : l3 + 20], "big") % 65535 == 0
    assert l3 + length == len(head_only)
    assert head_only[head - 32 + 13] & 8  # PSH of the last


@pytest.mark.parametrize(
    "second",
    [
        segment(seq=1101),  # a gap
        segment(seq=900),  # old
        segment(seq=1100, ack=6),
        segment(seq=1100, options=TS[:7] + b"\x06" + TS[8:]),  # older
        segment(seq=1100, options=b""),
        segment(seq=1100, flags=0x12),  # SYN
        segment(seq=1100, flags=0x14),  # RST
        segment(seq=1100, flags=0x11),  # FIN
        segment(seq=1100, flags=0x30),  # URG
        segment(0, seq=1100),
        segment(seq=1100, port=9),
        segment(seq=1100, v6=True),
        complete(udp(bytes(100))),
        Frame(ETH4 + b"\x45" + bytes(60)),
    ],
)
def test_what_does_not_continue_is_left_alone(second: Frame) -> None:
    assert gather([segment(), second])[1] == 1


@pytest.mark.parametrize(
    "first",
    [
        segment(flags=0x12),
        segment(flags=0x11),
        segment(flags=0x30),
        segment(flags=0x18 | 0x80),  # CWR
        segment(flags=0x18 | 0x40),  # ECE
        segment(options=b"\x01\x01\x05\x0a" + bytes(8)),  # SACK
        segment(options=b""),  # headers of another length
        complete(udp(bytes(100))),
        Frame(segment().data + b"\0"),  # longer than its IP packet
        Frame(segment().data[:-1]),
        Frame(ETH4[:12] + b"\x86\xdd" + segment().data[14:]),
        Frame(ETH4 + bytes(60)),
    ],
)
def test_what_is_no_plain_segment_begins_nothing(first: Frame) -> None:
    assert gather([first])[1] == 0


@pytest.mark.rfc("9293", "3.1", "MUST-3")
@pytest.mark.parametrize("at", [-1, 50, 24, 22, 16, 30])
def test_a_damaged_frame_is_left_for_tcp_to_judge(at: int) -> None:
    first, second = segment(), segment(seq=1100)
    bad = bytearray(second.data)
    bad[at] ^= 1
    assert gather([first, Frame(bytes(bad))])[1] == 1
    assert gather([Frame(bytes(bad))])[1] == 0


def test_damage_that_cancels_out_over_two_frames_is_seen() -> None:
    first, second = bytearray(segment().data), bytearray(segment(seq=1100).data)
    first[-2:] = b"\0\1"
    second[-2:] = b"\xff\xfe"  # the words together sum to what they were
    assert gather([Frame(bytes(first)), Frame(bytes(second))])[1] == 0
    assert gather([segment(), Frame(bytes(second))])[1] == 1


def test_the_last_of_bare_acknowledgements_stands_for_all() -> None:
    acks = [segment(0, ack=ack, options=TS[:-1] + bytes([n])) for n, ack in enumerate((5, 9, 4000))]
    train, taken = gather(acks)
    assert taken == 3
    assert train.frame(0, b"", 0, 7).data == acks[2].data
    assert gather([acks[0], acks[0]])[1] == 1  # a duplicate is a message of its own
    assert gather([acks[1], acks[0]])[1] == 1
    assert gather([acks[0], segment(10, ack=9)])[1] == 1
    assert gather([acks[0], segment(0, seq=1001, ack=9)])[1] == 1


@pytest.mark.rfc("7323", "4.3")
def test_newer_timestamps_join_and_those_of_the_first_stand() -> None:
    stamps = [b"\x01\x01\x08\x0a" + bytes((0, 0, 0, n, 0, 0, 0, n + 1)) for n in (7, 7, 9)]
    frames = [segment(seq=1000 + 100 * n, options=stamp) for n, stamp in enumerate(stamps)]
    train, taken = gather(frames)
    assert taken == 3
    assert train.frame(0, bytes(300), 0, 0).data[HEAD - 12 :] == stamps[0]
    back = segment(seq=1300, options=stamps[1])
    assert gather([*frames, back])[1] == 3  # older than the one before it


def test_timestamps_wrap() -> None:
    stamps = [b"\x01\x01\x08\x0a" + at.to_bytes(4, "big") + bytes(4) for at in (2**32 - 1, 0, 3)]
    frames = [segment(seq=1000 + 100 * n, options=stamp) for n, stamp in enumerate(stamps)]
    assert gather(frames)[1] == 3
    assert gather(frames[::-1])[1] == 1


@given(st.binary(min_size=HEAD, max_size=200), st.booleans())
def test_any_bytes_are_judged(data: bytes, verify: bool) -> None:
    gather([Frame(ETH4 + data), Frame(ETH4 + data)], verify)
    gather([segment(), Frame(segment().data[:30] + data)], verify)


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), min_size=1, max_size=20))
def test_payload_and_numbers_add_up(plan: list[tuple[int, bool]]) -> None:
    seq, frames = 0xFFFFFF00, []
    for size, push in plan:
        frames.append(segment(size + 1, seq=seq, flags=0x18 if push else 0x10))
        seq = (seq + size + 1) & 0xFFFFFFFF
    assert all(intact(frame.data) for frame in frames)
    train, taken = gather(frames)
    assert taken == len(frames)
    body = b"".join(frame.data[HEAD:] for frame in frames)
    whole = train.frame(0, body, 0, 0)
    assert whole.data[38:42] == frames[0].data[38:42]
    assert bool(whole.data[34 + 13] & 8) == any(push for _, push in plan)
