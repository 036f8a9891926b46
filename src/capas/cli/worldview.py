# SPDX-License-Identifier: Apache-2.0
"""From a world to its account: link settings and statistics, counters of the hosts."""

from typing import Any

from capas.cli.account import Account, LinkRow
from capas.cli.observe import Recorder
from capas.sim.direction import Direction
from capas.sim.units import chance, time_ns
from capas.sim.world import World


def describe(direction: Direction) -> str:
    """The settings of a link for people: "10Mbit, 20ms, loss 1 %"."""
    settings: Any = direction.settings
    words = []
    if settings.rate is not None:
        words.append(f"{settings.rate}/s")
    for name in ("delay", "jitter"):
        value = getattr(settings, name)
        if not isinstance(value, str | int | float) or time_ns(value, name):
            words.append(_time(value) if name == "delay" else f"±{_time(value)}")
    for name in ("loss", "reorder", "duplicate", "corrupt"):
        value = getattr(settings, name)
        if not isinstance(value, str | int | float):
            words.append(f"{name} {type(value).__name__}")
        elif chance(value, name) > 0:
            words.append(f"{name} {chance(value, name) * 100:g} %")
    return ", ".join(words)


def _time(value: object) -> str:
    return f"{value:g}s" if isinstance(value, int | float) else str(value)


def account_of(world: World, recorder: Recorder) -> Account:
    """The account of everything ``recorder`` saw in ``world``."""
    rows = [
        LinkRow(direction.name, describe(direction), direction.statistics.snapshot())
        for wire in world.wires
        for direction in wire.directions()
    ]
    counters = {name: host.counters.snapshot() for name, host in world.hosts.items()}
    return Account(recorder, rows, counters)
