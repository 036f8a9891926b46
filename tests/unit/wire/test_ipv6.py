# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.wire import ipv6
from capas.wire.ipv6 import Fragment, Ipv6Header

SRC, DST = b"\x20\x01" + bytes(13) + b"\x01", b"\x20\x01" + bytes(13) + b"\x02"
addresses = st.binary(min_size=16, max_size=16)


@given(
    st.builds(
        Ipv6Header,
        addresses,
        addresses,
        st.integers(0, 255),
        st.integers(0, 65535),
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 0xFFFFF),
    )
)
def test_round_trip(header: Ipv6Header) -> None:
    assert Ipv6Header.parse(header.build()) == header


@given(
    st.builds(
        Fragment,
        st.integers(0, 255),
        st.integers(0, 8191).map(lambda n: n * 8),
        st.booleans(),
        st.integers(0, 2**32 - 1),
    )
)
def test_fragment_round_trip(fragment: Fragment) -> None:
    assert Fragment.parse(fragment.build()) == fragment


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("empty", b""),
        ("39 bytes", Ipv6Header(SRC, DST, 59, 0).build()[:39]),
        ("version 4", b"\x45" + bytes(39)),
        ("version 7", b"\x70" + bytes(39)),
    ],
)
def test_malformed(what: str, data: bytes) -> None:
    assert Ipv6Header.parse(data) is None


def test_short_fragment() -> None:
    assert Fragment.parse(bytes(7)) is None


def test_chain() -> None:
    dest = ipv6.hop_by_hop(44, b"")
    fragment = Fragment(17, 0, True, 9).build()
    data = dest + fragment + bytes(8)
    assert ipv6.chain(data, 60, 0, len(data)) == ([(60, 0), (44, 8)], 17, 16)
    later = dest + Fragment(60, 8, False, 9).build() + bytes(8)
    assert ipv6.chain(later, 60, 0, len(later)) == ([(60, 0), (44, 8)], 60, 16)
    assert ipv6.chain(dest[:7], 60, 0, 7) is None
    assert ipv6.chain(b"\x3b\xff" + bytes(6), 60, 0, 8) is None
    long = ipv6.hop_by_hop(60, b"") * 20
    assert ipv6.chain(long, 60, 0, len(long)) is None


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"\0\0\0\0", []),
        (b"\x01\x02\0\0", []),
        (b"\x05\x02\0\0\x01\0", [(5, 0, 2)]),
        (b"\x01\x02\0\x07", 0),
        (b"\x00\x05", 1),
        (b"\xc2\x04\0\0", 0),
    ],
)
@pytest.mark.rfc("8200", "4.2")
def test_options(data: bytes, found: list[tuple[int, int, int]] | int) -> None:
    assert ipv6.options(data, 0, len(data)) == found


@given(st.binary(max_size=60))
def test_hop_by_hop_is_whole_octets_and_parses(value: bytes) -> None:
    option = bytes((0x1E, len(value))) + value
    header = ipv6.hop_by_hop(59, option)
    assert len(header) % 8 == 0
    assert len(header) == (header[1] + 1) * 8
    assert ipv6.options(header, 2, len(header)) == [(0x1E, 2, len(value))]


@given(st.binary(max_size=120), st.integers(0, 255))
def test_chain_never_raises(data: bytes, first: int) -> None:
    walked = ipv6.chain(data, first, 0, len(data))
    if walked is not None:
        assert walked[2] <= len(data)
