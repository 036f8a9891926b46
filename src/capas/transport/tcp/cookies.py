# SPDX-License-Identifier: Apache-2.0
"""Initial sequence numbers (RFC 6528) and SYN cookies (RFC 4987 §3.6).

A cookie is an ISS that says all a server must know when the handshake completes: a keyed hash of
the four-tuple and a slow counter, and which of a few MSS values the peer offered.  With timestamps
the low bits of TSval carry window scale and SACK, as in Linux.
"""

from hashlib import blake2b
from typing import Final, final

from capas.base.clock import SECOND, US
from capas.base.rng import Rng
from capas.base.seq import M32

#: MSS values a cookie can say (Linux tcp_syncookies.c msstab), bytes, by family length.
MSS_TABLE: Final = {4: (536, 1300, 1440, 1460), 16: (1220, 1420, 1440, 8940)}
_PERIOD: Final = 64 * SECOND  # the counter's step
_MAX_AGE: Final = 2  # periods a cookie stays good
_TS_BITS: Final = 6
_TS_MASK: Final = (1 << _TS_BITS) - 1
_NO_SCALE: Final = 15
_PAIRS: Final = 256  # pairs of addresses whose timestamp offset is remembered
_REOPEN_STEP: Final = 65_537  # Linux tcp_timewait_state_process: 65535 + 2


@final
class Secrets:
    """The keys of one host's TCP."""

    __slots__ = ("_cookie_key", "_iss_key", "_offsets", "_old_end", "_old_key")

    def __init__(self, rng: Rng) -> None:
        self._iss_key: bytes = rng.bytes(32)
        self._cookie_key: bytes = rng.bytes(32)
        self._old_key: bytes = b""
        self._old_end: int = 0
        self._offsets: dict[bytes, int] = {}  # by pair of addresses

    def iss(self, key: bytes, now: int) -> int:
        """ISN = M + F(four-tuple, secret); M ticks every 4 us (RFC 6528 §3)."""
        iss = (now // (4 * US) + _hash(self._iss_key, b"iss", key)) & M32
        if key == self._old_key:
            self._old_key = b""
            if not 0 < (iss - self._old_end) & M32 < 0x80000000:
                iss = (self._old_end + _REOPEN_STEP) & M32
        return iss

    def beyond(self, key: bytes, end: int) -> None:
        """The next ISS of ``key`` exceeds ``end``, the old connection's last (RFC 9293 MAY-2)."""
        self._old_key = key
        self._old_end = end

    def ts_offset(self, key: bytes) -> int:
        """A timestamp offset per pair of addresses (RFC 7323 §7.1), not per port."""
        pair = key[:-4]
        offset = self._offsets.get(pair)
        if offset is None:
            if len(self._offsets) >= _PAIRS:
                self._offsets.clear()
            offset = self._offsets[pair] = _hash(self._iss_key, b"ts", pair)
        return offset

    def cookie(self, key: bytes, irs: int, mss: int, now: int) -> int:
        """An ISS that remembers the peer's MSS."""
        table = MSS_TABLE[4 if len(key) == 12 else 16]
        index = max((i for i, size in enumerate(table) if size <= mss), default=0)
        count = now // _PERIOD
        return self._make(key, irs, count, index)

    def _make(self, key: bytes, irs: int, count: int, index: int) -> int:
        label = irs.to_bytes(4, "big") + count.to_bytes(8, "big") + bytes((index,))
        mac = _hash(self._cookie_key, label, key)
        return (mac & 0xFFFFFFF8) + ((count & 1) << 2) + index & M32

    def check(self, key: bytes, irs: int, iss: int, now: int) -> int:
        """The MSS that cookie ``iss`` says, 0 if it is none of ours or too old."""
        index = iss & 3
        count = now // _PERIOD
        for age in range(_MAX_AGE):
            if count - age >= 0 and self._make(key, irs, count - age, index) == iss:
                return MSS_TABLE[4 if len(key) == 12 else 16][index]
        return 0


def encode_options(ts_val: int, wscale: int, sack_ok: bool, ecn_ok: bool) -> int:
    """TSval whose low bits carry the peer's options (never later than the clock)."""
    bits = (wscale if wscale >= 0 else _NO_SCALE) | sack_ok << 4 | ecn_ok << 5
    value = (ts_val & ~_TS_MASK) | bits
    return value & M32 if value <= ts_val else (value - (1 << _TS_BITS)) & M32


def decode_options(ts_ecr: int) -> tuple[int, bool, bool]:
    """(window scale or -1, SACK, ECN) of an echoed TSval."""
    scale = ts_ecr & 15
    return (-1 if scale == _NO_SCALE else scale), bool(ts_ecr & 16), bool(ts_ecr & 32)


def _hash(key: bytes, label: bytes, data: bytes) -> int:
    return int.from_bytes(blake2b(label + data, digest_size=4, key=key).digest(), "big")
