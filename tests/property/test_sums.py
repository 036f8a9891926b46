# SPDX-License-Identifier: Apache-2.0
"""The checksum against RFC 1071 by the book, and its in-place update against a new sum."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from capas.base.checksum import checksum, ones_sum, pseudo_sum, update, verify

words = st.integers(0, 0xFFFF)


def by_the_book(data: bytes, start: int = 0) -> int:
    data += b"\0" * (len(data) % 2)
    total = start
    for (word,) in struct.iter_unpack("!H", data):
        total += word
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=3000), st.integers(0, 1 << 20))
def test_the_sum_is_that_of_rfc_1071(data: bytes, start: int) -> None:
    assert ones_sum(data, start) == by_the_book(data, start)
    assert ones_sum(memoryview(data), start) == ones_sum(bytearray(data), start)


@given(st.binary(max_size=64), st.integers(2040, 9000))
def test_long_data_sums_alike(seed: bytes, size: int) -> None:
    data = (seed * (size // max(1, len(seed)) + 1) + bytes(size))[:size]
    assert ones_sum(data) == by_the_book(data)


@given(st.binary(max_size=400))
def test_a_checksum_put_in_place_verifies(data: bytes) -> None:
    data += b"\0" * (len(data) % 2)
    assert verify(data + struct.pack("!H", checksum(data + b"\0\0")))


@given(st.binary(min_size=2, max_size=200), st.data())
def test_an_updated_checksum_verifies(data: bytes, draw: st.DataObject) -> None:
    data += b"\0" * (len(data) % 2)
    at = draw.draw(st.integers(0, len(data) // 2 - 1)) * 2
    new = draw.draw(words)
    changed = data[:at] + struct.pack("!H", new) + data[at + 2 :]
    field = update(checksum(data), struct.unpack_from("!H", data, at)[0], new)
    if any(changed):  # all zero has two sums; RFC 1624 §5 keeps the other one
        assert verify(changed + struct.pack("!H", field))


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_sum_can_be_taken_in_pieces_of_even_length(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) // 2)) * 2
    assert ones_sum(data[at:], ones_sum(data[:at])) == ones_sum(data)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), words)
def test_pseudo_header_sums(src: bytes, dst: bytes, length: int) -> None:
    six = src + dst + struct.pack("!II", length, 6)
    assert pseudo_sum(src, dst, 6, length) == by_the_book(six)
    four = src[:4] + dst[:4] + struct.pack("!HH", 6, length)
    assert pseudo_sum(src[:4], dst[:4], 6, length) == by_the_book(four)
