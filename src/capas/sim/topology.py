# SPDX-License-Identifier: Apache-2.0
"""Common shapes of networks, built in one call."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.sim.switch import Switch
from capas.sim.wire import Wire
from capas.sim.world import World

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dumbbell:
    """``left[i]`` - router - bottleneck - router - ``right[i]``."""

    left: list[Host]
    right: list[Host]
    routers: tuple[Host, Host]
    bottleneck: Wire
    access: list[Wire]


def dumbbell(
    world: World,
    pairs: int,
    *,
    access: Settings | None = None,
    bottleneck: Settings | None = None,
    prefix: str = "",
) -> Dumbbell:
    """``pairs`` hosts on each side of two routers; settings as for `World.link`."""
    if pairs < 1:
        raise ConfigurationError(f"a dumbbell of {pairs} pairs has no ends")
    near, far = world.router(f"{prefix}left"), world.router(f"{prefix}right")
    middle = world.link(near, far, **(bottleneck or {}))
    left: list[Host] = []
    right: list[Host] = []
    wires: list[Wire] = []
    for i in range(1, pairs + 1):
        left.append(world.host(f"{prefix}l{i}"))
        right.append(world.host(f"{prefix}r{i}"))
        wires.append(world.link(left[-1], near, **(access or {})))
        wires.append(world.link(far, right[-1], **(access or {})))
    return Dumbbell(left, right, (near, far), middle, wires)


def star(
    world: World, hosts: int, *, prefix: str = "h", **settings: Any
) -> tuple[Switch, list[Host]]:
    """``hosts`` hosts ("h1", "h2", ...) on one switch ("h-switch")."""
    switch = world.switch(f"{prefix}-switch")
    found = [world.host(f"{prefix}{i}") for i in range(1, hosts + 1)]
    for host in found:
        world.link(host, switch, **settings)
    return switch, found


def chain(world: World, routers: int, *, prefix: str = "r", **settings: Any) -> list[Host]:
    """Routers ("r1", "r2", ...) in a row."""
    found = [world.router(f"{prefix}{i}") for i in range(1, routers + 1)]
    for a, b in pairwise(found):
        world.link(a, b, **settings)
    return found


def tree(
    world: World, widths: "list[int]", *, links: "list[Settings] | None" = None, prefix: str = ""
) -> list[list[Host]]:
    """A tree: one root router, ``widths[0]`` routers below it, and so on; the last are hosts.

    ``links[i]`` are the settings of the links down to level i + 1; the result lists the levels.
    """
    levels = [[world.router(f"{prefix}root")]]
    for depth, width in enumerate(widths):
        last = depth + 1 == len(widths)
        level: list[Host] = []
        settings = links[depth] if links is not None else {}
        for parent in levels[-1]:
            for i in range(1, width + 1):
                stem = parent.name if parent.name != f"{prefix}root" else f"{prefix}n"
                name = f"{stem}-{i}"
                child = world.host(name) if last else world.router(name)
                world.link(parent, child, **settings)
                level.append(child)
        levels.append(level)
    return levels
