# SPDX-License-Identifier: Apache-2.0
"""The composition root: one host, its interfaces and its four layers.

A `Host` is a plain object: frames in, frames out, a next deadline.  It never reads a clock, never
blocks, never starts a thread; a driver feeds it:

    interface.receive(frame, now) ... host.advance(now); host.flush(now); host.take_ready()

and calls again at `next_deadline` at the latest.  Upward traffic goes through the handlers that
`boot` registers; two hosts in one process share nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, final

from capas.base.clock import Scheduler, Timer
from capas.base.config import HostConfig
from capas.base.events import Counters, Tracer
from capas.base.frame import Frame
from capas.base.memory import Memory
from capas.base.rng import Rng
from capas.errors import ConfigurationError
from capas.internet import stack
from capas.internet.nd import Nd
from capas.internet.route import Route
from capas.link.interface import Interface
from capas.link.link import Link, Loopback, Medium
from capas.transport.endpoint import Endpoint
from capas.transport.raw import RawLayer
from capas.transport.tcp.congestion import base as congestion
from capas.transport.tcp.layer import TcpLayer
from capas.transport.udp import UdpLayer
from capas.wire import address as addr

PROTOCOL_TCP: Final = 6
PROTOCOL_UDP: Final = 17
_LOOPBACK_ROUNDS: Final = 64  # bursts drained in one flush before others get their turn


@final
class _Again(Timer):
    """Wakes the driver at once: loopback traffic is left over."""

    def fire(self, now: int) -> None:
        """Nothing: the flush that follows `Host.advance` does the work."""


@final
class Host:
    """One host (or router) on any number of links."""

    def __init__(
        self,
        name: str,
        config: HostConfig | None,
        rng: Rng,
        trace: Tracer | None = None,
    ) -> None:
        self.name: str = name
        self.config: HostConfig = replace(config) if config is not None else HostConfig()
        if not congestion.known(self.config.tcp_congestion):
            raise ConfigurationError(
                f"host {name!r}: no congestion control is called {self.config.tcp_congestion!r};"
                f" there are {', '.join(congestion.available())}"
            )
        self.driver: object = None  # what makes its time pass, a `capas.sockets.driver.Driver`
        self.boot(rng, trace)

    def boot(self, rng: Rng, trace: Tracer | None = None) -> None:
        """Begin, or begin anew after a loss of power: all that there is but name and settings."""
        self.rng: Rng = rng
        self.counters: Counters = Counters()
        self.scheduler: Scheduler = Scheduler()
        self.trace: Tracer | None = trace
        self.interfaces: list[Interface] = []
        self.names: dict[str, list[bytes]] = {}
        self.nameservers: list[bytes] = []
        self.message_ids: Rng | None = None  # of DNS queries; made when the first is asked
        self._learned: dict[str, list[bytes]] = {}  # of the nameservers, those somebody told us
        self.search: list[str] = []  # domains in which a name without a dot is looked for first
        self.memory: Memory = Memory(self.config)
        self.stack = stack.build(
            self.config, self.counters, self.scheduler, rng.stream("internet"), self.memory
        )
        self.net = self.stack.net
        self.ipv4 = self.stack.ipv4
        self.ipv6 = self.stack.ipv6
        self.icmp = self.stack.icmp
        self.stack.nd.nameservers = self._advertised
        self.ready: list[Endpoint] = []  # endpoints with new readiness, see `take_ready`
        self.tcp = TcpLayer(
            self.net,
            self.config,
            self.counters,
            self.scheduler,
            rng.stream("tcp"),
            self.ready,
            self.memory,
        )
        self.udp = UdpLayer(
            self.net,
            self.config,
            self.counters,
            self.scheduler,
            rng.stream("udp"),
            self.ready,
        )
        self.raw = RawLayer(self.net, self.config, self.ready)
        for ip in (self.ipv4, self.ipv6):
            ip.protocols[PROTOCOL_TCP] = self.tcp
            ip.protocols[PROTOCOL_UDP] = self.udp
        self._again = _Again()
        self.loopback: Loopback = Loopback()
        self.attach(self.loopback, name="lo", addresses=("127.0.0.1/8", "::1/128"))
        if trace is not None:
            self.set_trace(trace)

    @property
    def nd(self) -> Nd:
        """Who finds neighbours and routers of IPv6."""
        return self.stack.nd

    # -- configuration --------------------------------------------------------------------------

    def attach(
        self,
        link: Link,
        *,
        name: str = "",
        mac: bytes | None = None,
        addresses: Sequence[str] = (),
        now: int = 0,
    ) -> Interface:
        """Put an interface on ``link`` and give it ``addresses`` ("192.0.2.1/24")."""
        index = len(self.interfaces) + 1
        if not name:
            name = f"eth{index - 2}" if link.caps.medium is Medium.ETHERNET else f"tun{index - 2}"
        if any(interface.name == name for interface in self.interfaces):
            raise ConfigurationError(f"host {self.name!r} already has an interface {name!r}")
        if mac is None:
            mac = b"\x02" + self.rng.stream(f"mac:{name}").bytes(5)  # locally administered
        interface = Interface(
            name,
            index,
            mac,
            link,
            self.config,
            self.counters,
            self.scheduler,
            self.rng.stream(f"interface:{name}"),
        )
        interface.trace = self.trace
        self.interfaces.append(interface)
        self.stack.attach(interface, now)
        for text in addresses:
            self.add_address(interface, text, now)
        return interface

    def interface(self, name: str) -> Interface:
        """The interface called ``name``."""
        for interface in self.interfaces:
            if interface.name == name:
                return interface
        known = ", ".join(interface.name for interface in self.interfaces)
        raise ConfigurationError(f"host {self.name!r} has no interface {name!r}; it has {known}")

    def add_address(self, interface: Interface, text: str, now: int = 0) -> None:
        """Give ``interface`` the address and on-link prefix of ``text``."""
        try:
            packed, length = addr.parse_interface(text)
        except ValueError as error:
            raise ConfigurationError(f"{text!r} is not an address such as 192.0.2.1/24") from error
        if any(have.address == packed for have in interface.addresses):
            raise ConfigurationError(f"{interface.name} of {self.name!r} already has {text}")
        self.stack.add_address(interface, packed, length, now)

    def add_route(
        self,
        prefix: str,
        via: str | None = None,
        interface: Interface | None = None,
        metric: int = 0,
    ) -> Route:
        """Route ``prefix`` ("10.0.0.0/8", "default", "default6") by a gateway or onto a link."""
        gateway = addr.parse(via) if via else None
        if gateway is not None and self.net.is_local(gateway):
            raise ConfigurationError(f"route {prefix}: the gateway {via} is {self.name!r} itself")
        if prefix == "default":
            prefix = "::/0" if gateway is not None and len(gateway) == 16 else "0.0.0.0/0"
        elif prefix == "default6":
            prefix = "::/0"
        if interface is None:
            if gateway is None:
                raise ConfigurationError(f"route {prefix}: give a gateway or an interface")
            onlink = self.net.routes.lookup(gateway)
            if onlink is None or onlink.gateway is not None:
                raise ConfigurationError(
                    f"route {prefix} of {self.name!r}: no interface reaches the gateway {via}"
                )
            interface = onlink.interface
        route = Route(addr.Prefix.parse(prefix), interface, gateway, metric)
        self.net.routes.add(route)
        return route

    def set_trace(self, trace: Tracer | None) -> None:
        """Send this host's decisions to ``trace``."""
        self.trace = trace
        for interface in self.interfaces:
            interface.trace = trace
        self.stack.set_trace(trace)
        self.tcp.trace = trace
        self.udp.trace = trace

    def learn_nameservers(self, source: str, servers: Sequence[bytes]) -> None:
        """``source`` ("ra", "dhcp:eth0") says who resolves names; configured servers come first."""
        learned = [s for told in self._learned.values() for s in told]
        configured = [s for s in self.nameservers if s not in learned]
        self._learned[source] = [s for s in servers if s not in configured]
        told = [s for source in sorted(self._learned) for s in self._learned[source]]
        self.nameservers[:] = dict.fromkeys(configured + told)

    def _advertised(self, servers: list[bytes], now: int) -> None:
        """Routers said who resolves names (RFC 8106)."""
        self.learn_nameservers("ra", servers)

    def new_endpoint(self) -> Endpoint:
        """An endpoint whose readiness this host reports."""
        return Endpoint(self.ready)

    # -- what a driver calls --------------------------------------------------------------------

    def receive(self, interface: Interface, frame: Frame, now: int) -> None:
        """A frame arrived on ``interface``."""
        interface.receive(frame, now)

    def advance(self, now: int) -> None:
        """Fire what is due."""
        self.scheduler.run_due(now)

    def flush(self, now: int) -> None:
        """Every connection with something to say says it once; loopback frames come back."""
        tcp = self.tcp
        queue = self.loopback.queue
        sink = self.loopback.sink
        for _ in range(_LOOPBACK_ROUNDS):
            if tcp.dirty:
                tcp.flush(now)
            if not queue or sink is None:
                return
            for _ in range(len(queue)):
                sink.receive(queue.popleft(), now)
            sink.link_ready(now)
        self.scheduler.at(now, self._again)

    def next_deadline(self) -> int:
        """When `advance` must be called next, at the latest; NEVER if nothing is scheduled."""
        return self.scheduler.next_deadline()

    def take_ready(self) -> list[Endpoint]:
        """The endpoints that gained readiness since the last call."""
        if not self.ready:
            return []
        ready = self.ready.copy()
        self.ready.clear()
        for endpoint in ready:
            endpoint.queued = False  # the next edge is recorded anew
        return ready
