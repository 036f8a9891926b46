# SPDX-License-Identifier: Apache-2.0
"""Faults of a world: partitions, held traffic, hosts that pause, die and come back.

Each begins when it is called and returns an `Applied`: it ends with ``remove()`` or a ``with``
block.
"""

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from capas.host.host import Host
from capas.sim import rules
from capas.sim.direction import DOWN, DROP, PASS, PAUSED, UP, Direction
from capas.sim.driver import SimDriver
from capas.sim.engine import Engine, HostNode
from capas.sim.rules import Applied, Matcher
from capas.sim.wire import Wire, WirePort
from capas.transport.tcp import closing

if TYPE_CHECKING:
    from capas.sim.world import Place


class Faults(ABC):
    """What can go wrong in a world, on purpose; the base of `World`."""

    driver: SimDriver
    engine: Engine
    names: dict[str, list[bytes]]
    ports: dict[str, list[WirePort]]

    @abstractmethod
    def node(self, place: "Place") -> HostNode:
        """The node of a host of this world."""

    # -- links ----------------------------------------------------------------------------------

    def rule(
        self, wire: Wire, judge: rules.Judge, which: str = "both", *, trains: bool = False
    ) -> Applied:
        """Ask ``judge(frame, now)`` for PASS, DROP or deliver_in(t) about each packet on a wire."""
        return rules.script(judge, wire.directions(which), trains=trains)

    def cut(self, wire: Wire, which: str = "both", *, in_flight: bool = True) -> Applied:
        """Nothing passes a wire; what is on it is lost too."""
        return rules.cut(wire.directions(which), in_flight=in_flight)

    def hold(self, wire: Wire, which: str = "both", matching: Matcher | None = None) -> Applied:
        """Frames wait at the entry of a wire until the end of the fault."""
        return rules.hold(wire.directions(which), matching)

    def drop_nth(
        self,
        wire: Wire,
        n: int,
        which: str = "both",
        matching: Matcher | None = None,
        count: int = 1,
    ) -> Applied:
        """Drop the ``n``-th matching packet (from 1), and ``count`` - 1 after it."""
        return rules.drop_nth(wire.directions(which), n, matching, count)

    def black_hole(self, wire: Wire, mtu: int, which: str = "both") -> Applied:
        """IP packets of more than ``mtu`` bytes vanish on a wire."""
        return rules.black_hole(wire.directions(which), mtu)

    # -- hosts ----------------------------------------------------------------------------------

    def _directions(self, places: "Sequence[Place]", outward: bool) -> list[Direction]:
        found: list[Direction] = []
        for place in places:
            for port in self.ports[self.node(place).host.name]:
                direction = port.out if outward else port.back
                assert direction is not None
                found.append(direction)
        return found

    def partition(
        self,
        a: "Place | Sequence[Place]",
        b: "Place | Sequence[Place]",
        *,
        one_way: bool = False,
    ) -> Applied:
        """Nothing from ``a`` reaches ``b``, nor back unless ``one_way``, whatever lies between."""
        left, right = _listed(a), _listed(b)
        ours, theirs = self._addresses_of(left), self._addresses_of(right)
        faults = [self._block(left, ours, theirs)]
        if not one_way:
            faults.append(self._block(right, theirs, ours))
        return rules.together(faults)

    def _block(
        self, places: "Sequence[Place]", sources: frozenset[bytes], targets: frozenset[bytes]
    ) -> Applied:
        matches = rules.between(sources, targets)
        rule = rules.Rule(
            lambda frame, _now: DROP if matches(frame) else PASS,
            trains=True,
            name="partition",
        )
        return rules.apply(rule, self._directions(places, True))

    def _addresses_of(self, places: "Sequence[Place]") -> frozenset[bytes]:
        """All addresses of hosts, link-local ones too."""
        return frozenset(
            own.address
            for place in places
            for interface in self.node(place).host.interfaces
            if interface.name != "lo"
            for own in interface.addresses
        )

    def isolate(self, host: "Place") -> Applied:
        """A host's cables are pulled out."""
        directions = self._directions([host], True) + self._directions([host], False)
        return rules.cut(directions, in_flight=True)

    def pause(self, host: "Place") -> Applied:
        """A host stands still: no timers, no programs of its own threads, frames wait in its ring.

        Coroutines of an event loop do not stop, but the network of the host does.
        """
        node = self.node(host)
        if node.condition == UP:
            node.condition = PAUSED
        return Applied(lambda: node.resume(self.engine.clock.time))

    def kill(self, host: "Place") -> Applied:
        """A host loses power: its programs, sockets and frames are gone, without a goodbye.

        Threads of the world see `ProcessKilled`, tasks are cancelled; what they still send in their
        ``finally`` clauses reaches nobody.

        The end of the fault is `restart`.
        """
        node = self.node(host)
        node.condition = DOWN
        node.inbox.clear()
        self.engine.scheduler.cancel(node)
        for process in list(node.processes):
            process.kill()
        _end_sockets(node.host, self.engine)
        self.driver.kill_tasks(node.host)
        for call in list(node.killed):
            call()

        def undo() -> None:
            self.restart(host)

        return Applied(undo)

    def on_kill(self, host: "Place", call: Callable[[], None]) -> None:
        """Have ``call()`` called when ``host`` is killed."""
        self.node(host).killed.append(call)

    def restart(self, host: "Place") -> Host:
        """Boot a host anew: same name, addresses and cables, nothing else left of its past."""
        node = self.node(host)
        if node.condition != DOWN:
            self.kill(host)
        self._boot(node)
        node.condition = UP
        node.touch()
        return node.host

    @abstractmethod
    def _boot(self, node: HostNode) -> None:
        """Make the host of ``node`` a new one in place."""


def _end_sockets(host: Host, engine: Engine) -> None:
    """Connections fail without a word to their peers, so that whoever still holds one lets go."""
    now = engine.clock.time
    for interface in host.interfaces:
        interface.up = False
    for connection in host.tcp.connections():
        closing.fail(connection, errno.ECONNABORTED, now)
    for endpoint in host.take_ready():
        if endpoint.watcher is not None:
            endpoint.watcher.endpoint_ready(endpoint)
    engine.wake()


def _listed(places: "Place | Sequence[Place]") -> "Sequence[Place]":
    if isinstance(places, Sequence) and not isinstance(places, str):
        return places
    return [places]
