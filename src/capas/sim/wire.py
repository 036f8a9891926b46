# SPDX-License-Identifier: Apache-2.0
"""A simulated wire: two directions (`capas.sim.direction`) between two ports."""

from typing import final

from capas.base.clock import ManualClock, Scheduler
from capas.base.frame import Frame
from capas.link.link import ALL_GSO, Link, LinkCaps, Medium
from capas.sim.direction import Direction, End, Station


@final
class WirePort(Link, End):
    """One end of a wire, as the link of an interface or of a switch port."""

    __slots__ = ("back", "caps", "name", "out", "shortcut", "sink", "station")

    def __init__(self, name: str, mtu: int, trains: bool) -> None:
        self.name: str = name
        self.caps = LinkCaps(mtu, Medium.ETHERNET, True, ALL_GSO if trains else ())
        self.sink = None
        self.shortcut = None
        self.station: Station | None = None  # None: a switch, which forwards at once
        self.out: Direction | None = None  # into the wire
        self.back: Direction | None = None  # out of it, to here

    def transmit(self, frame: Frame) -> bool:
        """Always accepted: what does not fit is dropped by the queue, as on a real wire."""
        out = self.out
        assert out is not None
        out.push(frame)
        return True


@final
class Wire:
    """A wire: direction ``up`` goes from its first port to its second, ``down`` back."""

    def __init__(
        self,
        name: str,
        clock: ManualClock,
        scheduler: Scheduler,
        *,
        mtu: int = 1500,
        overhead: int = 0,
        exact: bool = False,
        names: tuple[str, str] = ("a", "b"),
    ) -> None:
        first, second = names
        self.name: str = name
        self.a: WirePort = WirePort(first, mtu, not exact)
        self.b: WirePort = WirePort(second, mtu, not exact)
        self.up: Direction = Direction(
            f"{first}>{second}", clock, scheduler, self.b, overhead=overhead, exact=exact
        )
        self.down: Direction = Direction(
            f"{second}>{first}", clock, scheduler, self.a, overhead=overhead, exact=exact
        )
        self.a.out = self.b.back = self.up
        self.b.out = self.a.back = self.down

    def directions(self, which: str = "both") -> tuple[Direction, ...]:
        """Both directions, or "up" or "down" alone."""
        if which == "both":
            return (self.up, self.down)
        if which not in ("up", "down"):
            raise ValueError(f"{which!r} is not a direction: say 'both', 'up' or 'down'")
        return (self.up if which == "up" else self.down,)

    def __repr__(self) -> str:
        return f"Wire({self.name})"
