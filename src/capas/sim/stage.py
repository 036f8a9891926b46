# SPDX-License-Identifier: Apache-2.0
"""One impairment of one direction of a wire, and how rare events are drawn.

Each `Stage` has a random stream of its own ("wire:a>b:loss"), so adding or removing one never
shifts the draws of another.  Events of probability p are not drawn packet by packet: a `Gap` draws
how many packets go by until the next one, which has the same distribution, costs one draw per
event, and makes the outcome the same whether packets come singly or in trains.

A stage answers `Stage.train` for a super-frame that it lets pass whole, or says that it must be
split.
"""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, final

from capas.base.frame import Frame
from capas.base.native import mypyc_attr
from capas.base.rng import Rng

if TYPE_CHECKING:
    from capas.sim.direction import Direction
    from capas.sim.statistics import LinkStatistics

SPLIT: Final = -1  # of `Stage.train`: nothing drawn yet, ask again packet by packet
GONE: Final = -1  # of `Stage.packet`: lost, or to be emitted by the stage itself

_NO_GAP: Final = 1 << 62


@mypyc_attr(allow_interpreted_subclasses=True)
class Stage(ABC):
    """One impairment of one direction."""

    name: str = "stage"

    def __init__(self) -> None:
        self.constant: int = -1  # ns that it takes for each and every packet, -1: it depends
        self.direction: Direction | None = None
        self.index: int = 0
        self.rng: Rng = Rng(0)

    def bind(self, direction: "Direction", index: int) -> None:
        """The direction puts the stage at a place."""
        self.direction = direction
        self.index = index

    def seed(self, rng: Rng) -> None:
        """Give the stage its own random stream."""
        self.rng = rng

    @property
    def statistics(self) -> "LinkStatistics":
        """The direction's counts."""
        assert self.direction is not None
        return self.direction.statistics

    def emit(self, frame: Frame, when: int) -> None:
        """Send a packet on to the stages behind this one."""
        assert self.direction is not None
        self.direction.through(frame, 1, when, self.index + 1, 0)

    def train(self, frame: Frame, packets: int, when: int) -> int:
        """When the whole train goes on, or SPLIT."""
        return SPLIT

    @abstractmethod
    def packet(self, frame: Frame, when: int) -> int:
        """When one packet goes on, or GONE."""


@final
class Gap:
    """How many packets go by until the next event of probability ``p``."""

    __slots__ = ("_rng", "left", "p")

    def __init__(self, p: float) -> None:
        self.p: float = p
        self.left: int = _NO_GAP
        self._rng: Rng = Rng(0)

    def seed(self, rng: Rng) -> None:
        """Draw from ``rng`` from now on."""
        self._rng = rng
        self.draw()

    def draw(self) -> None:
        """The number of failures before the first success, geometric by inversion."""
        p = self.p
        if p <= 0.0:
            self.left = _NO_GAP
        elif p >= 1.0:
            self.left = 0
        else:
            gap = math.log(1.0 - self._rng.unit()) / math.log1p(-p)
            self.left = int(min(gap, _NO_GAP))

    def spares(self, packets: int) -> bool:
        """Whether the next ``packets`` all go by; counts them if so."""
        if self.left < packets:
            return False
        self.left -= packets
        return True

    def hits(self) -> bool:
        """Whether the event befalls the next packet; counts it."""
        if self.left:
            self.left -= 1
            return False
        self.draw()
        return True
