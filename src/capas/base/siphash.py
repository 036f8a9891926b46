# SPDX-License-Identifier: Apache-2.0
"""SipHash-2-4 (Aumasson, Bernstein 2012): a keyed 64-bit hash of short messages.

Linux makes Fast Open cookies with it, so a host with Linux's key hands out Linux's cookies.
"""

from typing import Final

_M64: Final = (1 << 64) - 1


def siphash(key: bytes, data: bytes) -> int:
    """The hash of ``data`` under the 16-byte ``key``."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:16], "little")
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    whole = len(data) & ~7
    tail = data[whole:].ljust(7, b"\0") + bytes((len(data) & 0xFF,))
    for i in range(0, whole + 8, 8):
        word = int.from_bytes(data[i : i + 8] if i < whole else tail, "little")
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _rounds(v: list[int], n: int) -> None:
    a, b, c, d = v
    for _ in range(n):
        a = (a + b) & _M64
        b = (b << 13 | b >> 51) & _M64 ^ a
        a = (a << 32 | a >> 32) & _M64
        c = (c + d) & _M64
        d = (d << 16 | d >> 48) & _M64 ^ c
        a = (a + d) & _M64
        d = (d << 21 | d >> 43) & _M64 ^ a
        c = (c + b) & _M64
        b = (b << 17 | b >> 47) & _M64 ^ c
        c = (c << 32 | c >> 32) & _M64
    v[:] = [a, b, c, d]
