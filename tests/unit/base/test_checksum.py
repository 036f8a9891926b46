# SPDX-License-Identifier: Apache-2.0
import pytest

from capas.base.checksum import checksum, ones_sum, pseudo_sum, update, verify


@pytest.mark.rfc("1071", "3")
def test_the_example_of_the_rfc() -> None:
    data = bytes.fromhex("0001f203f4f5f6f7")
    assert ones_sum(data) == 0xDDF2
    assert checksum(data) == 0x220D


def test_a_real_header() -> None:
    header = bytes.fromhex("450000730000400040110000c0a80001c0a800c7")
    assert checksum(header) == 0xB861
    assert verify(header[:10] + b"\xb8\x61" + header[12:])
    assert not verify(header)


def test_both_zeros() -> None:
    assert ones_sum(b"") == ones_sum(bytes(100)) == ones_sum(bytes(5000)) == 0
    assert ones_sum(b"\xff\xff") == ones_sum(b"\xff" * 5000) == 0xFFFF
    assert ones_sum(b"\xff\xfe\x00\x01") == 0xFFFF
    assert checksum(bytes(20)) == 0xFFFF


@pytest.mark.parametrize("size", [1, 3, 2047, 2049, 3073, 5001])
def test_odd_lengths_are_padded_with_a_zero(size: int) -> None:
    data = b"\xa5" * size
    assert ones_sum(data) == ones_sum(data + b"\0")


@pytest.mark.parametrize("size", [2046, 2047, 2048, 2049, 2050, 3072, 4096, 65_535])
def test_long_data_is_summed_in_pieces(size: int) -> None:
    data = bytes(range(256)) * 256
    whole = int.from_bytes(data[:size] + b"\0" * (size & 1), "big") % 65535
    assert ones_sum(data[:size]) == whole
    assert ones_sum(memoryview(data)[:size]) == ones_sum(bytearray(data[:size])) == whole


def test_pseudo_headers_of_both_families() -> None:
    four = pseudo_sum(b"\x0a\0\0\1", b"\x0a\0\0\2", 6, 20)
    assert four == ones_sum(b"\x0a\0\0\1\x0a\0\0\2\0\6\0\x14")
    six = pseudo_sum(bytes(15) + b"\1", bytes(15) + b"\2", 17, 8)
    assert six == ones_sum(bytes(15) + b"\1" + bytes(15) + b"\2" + b"\0\0\0\x08\0\0\0\x11")


@pytest.mark.rfc("1624", "4")
def test_the_update_example_of_the_rfc() -> None:
    assert update(0xDD2F, 0x5555, 0x3285) == 0x0000
