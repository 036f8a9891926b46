# SPDX-License-Identifier: Apache-2.0
"""The settings of a link as users write them, and what is built from them.

`LinkSettings` is one direction's; `build` makes the stages in their order (black hole, loss,
corrupt, duplicate, delay, jitter, reorder) and seeds each from its own stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from capas.base.rng import Rng
from capas.errors import ConfigurationError
from capas.sim.direction import Direction
from capas.sim.impairments import (
    Corrupt,
    Delay,
    Duplicate,
    Jitter,
    MtuBlackHole,
    Reorder,
)
from capas.sim.loss import Loss
from capas.sim.queues import DEFAULT_PACKETS, Queue, parse_queue
from capas.sim.rates import LineRate, line_rate
from capas.sim.stage import Stage
from capas.sim.units import Chance, Rate, Time, chance, time_ns

WHOLE: Final = ("mtu", "overhead", "up", "down", "addresses")  # of a link, not of one direction


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """One direction of a link, in the units of `capas.sim.units`.

    ``loss``, ``reorder``, ``duplicate``, ``corrupt`` take a probability or a ready `Stage`
    (`GilbertElliott`, say), ``rate`` a rate or a `LineRate`, ``queue`` a number of packets, a size,
    a name or a `Queue`.
    """

    rate: Rate | LineRate = None
    delay: Time = 0
    jitter: Time | Jitter = 0
    loss: Chance | Stage = 0.0
    reorder: Chance | Reorder = 0.0
    duplicate: Chance | Duplicate = 0.0
    corrupt: Chance | Corrupt = 0.0
    queue: int | str | Queue = DEFAULT_PACKETS
    black_hole: int = 0  # bytes of IP packet above which packets vanish; 0: none

    def with_(
        self, changes: Mapping[str, Any], what: str, beside: tuple[str, ...] = ()
    ) -> "LinkSettings":
        """These settings with some of them changed; ``beside``: others that the caller has read."""
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigurationError(
                    f"{what}: a link has no setting {name!r}; it has {', '.join((*known, *beside))}"
                )
        return replace(self, **changes) if changes else self


def stages(settings: LinkSettings, what: str) -> list[Stage]:
    """The stages that the settings ask for."""
    found: list[Stage] = []
    if settings.black_hole:
        found.append(MtuBlackHole(settings.black_hole))
    for name, kind in (("loss", Loss), ("corrupt", Corrupt), ("duplicate", Duplicate)):
        value = getattr(settings, name)
        if isinstance(value, Stage):
            found.append(value)
        elif chance(value, f"{what}: {name}") > 0:
            found.append(kind(value))
    if time_ns(settings.delay, f"{what}: delay"):
        found.append(Delay(settings.delay))
    if isinstance(settings.jitter, Stage):
        found.append(settings.jitter)
    elif time_ns(settings.jitter, f"{what}: jitter"):
        found.append(Jitter(settings.jitter))
    if isinstance(settings.reorder, Stage):
        found.append(settings.reorder)
    elif chance(settings.reorder, f"{what}: reorder") > 0:
        found.append(Reorder(settings.reorder))
    return found


def build(direction: Direction, settings: LinkSettings, rng: Rng, round: int = 0) -> None:
    """Set a direction up; ``rng`` is the world's, ``round`` counts changes of the settings."""
    what = f"link {direction.name}"
    rate = line_rate(settings.rate, what)
    queue = parse_queue(settings.queue, f"{what}: queue")
    made = stages(settings, what)
    suffix = f":{round}" if round else ""
    for stage in made:
        if stage.direction is not None and stage.direction is not direction:
            raise ConfigurationError(
                f"{what}: the {stage.name} stage is on {stage.direction.name} already; make one"
                " for each direction (up=, down=)"
            )
        if stage.direction is None:
            stage.seed(rng.stream(f"wire:{direction.name}:{stage.name}{suffix}"))
    if queue.statistics is not None and queue is not direction.queue:
        raise ConfigurationError(f"{what}: this queue is on another link; make one for each (up=)")
    queue.seed(rng.stream(f"wire:{direction.name}:queue{suffix}"))
    direction.configure(rate, queue)
    direction.set_stages(made)
    direction.settings = settings


def texts(found: Sequence[str], what: str) -> list[str]:
    """A list of texts, as users give addresses."""
    if not isinstance(found, str) and all(isinstance(one, str) for one in found):
        return list(found)
    raise ConfigurationError(f"{what}: say a list such as ['192.0.2.1/24'], not {found!r}")


def given_addresses(
    addresses: Mapping[str, Sequence[str]], ends: Sequence[str], what: str
) -> dict[str, list[str]]:
    """Addresses for the ends of a link, by name of host."""
    if not isinstance(addresses, Mapping):
        raise ConfigurationError(
            f"{what}: addresses: say {{'{ends[0]}': ['192.0.2.1/24']}}, not {addresses!r}"
        )
    for name in addresses:
        if name not in ends:
            raise ConfigurationError(f"{what}: addresses for {name!r}, which is no end of it")
    return {name: texts(found, f"{what}: addresses") for name, found in addresses.items()}
