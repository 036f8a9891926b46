# SPDX-License-Identifier: Apache-2.0
"""What a wire does to packets beside losing them: delay, jitter, duplicates, disorder, bit errors.

Loss is in `capas.sim.loss`; both kinds of `Stage` are made by `capas.sim.links`.
"""

from collections import deque
from typing import Final, final

from capas.base.clock import Timer
from capas.base.frame import CSUM_NONE, CSUM_PARTIAL, Frame
from capas.base.rng import Rng
from capas.errors import ConfigurationError
from capas.link.offload import complete
from capas.sim.loss import GilbertElliott, Loss
from capas.sim.stage import GONE, SPLIT, Gap, Stage
from capas.sim.trains import header_length, network_offset
from capas.sim.units import Chance, Time, chance, time_ns

_HELD_LIMIT: Final = 4096  # packets one `Reorder` holds; further ones keep their place


@final
class Delay(Stage):
    """The same time for every packet."""

    name = "delay"

    def __init__(self, delay: Time) -> None:
        super().__init__()
        self.delay: int = time_ns(delay, "delay")
        self.constant = self.delay

    def train(self, frame: Frame, packets: int, when: int) -> int:
        """A whole super-frame."""
        return when + self.delay

    def packet(self, frame: Frame, when: int) -> int:
        """One packet."""
        return when + self.delay


@final
class Jitter(Stage):
    """A random extra time in [0, ``jitter``] (uniform), or normal around ``jitter`` / 2.

    With ``keep_order`` no packet overtakes another; without it packets may.  A train has one draw
    if order is kept, and is split otherwise.
    """

    name = "jitter"

    def __init__(
        self, jitter: Time, *, keep_order: bool = True, distribution: str = "uniform"
    ) -> None:
        super().__init__()
        self.jitter: int = time_ns(jitter, "jitter")
        self.keep_order: bool = keep_order
        self.normal: bool = distribution == "normal"
        self._last: int = 0
        if distribution not in ("uniform", "normal"):
            raise ConfigurationError(f"jitter: no distribution {distribution!r}; uniform or normal")

    def _draw(self) -> int:
        if not self.normal:
            return self.rng.below(self.jitter + 1)
        total = 0  # Irwin-Hall with 12 terms: variance 1, the same on every machine
        for _ in range(12):
            total += self.rng.below(self.jitter + 1)
        return min(max(0, total // 2 - self.jitter * 5 // 2), self.jitter)

    def train(self, frame: Frame, packets: int, when: int) -> int:
        """A whole super-frame."""
        return self.packet(frame, when) if self.keep_order else SPLIT

    def packet(self, frame: Frame, when: int) -> int:
        """One packet."""
        when += self._draw()
        if self.keep_order:
            if when < self._last:
                when = self._last
            self._last = when
        return when


@final
class Duplicate(Stage):
    """A packet arrives twice with probability p; the copy ``behind`` ns later."""

    name = "duplicate"

    def __init__(self, duplicate: Chance, behind: Time = 0) -> None:
        super().__init__()
        self.gap: Gap = Gap(chance(duplicate, "duplicate"))
        self.behind: int = time_ns(behind, "duplicate behind")

    def seed(self, rng: Rng) -> None:
        """Draw from ``rng`` from now on."""
        super().seed(rng)
        self.gap.seed(rng)

    def train(self, frame: Frame, packets: int, when: int) -> int:
        """A whole super-frame."""
        return when if self.gap.spares(packets) else SPLIT

    def packet(self, frame: Frame, when: int) -> int:
        """One packet."""
        if self.gap.hits():
            self.statistics.duplicated += 1
            self.emit(frame, when)
            return when + self.behind
        return when


@final
class Reorder(Stage):
    """A packet is held back with probability p, until others have overtaken it.

    ``packets`` > 0: until that many have passed, or ``hold`` has gone by; otherwise for ``hold``.
    """

    name = "reorder"

    def __init__(self, reorder: Chance, packets: int = 3, hold: Time = 0.05) -> None:
        super().__init__()
        self.gap: Gap = Gap(chance(reorder, "reorder"))
        self.packets: int = packets
        self.hold: int = time_ns(hold, "reorder hold")
        self._held: deque[_Held] = deque()

    def seed(self, rng: Rng) -> None:
        """Draw from ``rng`` from now on."""
        super().seed(rng)
        self.gap.seed(rng)

    def train(self, frame: Frame, packets: int, when: int) -> int:
        """A whole super-frame."""
        return when if not self._held and self.gap.spares(packets) else SPLIT

    def packet(self, frame: Frame, when: int) -> int:
        """One packet."""
        if self.gap.hits() and len(self._held) < _HELD_LIMIT:
            if not self.packets:
                return when + self.hold
            held = _Held(self, frame, self.packets)
            self._held.append(held)
            assert self.direction is not None
            self.direction.scheduler.at(when + self.hold, held)
            return GONE
        if self._held:
            self.emit(frame, when)
            for held in list(self._held):
                held.left -= 1
                if held.left <= 0:
                    self._release(held, when)
            return GONE
        return when

    def _release(self, held: "_Held", when: int) -> None:
        self._held.remove(held)
        assert self.direction is not None
        self.direction.scheduler.cancel(held)
        if held.left < self.packets:
            self.statistics.reordered += 1
        self.emit(held.frame, when)

    def expired(self, held: "_Held", now: int) -> None:
        """Not enough packets came by in time."""
        self._release(held, now)


@final
class _Held(Timer):
    """A packet that waits to be overtaken."""

    __slots__ = ("frame", "left", "stage")

    def __init__(self, stage: Reorder, frame: Frame, left: int) -> None:
        super().__init__()
        self.stage: Reorder = stage
        self.frame: Frame = frame
        self.left: int = left

    def fire(self, now: int) -> None:
        self.stage.expired(self, now)


@final
class Corrupt(Stage):
    """Flips ``bits`` random bits behind the link header of a packet, with probability p.

    A checksum that was only declared is computed first, and the packet goes on unverified, so that
    the receiver has to find out by itself.
    """

    name = "corrupt"

    def __init__(self, corrupt: Chance, bits: int = 1) -> None:
        super().__init__()
        self.gap: Gap = Gap(chance(corrupt, "corrupt"))
        self.bits: int = bits
        if bits < 1:
            raise ConfigurationError(f"corrupt: {bits} bits is no corruption")

    def seed(self, rng: Rng) -> None:
        """Draw from ``rng`` from now on."""
        super().seed(rng)
        self.gap.seed(rng)

    def train(self, frame: Frame, packets: int, when: int) -> int:
        """A whole super-frame."""
        return when if self.gap.spares(packets) else SPLIT

    def packet(self, frame: Frame, when: int) -> int:
        """One packet."""
        if not self.gap.hits():
            return when
        self.statistics.corrupted += 1
        self.emit(corrupted(frame, self.rng, self.bits), when)
        return GONE


def corrupted(frame: Frame, rng: Rng, bits: int = 1) -> Frame:
    """A copy of a packet with ``bits`` different bits flipped after the link header."""
    if frame.csum == CSUM_PARTIAL:
        frame = complete(frame)
    data = bytearray(frame.data)
    start = min(network_offset(frame), len(data))
    room = (len(data) - start) * 8
    flipped: list[int] = []
    while len(flipped) < min(bits, room):
        bit = rng.below(room)
        if bit not in flipped:
            flipped.append(bit)
            data[start + bit // 8] ^= 1 << (bit % 8)
    return Frame(bytes(data), frame.time, CSUM_NONE, mark=frame.mark)


@final
class MtuBlackHole(Stage):
    """Packets larger than ``mtu`` bytes (from the network header on) vanish, and nobody is told."""

    name = "black-hole"

    def __init__(self, mtu: int) -> None:
        super().__init__()
        self.mtu: int = mtu

    def train(self, frame: Frame, packets: int, when: int) -> int:
        """A whole super-frame."""
        largest = header_length(frame) + frame.gso_size - network_offset(frame)
        return when if largest <= self.mtu else SPLIT

    def packet(self, frame: Frame, when: int) -> int:
        """One packet."""
        if len(frame.data) - network_offset(frame) > self.mtu:
            self.statistics.black_holed += 1
            return GONE
        return when


__all__ = [
    "GONE",
    "SPLIT",
    "Corrupt",
    "Delay",
    "Duplicate",
    "GilbertElliott",
    "Jitter",
    "Loss",
    "MtuBlackHole",
    "Reorder",
    "Stage",
]
