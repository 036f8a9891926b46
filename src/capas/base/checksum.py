# SPDX-License-Identifier: Apache-2.0
"""The Internet checksum (RFC 1071), updated in place (RFC 1624).

Sums are taken as big integers: 2**16 is 1 modulo 65535, so a number's residue modulo 65535 is the
ones'-complement sum of its 16-bit words.  A residue of 0 stands for both zeros of ones' complement;
`fold` keeps a non-zero sum non-zero (0xFFFF), as adding words with end-around carry does.

Budget: 0.2 us for 20 bytes, 2-3 us for 1,460 bytes, about 50 us for 64 KB (CPython 3.11).
"""

from typing import Final

Buffer = bytes | bytearray | memoryview

_LOW_720: Final = (1 << 5760) - 1  # the low 720 bytes of a number
_LOW_360: Final = (1 << 2880) - 1
_LOW_180: Final = (1 << 1440) - 1
_CHUNK: Final = 1024  # bytes; big-int division is quadratic, so long data goes piecewise


def ones_sum(data: Buffer, start: int = 0) -> int:
    """The ones'-complement sum of ``data`` (odd lengths padded with zero) plus ``start``, folded.

    The result lies in [0, 0xFFFF] and is 0 only when every word is 0.
    """
    n = len(data)
    total = start
    if n <= 2048:
        value = int.from_bytes(data, "big")
        if n & 1:
            value <<= 8
        if n > 1000:  # the same residue, of a number an eighth as long: half the time of a division
            value = (value >> 5760) + (value & _LOW_720)
            value = (value >> 2880) + (value & _LOW_360)
            value = (value >> 1440) + (value & _LOW_180)
        total += value
    else:
        view = memoryview(data)
        from_bytes = int.from_bytes
        for i in range(0, n - _CHUNK + 1, _CHUNK):
            total += from_bytes(view[i : i + _CHUNK], "big")
        rest = n % _CHUNK
        if rest:
            value = from_bytes(view[n - rest :], "big")
            total += value << 8 if rest & 1 else value
    if total == 0:
        return 0
    return total % 65535 or 0xFFFF


def checksum(data: Buffer, start: int = 0) -> int:
    """The checksum field's value for ``data`` whose own checksum field is zero (RFC 1071)."""
    return ones_sum(data, start) ^ 0xFFFF


def pseudo_sum(src: bytes, dst: bytes, protocol: int, length: int) -> int:
    """The folded sum of the pseudo-header, IPv4 (RFC 9293 §3.1) or IPv6 (RFC 8200 §8.1)."""
    return ones_sum(src + dst, protocol + length)


def verify(data: Buffer, start: int = 0) -> bool:
    """Whether ``data``, checksum field included, sums to all ones."""
    return ones_sum(data, start) == 0xFFFF


def update(old_checksum: int, old_word: int, new_word: int) -> int:
    """The checksum after one 16-bit word changed: HC' = ~(~HC + ~m + m') (RFC 1624 §3)."""
    total = (old_checksum ^ 0xFFFF) + (old_word ^ 0xFFFF) + new_word
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
