# SPDX-License-Identifier: Apache-2.0
"""Loss of packets: independent (Bernoulli), and in bursts (Gilbert 1960, Elliott 1963)."""

from typing import final

from capas.base.frame import Frame
from capas.base.rng import Rng
from capas.sim.stage import GONE, SPLIT, Gap, Stage
from capas.sim.units import Chance, chance


@final
class Loss(Stage):
    """Each packet is lost with probability p, independently (Bernoulli)."""

    name = "loss"

    def __init__(self, loss: Chance) -> None:
        super().__init__()
        self.gap: Gap = Gap(chance(loss, "loss"))

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
            self.statistics.lost += 1
            return GONE
        return when


@final
class GilbertElliott(Stage):
    """Bursts of loss: two states, each left with its own probability per packet.

    ``to_bad`` and ``to_good`` are the transition probabilities (p and r), ``bad_loss`` and
    ``good_loss`` how likely a packet is lost in each state (1 - h and 1 - k in Elliott's terms).
    The long-run loss is (to_good good_loss + to_bad bad_loss) / (to_good + to_bad).
    """

    name = "loss"

    def __init__(
        self, to_bad: Chance, to_good: Chance, bad_loss: Chance = 1.0, good_loss: Chance = 0.0
    ) -> None:
        super().__init__()
        self.bad: bool = False
        self._stay: tuple[Gap, Gap] = (
            Gap(chance(to_bad, "loss to_bad")),
            Gap(chance(to_good, "loss to_good")),
        )
        self._lose: tuple[Gap, Gap] = (
            Gap(chance(good_loss, "loss good_loss")),
            Gap(chance(bad_loss, "loss bad_loss")),
        )

    def seed(self, rng: Rng) -> None:
        """Draw from ``rng`` from now on."""
        super().seed(rng)
        for i, gap in enumerate(self._stay + self._lose):
            gap.seed(rng.stream(str(i)))

    def train(self, frame: Frame, packets: int, when: int) -> int:
        """A whole super-frame."""
        stay, lose = self._stay[self.bad], self._lose[self.bad]
        if stay.left < packets or lose.left < packets:
            return SPLIT
        stay.left -= packets
        lose.left -= packets
        return when

    def packet(self, frame: Frame, when: int) -> int:
        """One packet."""
        if self._stay[self.bad].hits():
            self.bad = not self.bad
        if self._lose[self.bad].hits():
            self.statistics.lost += 1
            return GONE
        return when
