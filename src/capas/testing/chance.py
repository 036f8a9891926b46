# SPDX-License-Identifier: Apache-2.0
"""Randomness of the programs of a world, from the world's seed: ``os.urandom`` and what asks it.

Identifiers (``uuid``), ``secrets``, generators that nobody seeds (``random.Random()``) and masks of
WebSocket frames come from it, so that a replay sends the same bytes.  Threads that belong to no
world get genuine randomness, as OpenSSL.
"""

import os
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from capas.base.rng import Rng
from capas.sim import virtual_time

_streams: Final[dict[object, Rng]] = {}  # by world, while it is open

_real_urandom: Final = os.urandom
_real_getrandom: Final = getattr(os, "getrandom", None)  # Linux
_real_seed: Final = random.Random.seed
_real_uuid1: Final = uuid.uuid1
_GROUP_BIT: Final = 1 << 40  # of a node that is no card's address, RFC 9562 §6.10


def _stream() -> Rng | None:
    return _streams.get(virtual_time.current())


def _drawn(rng: Rng, size: int) -> bytes:
    return b"".join(rng.u32().to_bytes(4, "big") for _ in range(-(-size // 4)))[:size]


def _urandom(size: int, /) -> bytes:
    rng = _stream()
    return _real_urandom(size) if rng is None or size < 0 else _drawn(rng, size)


def _getrandom(size: int, flags: int = 0) -> bytes:
    rng = _stream()
    if rng is not None and size >= 0:
        return _drawn(rng, size)
    assert _real_getrandom is not None
    return bytes(_real_getrandom(size, flags))


def _seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    """``random.Random.seed``, also when an instance is made."""
    rng = _stream()
    if a is None and rng is not None:
        a = int.from_bytes(_drawn(rng, 32), "big")
    _real_seed(self, a, version)


def _seed_all(a: Any = None, version: int = 2) -> None:
    """``random.seed``, which is bound to the genuine one."""
    random._inst.seed(a, version)


def _uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    """Of the world's time, and of no card of this machine."""
    rng = _stream()
    if rng is not None:
        if node is None:
            node = _GROUP_BIT | rng.stream("uuid node").u32()
        if clock_seq is None:
            clock_seq = rng.stream("uuid clock").u32() & 0x3FFF
    return _real_uuid1(node, clock_seq)


_STAND_INS: Final[list[tuple[ModuleType | type, str, Any, Any]]] = [
    (os, "urandom", _real_urandom, _urandom),
    (random.Random, "seed", _real_seed, _seed),
    (random, "seed", random.seed, _seed_all),
    (uuid, "uuid1", _real_uuid1, _uuid1),
]
if _real_getrandom is not None:
    _STAND_INS.append((os, "getrandom", _real_getrandom, _getrandom))
virtual_time.add_stand_ins(_STAND_INS)


@contextmanager
def seeded(rng: Rng, source: object) -> Iterator[None]:
    """While the block runs, programs of ``source``, which runs as well, draw from ``rng``."""
    kept = {name: value for name, value in vars(uuid).items() if name.startswith("_last_timestamp")}
    vars(uuid).update(dict.fromkeys(kept))  # or identifiers would go on after those of others
    _streams[source] = rng
    try:
        yield
    finally:
        del _streams[source]
        vars(uuid).update(kept)
