# SPDX-License-Identifier: Apache-2.0
"""What both families share on one host: addresses, routes, path MTUs, settings.

``local`` is the answer to "ours?": one dict from packed address (either family) to how it is ours.
Addresses in DAD (TENTATIVE) are not in it.
"""

from typing import Final, final

from capas.base.clock import Scheduler
from capas.base.config import HostConfig
from capas.base.events import Counters, Tracer
from capas.base.memory import Memory
from capas.base.rng import Rng
from capas.internet.membership import Filter
from capas.internet.pmtu import PathMtu
from capas.internet.route import Route, RouteTable
from capas.link.interface import Interface
from capas.wire.address import BROADCAST4

UNICAST: Final = 1
BROADCAST: Final = 2


@final
class Shared:
    """The common state of a host's internet layer; plain data, written by `Addresses` and `Net`."""

    __slots__ = (
        "config",
        "counters",
        "filtered",
        "hop_limits",
        "interfaces",
        "local",
        "loopback",
        "members",
        "memory",
        "mtu6",
        "pmtu",
        "rng",
        "routes",
        "scheduler",
        "trace",
    )

    def __init__(
        self,
        config: HostConfig,
        counters: Counters,
        scheduler: Scheduler,
        rng: Rng,
        memory: Memory | None = None,
    ) -> None:
        self.config: HostConfig = config
        self.counters: Counters = counters
        self.scheduler: Scheduler = scheduler
        self.rng: Rng = rng
        self.memory: Memory = memory if memory is not None else Memory(config)
        self.routes: RouteTable = RouteTable()
        self.pmtu: PathMtu = PathMtu(config, counters)
        self.interfaces: list[Interface] = []
        self.local: dict[bytes, int] = {BROADCAST4: BROADCAST}
        self.members: dict[bytes, int] = {}  # groups with members on any interface, counted
        self.filtered: dict[
            tuple[int, bytes], Filter
        ] = {}  # interface index, group: not all wanted
        self.hop_limits: dict[int, int] = {}  # by interface index, from router advertisements
        self.mtu6: dict[int, int] = {}  # likewise, bytes
        self.loopback: Interface | None = None
        self.trace: Tracer | None = None

    def link_mtu(self, route: Route) -> int:
        """The largest packet that leaves by ``route``: of its own limit and its link's.

        Over IPv6 a router may have told the link's (RFC 4861 §6.3.4).
        """
        interface = route.interface
        limit = interface.mtu
        if self.mtu6 and len(route.prefix.address) == 16:
            limit = min(limit, self.mtu6.get(interface.index, limit))
        return route.mtu if 0 < route.mtu < limit else limit

    def path_mtu(self, dst: bytes, route: Route, now: int) -> int:
        """The largest packet for ``dst`` by ``route``, bytes with the IP header."""
        limit = self.link_mtu(route)
        if self.pmtu.entries:
            return self.pmtu.get(dst, limit, now)
        return limit

    def hears(self, index: int, group: bytes, source: bytes) -> bool:
        """Whether the members of a group on an interface want what ``source`` sent there.

        What comes by the loopback interface was asked about on its way out.
        """
        loopback = self.loopback
        return (loopback is not None and index == loopback.index) or self._wants(
            index, group, source
        )

    def _wants(self, index: int, group: bytes, source: bytes) -> bool:
        wanted = self.filtered.get((index, group)) if self.filtered else None
        return wanted is None or wanted.wants(source)

    def unheard(self, interface: Interface, group: bytes, source: bytes) -> bool:
        """Whether what we send to a group stays on the loopback interface, and nobody wants it."""
        return interface is self.loopback and not self._wants(interface.index, group, source)

    def comes_back(self, interface: Interface, group: bytes, source: bytes) -> bool:
        """Whether what we send to a group by an interface has members of its own there (Linux)."""
        return group in interface.groups and self.hears(interface.index, group, source)

    def drop(self, now: int, counter: str, clause: str) -> None:
        """Count a dropped packet and tell the tracer."""
        self.counters.add(counter)
        trace = self.trace
        if trace is not None:
            trace.dropped(now, counter, clause)
