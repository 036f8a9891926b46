# SPDX-License-Identifier: Apache-2.0
"""The TCP header and its options: round trips, and what cannot be a segment."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.wire import tcp, tcp_options
from capas.wire.tcp import ACK, SYN, Segment, parse

u32 = st.integers(0, 0xFFFFFFFF)


def header(options: bytes = b"", offset: int = -1, flags: int = SYN, data: bytes = b"") -> bytes:
    if offset < 0:
        offset = 5 + len(options) // 4
    fields = (1, 2, 3, 4, offset << 4, flags, 5, 0, 6)
    return pack("!HHLLBBHHH", *fields) + options + data


def parsed(options: bytes) -> Segment:
    segment = parse(
        header(options + bytes(-len(options) % 4)), 0, 20 + -(-len(options) // 4) * 4, 9
    )
    assert segment is not None
    return segment


def test_the_fields() -> None:
    data = b"junk" + header(data=b"text", flags=ACK) + b"tail"
    segment = parse(data, 4, len(data) - 4, 77)
    assert segment is not None
    assert (segment.seq, segment.ack, segment.flags, segment.wnd, segment.up) == (3, 4, ACK, 5, 6)
    assert (bytes(segment.payload), segment.length, segment.time) == (b"text", 4, 77)
    assert (segment.ts_val, segment.mss, segment.wscale, segment.sack) == (-1, -1, -1, ())


@pytest.mark.rfc("9293", "3.1", "MUST-4")
@given(
    st.integers(1, 65_535), st.integers(-1, 14), st.booleans(), st.none() | st.tuples(u32, u32),
    st.none() | st.integers(0, 4).map(lambda n: bytes(2 * n + 4) if n else b""),
    st.sampled_from(("linux", "freebsd")),
)  # fmt: skip
def test_options_of_a_syn_come_back(
    mss: int, wscale: int, sack: bool, ts: tuple[int, int] | None, cookie: bytes | None, order: str
) -> None:
    ts_val, ts_ecr = ts if ts else (-1, -1)
    built = tcp_options.syn_options(mss, wscale, sack, ts_val, ts_ecr, cookie, order)
    assert len(built) % 4 == 0
    if len(built) > 40:
        return
    segment = parsed(built)
    assert (segment.mss, segment.wscale, segment.sack_ok) == (mss, wscale, sack)
    assert (segment.ts_val, segment.ts_ecr, segment.cookie) == (ts_val, ts_ecr, cookie)


@given(st.lists(st.tuples(u32, u32), max_size=4), st.none() | st.tuples(u32, u32))
def test_sack_blocks_come_back(blocks: list[tuple[int, int]], ts: tuple[int, int] | None) -> None:
    built = tcp_options.timestamps(*ts) if ts else b""
    built += tcp_options.sack_blocks([edge for block in blocks[: 3 if ts else 4] for edge in block])
    segment = parsed(built)
    assert list(zip(segment.sack[::2], segment.sack[1::2], strict=True)) == blocks[: 3 if ts else 4]
    assert (segment.ts_val, segment.ts_ecr) == (ts or (-1, -1))


@pytest.mark.rfc("9293", "3.1", "MUST-7")
@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (b"\x02\x04\x05\xb4", "mss", 1460),
        (b"\x02\x03\x05\x00", "mss", -1),  # a wrong length
        (b"\x02\x04\x05", "mss", 0x500),  # padding completes it
        (b"\x01\x01\x01\x02", "mss", -1),  # cut off
        (b"\x02\x00\x05\xb4", "mss", -1),
        (b"\x02\x01\x05\xb4", "mss", -1),
        (b"\x00\x02\x04\x05\xb4", "mss", -1),  # after the end
        (b"\xfe\x02\x02\x04\x05\xb4", "mss", 1460),  # after an unknown one
        (b"\x03\x03\x0e", "wscale", 14),
        (b"\x03\x03\x0f", "wscale", 14),  # RFC 7323 §2.3
        (b"\x03\x03\xff", "wscale", 14),
        (b"\x03\x02", "wscale", -1),
        (b"\x04\x02", "sack_ok", True),
        (b"\x04\x03\x00", "sack_ok", False),
        (b"\x05\x02", "sack", ()),
        (b"\x05\x06\x00\x00\x00\x01", "sack", ()),
        (b"\x05\x0a\x00\x00\x00\x01\x00\x00\x00\x02", "sack", (1, 2)),
        (b"\x05\x0b\x00\x00\x00\x01\x00\x00\x00\x02\x00", "sack", ()),
        (b"\x08\x0a\x00\x00\x00\x01\x00\x00\x00\x02", "ts_val", 1),
        (b"\x08\x09\x00\x00\x00\x01\x00\x00\x00", "ts_val", -1),
        (b"\x08\x0a\x00\x00\x00\x01", "ts_val", -1),
        (b"\x22\x02", "cookie", b""),
        (b"\x22\x03\x00", "cookie", None),
        (b"\x22\x06abcd", "cookie", b"abcd"),
        (b"\x22\x07abcde", "cookie", None),
    ],
)
def test_each_option(options: bytes, field: str, value: object) -> None:
    assert getattr(parsed(options), field) == value


@pytest.mark.parametrize(
    "data",
    [b"", bytes(19), header(offset=4), header(offset=0), header(offset=6), header(offset=15)],
)
def test_what_cannot_be_a_segment(data: bytes) -> None:
    assert parse(data, 0, len(data), 0) is None


def test_the_aligned_timestamp_and_the_general_way_agree() -> None:
    quick = parsed(tcp_options.timestamps(7, 8))
    slow = parsed(b"\x08\x0a" + tcp_options.timestamps(7, 8)[4:])
    assert (quick.ts_val, quick.ts_ecr) == (slow.ts_val, slow.ts_ecr) == (7, 8)


def test_reserved_bits_are_ignored() -> None:
    data = bytearray(header())
    data[12] |= 0x0E
    segment = parse(bytes(data), 0, 20, 0)
    assert segment is not None
    assert segment.flags == SYN


def test_the_segment_says_what_it_is() -> None:
    assert "S" in repr(parse(header(), 0, 20, 0))
    assert tcp.PROTOCOL == 6
