# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capas.wire import udp

SRC4, DST4 = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
SRC6, DST6 = bytes(15) + b"\x01", bytes(15) + b"\x02"

MALFORMED = [
    b"",
    b"\0\1\0\2\0\x08\0",  # shorter than a header
    b"\0\1\0\2\0\x07\0\0",  # length below the header's
    b"\0\1\0\2\0\x09\0\0",  # length beyond the packet
]


@pytest.mark.rfc("768", "Fields")
@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_headers_are_nobodys(data: bytes) -> None:
    assert udp.parse(data, 0, len(data)) is None


@pytest.mark.rfc("768", "Length")
def test_bytes_beyond_the_length_are_left_alone() -> None:
    assert udp.parse(b"\0\1\0\2\0\x09\0\0xyz", 0, 11) == (1, 2, 9, 0)


@pytest.mark.rfc("768", "Checksum")
@given(
    st.sampled_from([(SRC4, DST4), (SRC6, DST6)]),
    st.integers(0, 65535),
    st.integers(1, 65535),
    st.binary(max_size=40),
)
def test_round_trip(ends: tuple[bytes, bytes], source: int, port: int, payload: bytes) -> None:
    head = udp.build(*ends, source, port, payload)
    data = head + payload
    fields = udp.parse(data, 0, len(data))
    assert fields is not None
    assert fields[:3] == (source, port, len(data))
    assert udp.verify(data, 0, len(data), *ends)
    broken = bytes([data[0] ^ 1]) + data[1:]
    assert not udp.verify(broken, 0, len(broken), *ends)


@pytest.mark.rfc("768", "Checksum")
def test_a_sum_of_zero_is_sent_as_all_ones() -> None:
    for number in range(65536):
        head = udp.build(SRC4, DST4, 0, 9, number.to_bytes(2, "big"))
        assert head[6:8] != b"\0\0"
        if head[6:8] == b"\xff\xff":
            break
    else:
        pytest.fail("no payload sums to zero")
