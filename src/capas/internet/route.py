# SPDX-License-Identifier: Apache-2.0
"""The routing table: longest prefix first, both families in one object.

One dict per prefix length in use, keyed by the prefix's leading bits as an int; a lookup tries the
lengths from the longest (RFC 1812 §5.2.4.3).  Routes of one prefix are ordered by metric, then by
insertion.  Connections cache a `Route` until `RouteTable.generation` changes.

Budget: one int conversion, then one shift and one dict get per prefix length in use (80 ns each).
"""

from collections.abc import Iterator
from typing import Final, final

from capas.link.interface import Interface
from capas.wire.address import Prefix, text

METRIC_DEFAULT: Final = 1024  # Linux IP6_RT_PRIO_USER
METRIC_CONNECTED: Final = 256  # Linux IP6_RT_PRIO_ADDRCONF
METRIC_LOCAL: Final = 0

ORIGIN_LOCAL: Final = "local"  # an address of ours, by the loopback
ORIGIN_CONNECTED: Final = "connected"  # the prefix of an address, or on-link by an advertisement
ORIGIN_STATIC: Final = "static"
ORIGIN_RA: Final = "ra"
ORIGIN_REDIRECT: Final = "redirect"
ORIGIN_DHCP: Final = "dhcp"


@final
class Route:
    """One route; compare by identity.

    ``gateway``  None: the destination is on the link
    ``metric``   smaller is better among routes of one prefix
    ``source``   preferred source address, or None
    ``mtu``      limit of the route in bytes of IP packet; 0: the interface's
    ``worse``    the next best route of the same prefix, kept by the table
    """

    __slots__ = ("gateway", "interface", "metric", "mtu", "origin", "prefix", "source", "worse")

    def __init__(
        self,
        prefix: Prefix,
        interface: Interface,
        gateway: bytes | None = None,
        metric: int = METRIC_DEFAULT,
        source: bytes | None = None,
        mtu: int = 0,
        origin: str = ORIGIN_STATIC,
    ) -> None:
        self.prefix: Prefix = prefix
        self.interface: Interface = interface
        self.gateway: bytes | None = gateway
        self.metric: int = metric
        self.source: bytes | None = source
        self.mtu: int = mtu
        self.origin: str = origin
        self.worse: Route | None = None

    @property
    def gso_max(self) -> int:
        """The largest IP packet the interface takes as a super-frame, bytes."""
        return self.interface.caps.gso_max

    def __str__(self) -> str:
        via = f" via {text(self.gateway)}" if self.gateway else ""
        return f"{self.prefix}{via} dev {self.interface.name} metric {self.metric} {self.origin}"

    def __repr__(self) -> str:
        return f"<Route {self}>"


@final
class _Family:
    """The routes of one family: parallel to ``lengths``, one dict each, longest first."""

    __slots__ = ("bits", "levels", "tables")

    def __init__(self, bits: int) -> None:
        self.bits: int = bits
        self.tables: dict[int, dict[int, Route]] = {}  # the best of each prefix, by its length
        self.levels: list[tuple[int, dict[int, Route]]] = []  # (shift, table)

    def order(self) -> None:
        """Rebuild ``levels`` after a length came or went."""
        bits, tables = self.bits, self.tables
        self.levels = [(bits - n, tables[n]) for n in sorted(tables, reverse=True)]


def _chain(route: Route | None) -> list[Route]:
    """A route and the worse ones of its prefix."""
    found = []
    while route is not None:
        found.append(route)
        route = route.worse
    return found


def _link(routes: list[Route]) -> Route:
    """The best of ``routes``, the others behind it."""
    worse = None
    for route in reversed(routes):
        route.worse = worse
        worse = route
    return routes[0]


@final
class RouteTable:
    """All routes of a host."""

    __slots__ = ("_count", "_v4", "_v6", "generation")

    def __init__(self) -> None:
        self.generation: int = 0
        self._v4: _Family = _Family(32)
        self._v6: _Family = _Family(128)
        self._count: int = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Route]:
        """All routes: IPv4 then IPv6, longest prefixes first, then by address and metric."""
        for family in (self._v4, self._v6):
            for _, table in family.levels:
                for key in sorted(table):
                    yield from _chain(table[key])

    def add(self, route: Route) -> None:
        """Add; a route with the same prefix, interface, gateway and metric is replaced."""
        prefix = route.prefix
        family = self._v4 if len(prefix.address) == 4 else self._v6
        table = family.tables.get(prefix.length)
        if table is None:
            table = family.tables[prefix.length] = {}
            family.order()
        key = int.from_bytes(prefix.address, "big") >> (family.bits - prefix.length)
        self.generation += 1
        if key not in table:
            route.worse = None
            table[key] = route
            self._count += 1
            return
        routes = _chain(table.get(key))
        for i, old in enumerate(routes):
            if (
                old.metric == route.metric
                and old.interface is route.interface
                and old.gateway == route.gateway
            ):
                del routes[i]
                self._count -= 1
                break
        at = len(routes)
        while at and routes[at - 1].metric > route.metric:
            at -= 1
        routes.insert(at, route)
        table[key] = _link(routes)
        self._count += 1

    def remove(
        self,
        prefix: Prefix,
        gateway: bytes | None = None,
        interface: Interface | None = None,
        origin: str = "",
    ) -> int:
        """Remove the routes of ``prefix`` that match what is given; return how many went."""
        gone = 0
        for route in self.of(prefix):
            if (
                (gateway is None or route.gateway == gateway)
                and (interface is None or route.interface is interface)
                and (not origin or route.origin == origin)
            ):
                gone += self.discard(route)
        return gone

    def discard(self, route: Route) -> bool:
        """Remove this very route; False if it was not there."""
        prefix = route.prefix
        family = self._v4 if len(prefix.address) == 4 else self._v6
        table = family.tables.get(prefix.length)
        key = int.from_bytes(prefix.address, "big") >> (family.bits - prefix.length)
        routes = _chain(table.get(key)) if table is not None else []
        if table is None or not any(r is route for r in routes):
            return False
        routes = [r for r in routes if r is not route]
        route.worse = None
        if routes:
            table[key] = _link(routes)
        else:
            del table[key]
            if not table:
                del family.tables[prefix.length]
                family.order()
        self._count -= 1
        self.generation += 1
        return True

    def remove_interface(self, interface: Interface) -> int:
        """Remove all routes of an interface."""
        gone = [route for route in self if route.interface is interface]
        for route in gone:
            self.discard(route)
        return len(gone)

    def of(self, prefix: Prefix) -> list[Route]:
        """A copy of the routes of exactly this prefix, best first."""
        family = self._v4 if len(prefix.address) == 4 else self._v6
        table = family.tables.get(prefix.length)
        if table is None:
            return []
        key = int.from_bytes(prefix.address, "big") >> (family.bits - prefix.length)
        return _chain(table.get(key))

    def lookup(self, dst: bytes, interface_index: int = 0) -> Route | None:
        """The best route to ``dst``; only by the given interface if ``interface_index`` is not 0.

        Routes of interfaces that are down do not count.
        """
        family = self._v4 if len(dst) == 4 else self._v6
        value = int.from_bytes(dst, "big")
        for shift, table in family.levels:
            route = table.get(value >> shift)
            while route is not None:
                interface = route.interface
                if interface.up and (interface_index == 0 or interface.index == interface_index):
                    return route
                route = route.worse
        return None

    def on_link(self, dst: bytes, interface_index: int = 0) -> Route | None:
        """As `lookup`, of the routes without a gateway."""
        family = self._v4 if len(dst) == 4 else self._v6
        value = int.from_bytes(dst, "big")
        for shift, table in family.levels:
            route = table.get(value >> shift)
            while route is not None:
                interface = route.interface
                fits = interface_index in (0, interface.index)
                if route.gateway is None and interface.up and fits:
                    return route
                route = route.worse
        return None

    def changed(self) -> None:
        """Something a cached route depends on has changed (an interface went up or down)."""
        self.generation += 1
