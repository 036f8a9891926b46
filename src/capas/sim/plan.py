# SPDX-License-Identifier: Apache-2.0
"""Addresses and routes of a world: who is on which segment, and which way is shortest.

A segment is what hears one broadcast: a wire between two hosts, or all that hangs on connected
switches.  Unless told otherwise it gets an IPv4 /24 out of 10.0.0.0/8 and an IPv6 /64 out of
fd00::/16, by number in order of wiring.  Routes are the shortest paths in hops, both families, as
plain static routes; a host or router with one way out gets a default route.
"""

from collections import deque
from typing import Final, final

from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.internet.route import Route
from capas.link.interface import Interface
from capas.sockets.garbage import collect_as_before, collect_seldom
from capas.wire.address import Prefix, is_link_local, parse_interface, text

ORIGIN: Final = "world"
_SUBNETS: Final = 1 << 16
_LARGE: Final = 64  # segments of a world whose building is worth a word to the collector
_DEFAULTS: Final = (Prefix(bytes(4), 0), Prefix(bytes(16), 0))


@final
class Member:
    """One interface on a segment."""

    __slots__ = ("host", "interface", "segment")

    def __init__(self, host: Host, interface: Interface, segment: "Segment") -> None:
        self.host: Host = host
        self.interface: Interface = interface
        self.segment: Segment = segment

    def address(self, length: int) -> bytes | None:
        """Its first global address of a family (by length of the address)."""
        for own in self.interface.addresses:
            if len(own.address) == length and not is_link_local(own.address):
                return own.address
        return None


@final
class Segment:
    """A broadcast domain."""

    __slots__ = ("members", "next", "number", "prefixes", "routers", "switches")

    def __init__(self, number: int) -> None:
        self.number: int = number
        self.members: list[Member] = []
        self.routers: list[Member] = []  # computed by `Plan.routes`
        self.prefixes: list[Prefix] = []
        self.next: dict[Prefix, int] = {}
        self.switches: list[str] = []


@final
class Plan:
    """The address plan of one world."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.of_switch: dict[str, Segment] = {}
        self.owners: dict[bytes, str] = {}  # address -> name of its host
        self.members: dict[str, list[Member]] = {}  # by name of host, in order of wiring
        self.unnumbered: dict[str, None] = {}  # hosts the plan gives no addresses and no routes
        self.changed: bool = False
        self._subnets: int = 0
        self._numbers: int = 0
        self._written: list[tuple[Host, Route]] = []
        self._large: bool = False  # many segments, and no routes yet

    # -- segments -------------------------------------------------------------------------------

    def new_segment(self) -> Segment:
        """A segment with nothing on it."""
        self._numbers += 1
        segment = Segment(self._numbers)
        self.segments.append(segment)
        self.changed = True
        if len(self.segments) == _LARGE and not self._large:
            self._large = True
            collect_seldom()  # else the collector takes a third of the time that building takes
        return segment

    def join(self, a: str, b: str) -> None:
        """Two switches are wired together: their segments become one."""
        first, second = self.of_switch[a], self.of_switch[b]
        if first is second:
            raise ConfigurationError(
                f"link {a} - {b}: these switches are connected already, and a loop without a"
                " spanning tree would carry broadcasts for ever"
            )
        for member in second.members:
            member.segment = first
        first.members += second.members
        first.prefixes += [p for p in second.prefixes if p not in first.prefixes]
        first.next.update(second.next)
        for name in second.switches:
            self.of_switch[name] = first
        first.switches += second.switches
        self.segments.remove(second)
        self.changed = True

    def claim(self, host: str, texts: "list[str]", segment: Segment) -> list[str]:
        """Note addresses given by a user; ConfigurationError if one is taken or none."""
        for given in texts:
            try:
                address, length = parse_interface(given)
            except ValueError as error:
                raise ConfigurationError(
                    f"host {host!r}: {given!r} is not an address such as 192.0.2.1/24 or"
                    " 2001:db8::1/64"
                ) from error
            owner = self.owners.get(address)
            if owner is not None:
                raise ConfigurationError(
                    f"host {host!r}: the address {text(address)} belongs to {owner!r} already"
                )
            self.owners[address] = host
            prefix = Prefix(address, length)
            if prefix not in segment.prefixes:
                segment.prefixes.append(prefix)
        return texts

    def assign(self, host: str, segment: Segment) -> list[str]:
        """Free addresses for one more interface on ``segment``, as text."""
        if not segment.prefixes:
            number = self._subnets
            if number >= _SUBNETS:
                raise ConfigurationError(f"more than {_SUBNETS} links: give addresses yourself")
            self._subnets += 1
            v4 = bytes((10, number >> 8, number & 255, 0))
            v6 = b"\xfd" + bytes(5) + number.to_bytes(2, "big") + bytes(8)
            segment.prefixes += [Prefix(v4, 24), Prefix(v6, 64)]
        texts: list[str] = []
        for bits in (32, 128):
            prefix = next((p for p in segment.prefixes if len(p.address) * 8 == bits), None)
            if prefix is not None:
                texts.append(self._free(host, segment, prefix, bits))
        return texts

    def _free(self, host: str, segment: Segment, prefix: Prefix, bits: int) -> str:
        base = int.from_bytes(prefix.address, "big")
        number = segment.next.get(prefix, 1)
        last = (1 << (bits - prefix.length)) - (2 if bits == 32 and prefix.length < 31 else 1)
        while number <= last:
            address = (base + number).to_bytes(bits // 8, "big")
            number += 1
            if address not in self.owners:
                segment.next[prefix] = number
                self.owners[address] = host
                return f"{text(address)}/{prefix.length}"
        raise ConfigurationError(
            f"host {host!r}: no address is free in {prefix}; give the link a larger prefix"
        )

    def add(self, host: Host, interface: Interface, segment: Segment) -> None:
        """``interface`` is on ``segment``."""
        member = Member(host, interface, segment)
        segment.members.append(member)
        self.members.setdefault(host.name, []).append(member)
        self.changed = True

    def replace(self, host: Host) -> None:
        """``host`` has new interfaces of the old names, and no routes."""
        for member in self.members.get(host.name, ()):
            member.interface = host.interface(member.interface.name)
        self.changed = True

    # -- routes ---------------------------------------------------------------------------------

    def write_routes(self) -> None:
        """Compute all routes anew and write them into the hosts."""
        self.changed = False
        for host, route in self._written:
            host.net.routes.discard(route)
        self._written.clear()
        for segment in self.segments:
            segment.routers = [m for m in segment.members if m.host.config.forwarding]
        for name, members in self.members.items():
            if name in self.unnumbered:
                continue
            self._write_links(members)
            ways = self._ways_out(members)
            if len(ways) == 1:
                for prefix in _DEFAULTS:
                    self._write(members[0].host, prefix, ways[0][0], ways[0][1])
            elif ways:
                self._write_paths(members)
        if self._large:
            self._large = False
            collect_as_before()

    def _write_links(self, members: list[Member]) -> None:
        """Prefixes of a segment that the interface has no address in are on the link too."""
        for member in members:
            own = [
                Prefix(a.address, a.prefix_length)
                for a in member.interface.addresses
                if not is_link_local(a.address)
            ]
            for prefix in member.segment.prefixes:
                if prefix not in own:
                    self._add(member.host, Route(prefix, member.interface, origin=ORIGIN))

    @staticmethod
    def _ways_out(members: list[Member]) -> list[tuple[Member, Member]]:
        """(own interface, neighbouring router) for each router next to a host."""
        return [
            (member, router)
            for member in members
            for router in member.segment.routers
            if router.host is not member.host
        ]

    def _write_paths(self, members: list[Member]) -> None:
        """Breadth first from one host with several ways out; a route per segment."""
        host = members[0].host
        seen: dict[int, tuple[Member, Member] | None] = {}
        todo: deque[Segment] = deque()
        for member in members:
            if member.segment.number not in seen:
                seen[member.segment.number] = None
                todo.append(member.segment)
        own = {member.segment.number: member for member in members}
        visited = {host.name}
        while todo:
            segment = todo.popleft()
            way = seen[segment.number]
            for router in segment.routers:
                if router.host.name in visited:
                    continue
                visited.add(router.host.name)
                first = way if way is not None else (own[segment.number], router)
                for member in self.members[router.host.name]:
                    if member.segment.number not in seen:
                        seen[member.segment.number] = first
                        todo.append(member.segment)
        for segment in self.segments:
            found = seen.get(segment.number)
            if found is not None:
                for prefix in segment.prefixes:
                    self._write(host, prefix, found[0], found[1])

    def _write(self, host: Host, prefix: Prefix, own: Member, router: Member) -> None:
        gateway = router.address(len(prefix.address))
        if gateway is not None and own.address(len(prefix.address)) is not None:
            self._add(host, Route(prefix, own.interface, gateway, origin=ORIGIN))

    def _add(self, host: Host, route: Route) -> None:
        host.net.routes.add(route)
        self._written.append((host, route))
