# SPDX-License-Identifier: Apache-2.0
"""``os.urandom`` of the programs of a world, from the world's seed.

Identifiers (``uuid.uuid4``), ``secrets`` and masks of WebSocket frames come from it, so that a
replay sends the same bytes.  Threads that belong to no world get genuine randomness, as OpenSSL.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

from capas.base.rng import Rng
from capas.sim import virtual_time


@contextmanager
def seeded_urandom(rng: Rng, source: object) -> Iterator[None]:
    """While the block runs, ``os.urandom`` draws from ``rng`` for threads of ``source``."""
    real, of_random = os.urandom, random._urandom  # type: ignore[attr-defined]

    def urandom(size: int, /) -> bytes:
        if virtual_time.current() is not source:
            return real(size)
        return b"".join(rng.u32().to_bytes(4, "big") for _ in range(-(-size // 4)))[:size]

    os.urandom = urandom
    random._urandom = urandom  # type: ignore[attr-defined]
    try:
        yield
    finally:
        os.urandom = real
        random._urandom = of_random  # type: ignore[attr-defined]
