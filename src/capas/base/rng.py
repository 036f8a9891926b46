# SPDX-License-Identifier: Apache-2.0
"""Randomness from one seed, in named child streams.

A stream is BLAKE2b (RFC 7693) in counter mode, keyed by the hash of its parent's key and its name.
Adding a stream or drawing more from one never shifts the draws of another, and the numbers are the
same on every Python.  The same generator serves secrets (RFC 6528 ISN keys, RFC 6056 port offsets)
when a driver seeds the root from the operating system.
"""

from hashlib import blake2b
from struct import Struct
from typing import Final, final

_BLOCK: Final = Struct("<8Q")
_TWO_64: Final = 1 << 64
_INV_53: Final = 1.0 / (1 << 53)


@final
class Rng:
    """One named stream of random numbers."""

    __slots__ = ("_counter", "_key", "_left", "_seed")

    def __init__(self, seed: int | bytes) -> None:
        self._seed: bytes = seed if isinstance(seed, bytes) else str(seed).encode()
        self._key: bytes = b""  # the hash of the seed, when it is needed: many a stream never is
        self._counter: int = 0
        self._left: list[int] = []

    def _keyed(self) -> bytes:
        if not self._key:
            self._key = blake2b(self._seed, digest_size=32, person=b"capas-rng").digest()
        return self._key

    def stream(self, name: str) -> "Rng":
        """An independent child stream; the same name always gives the same child."""
        return Rng(self._keyed() + name.encode())

    def u64(self) -> int:
        """A uniform integer in [0, 2**64)."""
        left = self._left
        if not left:
            self._counter += 1
            digest = blake2b(self._counter.to_bytes(8, "little"), key=self._keyed()).digest()
            left.extend(_BLOCK.unpack(digest))
        return left.pop()

    def u32(self) -> int:
        """A uniform integer in [0, 2**32)."""
        return self.u64() >> 32

    def u16(self) -> int:
        """A uniform integer in [0, 2**16)."""
        return self.u64() >> 48

    def below(self, n: int) -> int:
        """A uniform integer in [0, n); n >= 1.  Bias is below n / 2**64."""
        return (self.u64() * n) >> 64

    def between(self, low: int, high: int) -> int:
        """A uniform integer in [low, high], both included."""
        return low + self.below(high - low + 1)

    def unit(self) -> float:
        """A uniform float in [0, 1)."""
        return (self.u64() >> 11) * _INV_53

    def chance(self, p: float) -> bool:
        """True with probability p.  Draws nothing when p is 0 or 1."""
        if p <= 0.0:
            return False
        if p >= 1.0:
            return True
        return self.u64() < p * _TWO_64

    def bytes(self, n: int) -> bytes:
        """n random bytes."""
        return b"".join(self.u64().to_bytes(8, "little") for _ in range((n + 7) // 8))[:n]
