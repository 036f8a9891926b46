# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.base.checksum import verify
from capas.wire import ipv4
from capas.wire.ipv4 import Ipv4Header

SRC, DST = bytes((192, 0, 2, 1)), bytes((198, 51, 100, 7))
GOOD = Ipv4Header(SRC, DST, 17, 28, 64, 0, 7).build() + bytes(8)


headers = st.builds(
    Ipv4Header,
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 255),
    st.integers(60, 65535),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.sampled_from((0, ipv4.DF, ipv4.MF, ipv4.DF | ipv4.MF)),
    st.integers(0, 8191).map(lambda n: n * 8),
    st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)),
)


@given(headers)
def test_round_trip(header: Ipv4Header) -> None:
    data = header.build()
    assert verify(data)
    assert Ipv4Header.parse(data) == header
    assert Ipv4Header.parse(b"xyz" + data, 3) == header


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("empty", b""),
        ("19 bytes", GOOD[:19]),
        ("version 6", bytes((0x65,)) + GOOD[1:]),
        ("IHL 4", bytes((0x44,)) + GOOD[1:]),
        ("IHL past the end", bytes((0x4F,)) + GOOD[1:28]),
        ("total length below the header", GOOD[:2] + b"\0\x13" + GOOD[4:]),
        ("bad checksum", GOOD[:8] + b"\x41" + GOOD[9:]),
        ("all zero", bytes(20)),
    ],
)
@pytest.mark.rfc("1122", "3.2.1.2")
def test_malformed(what: str, data: bytes) -> None:
    assert Ipv4Header.parse(data) is None


def test_a_checksum_of_zero_residue() -> None:
    header = ipv4.with_checksum(b"\x45\0\0\x14" + bytes(16))
    assert int.from_bytes(header, "big") % 65535 == 0
    assert ipv4.header_checksum(b"\x45\0\0\x14" + bytes(16)) == int.from_bytes(header[10:12], "big")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"\x01\x01\x00\x00", []),
        (b"\x07\x07\x04\0\0\0\0\x01", [(7, 0, 7)]),
        (b"\x01\x94\x04\0\0\0\0\0", [(148, 1, 4)]),
        (b"\x07", 0),
        (b"\x07\x01", 1),
        (b"\x07\x09\x04\0", 1),
        (b"\x01\x07\x00\x00", 2),
    ],
)
@pytest.mark.rfc("791", "3.1")
def test_options(data: bytes, found: list[tuple[int, int, int]] | int) -> None:
    assert ipv4.options(data) == found


def test_copied_options() -> None:
    record, alert = b"\x07\x07\x04\0\0\0\0", b"\x94\x04\0\0"
    assert ipv4.copied_options(record + alert + b"\0") == alert
    assert ipv4.copied_options(b"\x07\x01") == b""


@given(st.binary(max_size=60))
def test_options_never_raise(data: bytes) -> None:
    found = ipv4.options(data)
    if not isinstance(found, int):
        for _, at, length in found:
            assert at + length <= len(data)
