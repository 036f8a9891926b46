# SPDX-License-Identifier: Apache-2.0
"""Congestion controls of other packages: entry points of the group ``capas.congestion``.

The name of an entry point is the name of the algorithm, its object the factory: called with MSS,
initial window (bytes) and the time, it gives a `CongestionControl`.  Packages are looked at only
when somebody asks for a name that capas does not know.
"""

from importlib.metadata import entry_points
from typing import Final

from capas.transport.tcp.congestion.base import Factory

GROUP: Final = "capas.congestion"


def find(name: str) -> Factory | None:
    """The factory some installed package offers as ``name``."""
    for point in entry_points(group=GROUP, name=name):
        factory: Factory = point.load()
        return factory
    return None
