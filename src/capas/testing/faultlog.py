# SPDX-License-Identifier: Apache-2.0
"""Faults of a test's internet: those of `capas.sim.faults`, each remembered for the report.

Every method begins the fault at once and returns a `Fault`, which ends with ``remove()`` or a
``with`` block.  Times are ns of the world.  Places are names, hosts or stations; a wire is meant by
itself, by its name ("client-server") or by its two ends.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, final

from capas.base.clock import NEVER
from capas.base.frame import Frame
from capas.errors import ConfigurationError
from capas.host.host import Host
from capas.sim import rules
from capas.sim.direction import DOWN, PASS
from capas.sim.rules import Applied, Matcher
from capas.sim.trains import network_offset
from capas.sim.units import Time, time_ns
from capas.sim.wire import Wire
from capas.sim.world import World

Place = Any  # a name, a Host, a Switch, or something with a ``name``
_DNS_PORT: Final = 53
_DNS: Final = _DNS_PORT.to_bytes(2, "big")
_UDP: Final = 17
_TCP: Final = 6


@final
class Mark:
    """One fault in the story of a test: from ``begin`` to ``end`` (NEVER: it did not end)."""

    __slots__ = ("begin", "end", "hosts", "text")

    def __init__(self, begin: int, text: str, hosts: Sequence[str] = (), end: int = NEVER) -> None:
        self.begin: int = begin
        self.end: int = end
        self.text: str = text
        self.hosts: tuple[str, ...] = tuple(hosts)

    def __repr__(self) -> str:
        until = "" if self.end == NEVER else f" to {self.end / 1e9:.6f} s"
        return f"{self.begin / 1e9:.6f} s{until}: {self.text}"


def name_of(place: Place) -> str:
    """The name of a place."""
    return place if isinstance(place, str) else str(place.name)


def transport_of(frame: Frame) -> tuple[int, int]:
    """(IP protocol, offset of the transport header); (0, 0) if it is no first IP packet."""
    data = frame.data
    l3 = network_offset(frame)
    kind = data[l3 - 2 : l3]
    if kind == b"\x08\x00" and len(data) >= l3 + 20:
        if (data[l3 + 6] & 0x1F) or data[l3 + 7]:
            return 0, 0
        return data[l3 + 9], l3 + (data[l3] & 15) * 4
    if kind == b"\x86\xdd" and len(data) >= l3 + 40:
        return data[l3 + 6], l3 + 40
    return 0, 0


def is_transport(frame: Frame) -> bool:
    """Whether a frame carries a TCP segment or a UDP datagram."""
    return transport_of(frame)[0] in (_TCP, _UDP)


def payload_of(frame: Frame) -> bytes:
    """What a TCP segment or UDP datagram carries; empty for others."""
    protocol, l4 = transport_of(frame)
    data = frame.data
    if protocol == _UDP:
        return data[l4 + 8 :]
    if protocol == _TCP and len(data) > l4 + 12:
        l3 = network_offset(frame)
        end = len(data)
        if data[l3 - 2 : l3] == b"\x08\x00" and not frame.gso_size:
            end = l3 + int.from_bytes(data[l3 + 2 : l3 + 4], "big")
        return data[l4 + (data[l4 + 12] >> 4) * 4 : end]
    return b""


def _answers(own: frozenset[bytes], later: int) -> rules.Judge:
    """Delays answers of DNS from these addresses; a router passes those of others on."""

    def judge(frame: Frame, _now: int) -> int:
        protocol, l4 = transport_of(frame)
        if protocol not in (_UDP, _TCP) or frame.data[l4 : l4 + 2] != _DNS:
            return PASS
        return later if rules.addresses_of(frame)[0] in own else PASS

    return judge


class FaultLog:
    """Begins faults and keeps `Mark`s of them; the base of `capas.testing.fixture.Internet`."""

    world: World

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    # -- what is meant --------------------------------------------------------------------------

    def wire(self, what: Any, other: Place = None) -> Wire:
        """The wire meant: itself, its name, or its two ends."""
        if isinstance(what, Wire):
            if what not in self.world.wires:
                raise ConfigurationError(f"{what!r} belongs to another world")
            return what
        if other is None and isinstance(what, tuple):
            what, other = what
        if other is None:
            names = [str(what)]
        else:
            a, b = name_of(what), name_of(other)
            names = [f"{a}-{b}", f"{b}-{a}"]
        for wire in self.world.wires:
            if wire.name in names:
                return wire
        known = ", ".join(wire.name for wire in self.world.wires) or "no wire yet"
        said = f"this world has no wire {names[0]!r}; it has {known}"
        if other is None:
            said += ". A wire is what `link` returned, or internet.wire(a, b) of its two ends"
        raise ConfigurationError(said)

    def place(self, place: Place) -> Host:
        """The host meant by a place."""
        host: Any = getattr(place, "host", place)
        return self.world.node(host).host

    def _places(self, places: Any) -> list[Host]:
        if isinstance(places, list | tuple | set | frozenset):
            if isinstance(places, set | frozenset):
                places = sorted(places, key=name_of)
            return [self.place(one) for one in places]
        return [self.place(places)]

    # -- bookkeeping ----------------------------------------------------------------------------

    def mark(self, text: str, hosts: Sequence[str] = ()) -> Mark:
        """Note something for the report, now."""
        mark = Mark(self.world.now, text, hosts)
        self.marks.append(mark)
        return mark

    def _begun(self, fault: Applied, text: str, hosts: Sequence[str] = ()) -> Applied:
        mark = self.mark(text, hosts)

        def undo() -> None:
            mark.end = self.world.now
            fault.remove()

        return Applied(undo)

    def moment(self, text: str, hosts: Sequence[str] = ()) -> None:
        """Note something that takes no time."""
        self.mark(text, hosts).end = self.world.now

    # -- links ----------------------------------------------------------------------------------

    def partition(self, a: Any, b: Any, *, one_way: bool = False) -> Applied:
        """Nothing from ``a`` (one or several) reaches ``b``, nor back unless ``one_way``."""
        left, right = self._places(a), self._places(b)
        names = [host.name for host in left], [host.name for host in right]
        sign = "⇸" if one_way else "⇹"
        text = f"partition {', '.join(names[0])} {sign} {', '.join(names[1])}"
        fault = self.world.partition(left, right, one_way=one_way)
        return self._begun(fault, text, names[0] + names[1])

    def isolate(self, place: Place) -> Applied:
        """A host's cables are pulled out."""
        host = self.place(place)
        return self._begun(self.world.isolate(host), f"{host.name} isolated", [host.name])

    def cut(self, wire: Any, which: str = "both", *, in_flight: bool = True) -> Applied:
        """Nothing passes a wire; what is on it is lost too."""
        found = self.wire(wire)
        fault = self.world.cut(found, which, in_flight=in_flight)
        return self._begun(fault, f"{found.name} cut ({which})", self._ends(found))

    def hold(self, wire: Any, which: str = "both", matching: Matcher | None = None) -> Applied:
        """Frames wait at the entry of a wire until the end of the fault."""
        found = self.wire(wire)
        fault = self.world.hold(found, which, matching)
        return self._begun(fault, f"{found.name} held ({which})", self._ends(found))

    def rule(
        self, wire: Any, judge: rules.Judge, which: str = "both", *, trains: bool = False
    ) -> Applied:
        """Ask ``judge(frame, now)`` for PASS, DROP or deliver_in(t) about each packet."""
        found = self.wire(wire)
        name = getattr(judge, "__name__", "rule")
        fault = self.world.rule(found, judge, which, trains=trains)
        return self._begun(fault, f"rule {name} on {found.name}", self._ends(found))

    def drop_nth(
        self,
        wire: Any,
        n: int,
        which: str = "both",
        matching: Matcher | None = None,
        count: int = 1,
    ) -> Applied:
        """Drop the ``n``-th matching packet (from 1), and ``count`` - 1 after it."""
        found = self.wire(wire)
        hosts = self._ends(found)
        judge = rules.counted(
            n,
            count,
            matching,
            lambda seen: self.moment(f"packet {seen} on {found.name} dropped", hosts),
        )
        return rules.script(judge, found.directions(which), name="drop_nth")

    def black_hole(self, wire: Any, mtu: int, which: str = "both") -> Applied:
        """IP packets of more than ``mtu`` bytes vanish on a wire without a word."""
        found = self.wire(wire)
        fault = self.world.black_hole(found, mtu, which)
        return self._begun(fault, f"{found.name}: black hole over {mtu} bytes", self._ends(found))

    def changed(self, wire: Any, which: str = "both", **settings: Any) -> Applied:
        """Other settings of a link (``loss=``, ``delay=``, ...) until the end of the fault."""
        found = self.wire(wire)
        if not settings:
            raise ConfigurationError(f"changed: {found.name}: what? say loss='30%', delay='1s' ...")
        before = [(way, way.settings) for way in found.directions(which)]
        self.world.change(found, which, **settings)
        words = ", ".join(f"{key} {value}" for key, value in settings.items())

        def undo() -> None:
            for way, old in before:
                name = "up" if way is found.up else "down"
                kept = {key: getattr(old, key) for key in settings}
                self.world.change(found, name, **kept)

        return self._begun(Applied(undo), f"{found.name}: {words}", self._ends(found))

    def slow_dns(self, by: Time) -> Applied:
        """Every answer from port 53 comes later by so much, on whatever wire its server stands."""
        later = time_ns(by, "slow_dns")
        hosts = self.world.hosts.values()
        if not any(host.nameservers or _DNS_PORT in host.udp.sockets for host in hosts):
            raise ConfigurationError(
                "slow_dns: nobody asks a DNS server, all names are known everywhere:"
                " internet.dns(host) first"
            )

        applied: list[Applied] = []
        for host in hosts:
            ways = [p.out for p in self.world.ports[host.name] if p.out is not None]
            judge = _answers(frozenset(self.world.names[host.name]), later)
            applied.append(rules.script(judge, ways, name="slow_dns"))
        return self._begun(rules.together(applied), f"DNS answers later by {by}")

    def _ends(self, wire: Wire) -> list[str]:
        names = [wire.a.name, wire.b.name]
        return [name for name in names if name in self.world.nodes]

    # -- hosts ----------------------------------------------------------------------------------

    def pause(self, place: Place) -> Applied:
        """A host stands still (a long collection of garbage) until the end of the fault."""
        host = self.place(place)
        return self._begun(self.world.pause(host), f"{host.name} paused", [host.name])

    def kill(self, place: Place) -> Applied:
        """A host loses power; the end of the fault boots it anew."""
        host = self.place(place)
        mark = self.mark(f"{host.name} down", [host.name])
        self.world.kill(host)

        def undo() -> None:
            mark.end = self.world.now
            self.restart(host)

        return Applied(undo)

    def restart(self, place: Place) -> Host:
        """Boot a host anew and start what `Station.on_boot` and `Station.serve` told it to."""
        host = self.place(place)
        word = "boots" if self.world.node(host).condition == DOWN else "restarts"
        for mark in self.marks:
            if mark.end == NEVER and mark.text == f"{host.name} down":
                mark.end = self.world.now
        self.world.restart(host)
        self.moment(f"{host.name} {word}", [host.name])
        self.booted(host)
        return host

    def booted(self, host: Host) -> None:
        """A host has come up again."""

    def invariant(self, check: Callable[[], object], text: str = "") -> Applied:
        """Have ``check()`` hold after each event: False or an exception fails the test there."""
        checks = self.world.engine.checks
        rules.callable_(check, "invariant")
        name = text or getattr(check, "__doc__", None) or getattr(check, "__name__", "invariant")
        name = str(name).strip().partition("\n")[0]

        def checked() -> None:
            try:
                held = check()
                if inspect.iscoroutine(held):
                    held.close()
                    raise TypeError("an invariant is asked between events: no coroutine can be")
                if held is False:
                    raise AssertionError(f"invariant broken: {name}")
            except BaseException as error:
                if checked in checks:
                    checks.remove(checked)  # once is enough: what is cleaned up next may run
                error.add_note(f"in invariant {name!r} at {self.world.now / 1e9:.9f} s")
                self.moment(f"invariant broken: {name}")
                raise

        checks.append(checked)
        return Applied(lambda: checks.remove(checked) if checked in checks else None)
