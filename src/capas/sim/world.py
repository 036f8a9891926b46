# SPDX-License-Identifier: Apache-2.0
"""A world: hosts, switches and routers on wires, in virtual time, from one seed.

    world = World(seed=7)
    client, server = world.host("client"), world.host("server")
    world.link(client, server, rate="10Mbit", delay="20ms", loss="1%")
    world.run(until=5)

Everything random comes from the seed by named streams ("host:client", "wire:client>server:loss"),
so one seed gives the same run, frame by frame, on every machine.  Addresses are assigned and routes
computed (see `capas.sim.plan`); every host knows every name in ``world.names``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, final

from capas.base.clock import NEVER, SECOND
from capas.base.config import HostConfig
from capas.base.rng import Rng
from capas.errors import BlockingInLoopError, CapasError, ConfigurationError
from capas.host.host import Host
from capas.link.link import ETHERNET_MTU
from capas.sim import faults, links
from capas.sim.capture import WorldCapture
from capas.sim.driver import EPOCH, SimDriver
from capas.sim.engine import Engine, HostNode
from capas.sim.links import LinkSettings
from capas.sim.nat import Nat
from capas.sim.plan import Plan
from capas.sim.process import Process
from capas.sim.switch import Switch
from capas.sim.trains import ETHERNET_OVERHEAD
from capas.sim.units import Time, time_ns
from capas.sim.wire import Wire, WirePort
from capas.wire.address import text

Place = Host | Switch | str
Until = Time | Callable[[], bool] | Process | None

_QUIET_IDLE = 60.0  # s without anything due after which a world counts as quiet
_DEFAULTS = HostConfig(dad_transmits=0, accept_ra=False)  # the plan's addresses are unique


@final
class World(faults.Faults):
    """An internet in one process.

    ``seed``    of everything random
    ``start``   the time of day at time 0, seconds since 1970 (2026-01-01T00:00:00Z)
    ``exact``   super-frames are split at the sender: no trains on any wire
    ``config``  settings of hosts that are made without their own
    """

    def __init__(
        self,
        seed: int | str = 0,
        *,
        start: float | None = None,
        exact: bool = False,
        config: HostConfig | None = None,
    ) -> None:
        self.seed: int | str = seed
        self.exact: bool = exact
        self.config: HostConfig = config if config is not None else _DEFAULTS
        self.rng: Rng = Rng(f"world:{seed}".encode())
        self.engine: Engine = Engine()
        epoch = EPOCH if start is None else time_ns(start, "start")
        self.driver: SimDriver = SimDriver(self.engine, self.prepare, epoch)
        self.plan: Plan = Plan()
        self.nodes: dict[str, HostNode] = self.driver.nodes
        self.switches: dict[str, Switch] = {}
        self.wires: list[Wire] = []
        self._names: dict[str, int] = {}  # of wires, how often
        self.ports: dict[str, list[WirePort]] = {}  # by name of host
        self.names: dict[str, list[bytes]] = {}
        self.captures: list[WorldCapture] = []
        self._addresses: dict[str, list[str]] = {}  # given to a host and not yet on an interface
        self._rounds: int = 0  # changes of settings, restarts: each has streams of its own
        self._macs: int = 0

    # -- what there is --------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Virtual time, ns."""
        return self.engine.clock.time

    @property
    def time(self) -> float:
        """Virtual time, seconds."""
        return self.engine.clock.time / SECOND

    @property
    def scheduler(self) -> Any:
        """The world's heap of events."""
        return self.engine.scheduler

    @property
    def hosts(self) -> dict[str, Host]:
        """All hosts and routers by name."""
        return {name: node.host for name, node in self.nodes.items()}

    # -- building -------------------------------------------------------------------------------

    def host(
        self,
        name: str,
        *,
        config: HostConfig | None = None,
        addresses: Sequence[str] | None = (),
        forwarding: bool = False,
    ) -> Host:
        """A new host; ``addresses`` ("192.0.2.1/24") go to its first link.

        None: it gets none, and no routes; they come by DHCP or router advertisements.
        """
        self._new_name(name)
        given = links.texts(addresses or (), f"host {name!r}: addresses")
        host = Host(
            name,
            config if config is not None else self.config,
            self.rng.stream(f"host:{name}"),
        )
        if forwarding:
            host.config.forwarding = True
        host.names = self.names
        self.names[name] = []
        self.driver.adopt(host)
        self.nodes[name] = HostNode(self.engine, host)
        self.ports[name] = []
        self._addresses[name] = given
        if addresses is None:
            self.plan.unnumbered[name] = None
        for capture in self.captures:
            capture.add_host(host)
        return host

    def router(self, name: str, *, config: HostConfig | None = None) -> Host:
        """A new host that forwards."""
        return self.host(name, config=config, forwarding=True)

    def switch(self, name: str, *, table_limit: int = 8192, ageing: Time = 300) -> Switch:
        """A new learning switch."""
        self._new_name(name)
        switch = Switch(
            name, self.engine.clock, table_limit=table_limit, ageing=time_ns(ageing, "ageing")
        )
        self.switches[name] = switch
        segment = self.plan.new_segment()
        segment.switches.append(name)
        self.plan.of_switch[name] = segment
        return switch

    def _new_name(self, name: str) -> None:
        if not name or not isinstance(name, str):
            raise ConfigurationError(f"{name!r} is not a name for a host or switch")
        if name in self.nodes or name in self.switches:
            raise ConfigurationError(f"this world has a {name!r} already")

    def find(self, place: Place) -> Host | Switch:
        """The host or switch meant; ConfigurationError if it is not of this world."""
        if not isinstance(place, Host | Switch | str):
            raise ConfigurationError(f"{place!r} is no host and no switch, nor the name of one")
        name = place if isinstance(place, str) else place.name
        found: Host | Switch | None = None
        if name in self.nodes:
            found = self.nodes[name].host
        elif name in self.switches:
            found = self.switches[name]
        if found is None or (not isinstance(place, str) and found is not place):
            if isinstance(place, str):
                known = ", ".join([*self.nodes, *self.switches]) or "nobody yet"
                raise ConfigurationError(f"this world has no {name!r}; it has {known}")
            raise ConfigurationError(f"{name!r} belongs to another world")
        return found

    def node(self, place: Place) -> HostNode:
        """The node of a host of this world."""
        found = self.find(place)
        if isinstance(found, Switch):
            raise ConfigurationError(f"{found.name!r} is a switch, not a host")
        return self.nodes[found.name]

    def link(
        self,
        a: Place,
        b: Place,
        *,
        mtu: int = ETHERNET_MTU,
        overhead: bool = False,
        up: Mapping[str, Any] | None = None,
        down: Mapping[str, Any] | None = None,
        addresses: Mapping[str, Sequence[str]] | None = None,
        **settings: Any,
    ) -> Wire:
        """Wire ``a`` to ``b``.

        ``rate`` "10Mbit", ``delay`` "20ms", ``jitter``, ``loss`` "1%", ``reorder``, ``duplicate``,
        ``corrupt``, ``queue`` (packets, "64KiB", "codel", "fq_codel", "red"), ``black_hole`` (MTU)
        hold for both directions; ``up`` (a to b) and ``down`` (b to a) change them for one.
        ``overhead`` counts preamble, FCS and gap of Ethernet; ``addresses`` {"a": ["10.0.0.1/24"]}
        are given to the ends instead of automatic ones.
        """
        first, second = self.find(a), self.find(b)
        what = f"link {first.name} - {second.name}"
        if first is second:
            raise ConfigurationError(f"{what}: both ends are the same")
        if not isinstance(mtu, int) or not 68 <= mtu <= 65_535:
            raise ConfigurationError(f"{what}: the MTU must be 68 to 65535 bytes, not {mtu!r}")
        both = LinkSettings().with_(settings, what, links.WHOLE)
        ways = both.with_(up or {}, f"{what}: up"), both.with_(down or {}, f"{what}: down")
        given = links.given_addresses(addresses or {}, (first.name, second.name), what)
        wire = Wire(
            f"{first.name}-{second.name}",
            self.engine.clock,
            self.engine.scheduler,
            mtu=mtu,
            overhead=ETHERNET_OVERHEAD if overhead else 0,
            exact=self.exact,
            names=(first.name, second.name),
        )
        count = self._names[wire.name] = self._names.get(wire.name, 0) + 1
        if count > 1:
            wire.name += f"#{count}"
            wire.up.name += f"#{count}"
            wire.down.name += f"#{count}"
        links.build(wire.up, ways[0], self.rng)
        links.build(wire.down, ways[1], self.rng)
        self._plug(first, second, wire, given)
        self.wires.append(wire)
        return wire

    def change(self, wire: Wire, which: str = "both", **settings: Any) -> None:
        """Change settings of a link from now on; what is on the wire keeps its times."""
        self._rounds += 1
        for direction in wire.directions(which):
            before = direction.settings
            assert isinstance(before, LinkSettings)
            after = before.with_(settings, f"link {direction.name}")
            links.build(direction, after, self.rng, self._rounds)

    def nat(self, place: Place, outside: Wire | str, **settings: Any) -> Nat:
        """Have a router translate what leaves by a link, see `Nat` for settings."""
        return Nat(self.node(place).host, outside, **settings)

    def _plug(
        self, a: Host | Switch, b: Host | Switch, wire: Wire, given: dict[str, list[str]]
    ) -> None:
        """Put both ends on their segment, addresses that users gave first."""
        plan = self.plan
        ends = ((a, wire.a), (b, wire.b))
        for place, port in ends:
            if isinstance(place, Switch):
                switch_port = place.attach(port)
                for capture in self.captures:
                    capture.add_switch_port(switch_port)
        if isinstance(a, Switch) and isinstance(b, Switch):
            plan.join(a.name, b.name)
            return
        if isinstance(a, Switch):
            segment = plan.of_switch[a.name]
        elif isinstance(b, Switch):
            segment = plan.of_switch[b.name]
        else:
            segment = plan.new_segment()
        texts: dict[str, list[str]] = {}
        for place, _ in ends:
            if isinstance(place, Host):
                wanted = given.get(place.name) or self._addresses.pop(place.name, [])
                texts[place.name] = plan.claim(place.name, wanted, segment)
        for place, port in ends:
            if isinstance(place, Host):
                chosen = texts[place.name]
                if not chosen and place.name not in plan.unnumbered:
                    chosen = plan.assign(place.name, segment)
                self._attach(place, port, chosen)
                plan.add(place, place.interfaces[-1], segment)

    def _attach(self, host: Host, port: WirePort, addresses: list[str]) -> None:
        self._macs += 1
        mac = b"\x02\x00" + self._macs.to_bytes(4, "big")
        interface = host.attach(port, mac=mac, addresses=addresses, now=self.now)
        port.station = self.nodes[host.name]
        self.ports[host.name].append(port)
        names = self.names.setdefault(host.name, [])
        names += [a.address for a in interface.addresses if a.origin == "static"]
        self.nodes[host.name].touch()
        for capture in self.captures:
            capture.add_interface(host, interface)

    def _boot(self, node: HostNode) -> None:
        host = node.host
        old = [
            (i.link, i.name, i.mac, [a for a in i.addresses if a.origin == "static"])
            for i in host.interfaces[1:]
        ]
        self._rounds += 1
        host.boot(self.rng.stream(f"host:{host.name}:{self._rounds}"))
        host.names = self.names
        for link, name, mac, addresses in old:
            texts = [f"{text(a.address)}/{a.prefix_length}" for a in addresses]
            host.attach(link, name=name, mac=mac, addresses=texts, now=self.now)
        for capture in self.captures:
            capture.add_host(host)
        self.plan.replace(host)

    def prepare(self) -> None:
        """Bring routes up to date; called before time goes on."""
        if self.plan.changed:
            self.plan.write_routes()

    # -- running --------------------------------------------------------------------------------

    def run(self, until: Until = None) -> None:
        """Let time go on: to a time, until something is true, until a program ends, or to the end.

        A number or text is the virtual time since the beginning.  A callable is asked after each
        instant.  None: until nothing is scheduled any more.
        """
        if isinstance(until, Process):
            until.result()
            return
        if callable(until):
            if not self._run(NEVER, until):
                raise self.engine.deadlock()
        elif until is None:
            self._run(NEVER, None)
        else:
            self._run(time_ns(until, "until"), None)

    def run_for(self, duration: Time) -> None:
        """Let time go on for so long."""
        self._run(self.now + time_ns(duration, "duration"), None)

    def run_until_quiet(self, *, idle: Time = _QUIET_IDLE, limit: Time = 3600) -> bool:
        """Run until no frame is under way and nothing is due for ``idle``; False at ``limit``."""
        gap, end = time_ns(idle, "idle"), self.now + time_ns(limit, "limit")

        def quiet() -> bool:
            engine = self.engine
            if engine.touched or engine.runnable:
                return False
            return engine.scheduler.next_deadline() > engine.clock.time + gap

        return self._run(end, quiet) and self.now < end

    def _run(self, deadline: int, stop: Callable[[], bool] | None) -> bool:
        if self.driver.in_loop():
            raise BlockingInLoopError(
                "world.run inside a running event loop: the loop makes the world go already; await"
                " what you wait for"
            )
        if self.engine.current is not None:
            raise CapasError("world.run inside a program of this world: the world is running")
        self.prepare()
        with self.driver.activate():
            return self.engine.run(deadline, stop)

    def thread(
        self, host: Place, function: Callable[..., object], *args: object, name: str = ""
    ) -> Process:
        """Start blocking code on a host; ``.result()`` runs the world until it ends."""
        node = self.node(host)
        label = name or f"{node.host.name}:{getattr(function, '__name__', 'program')}"
        return self.driver.spawn(lambda: function(*args), host=node.host, name=label)

    def capture(self, file: "str | IO[bytes]") -> WorldCapture:
        """Write every port of the world, also those still to come, to a pcapng file."""
        capture = WorldCapture(file, self.seed, self.driver.epoch)
        for host in self.hosts.values():
            capture.add_host(host)
        for switch in self.switches.values():
            for port in switch.ports:
                capture.add_switch_port(port)
        self.captures.append(capture)
        return capture

    def statistics(self) -> dict[str, dict[str, int]]:
        """Counts of each direction of each wire, by name ("client>server")."""
        return {
            direction.name: direction.statistics.snapshot()
            for wire in self.wires
            for direction in wire.directions()
        }

    def close(self) -> None:
        """Stop all programs, close captures."""
        for process in list(self.engine.processes):
            process.kill()
        for capture in self.captures:
            capture.close()
        self.captures.clear()

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
