# SPDX-License-Identifier: Apache-2.0
"""Duplicate address detection (RFC 4862 §5.4, RFC 4429, RFC 7527).

`HostConfig.dad_transmits` solicitations go out, RetransTimer apart, each with a nonce of its own: a
solicitation that comes back with one of our nonces is our own echo, not another node.  Silence
makes the address ours; an answer or another prober takes it away.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from capas.base.clock import SECOND, Timer
from capas.link.interface import Interface, InterfaceAddress
from capas.wire import icmp as wire
from capas.wire.address import ANY6, solicited_node, text
from capas.wire.icmp import Message
from capas.wire.ndp import NeighborSolicitation, Options

if TYPE_CHECKING:
    from capas.internet.nd import Nd

MAX_DELAY: Final = SECOND  # MAX_RTR_SOLICITATION_DELAY, RFC 4861 §10


@final
class Probe(Timer):
    """One address being tested."""

    __slots__ = ("dad", "interface", "left", "nonces", "own")

    def __init__(self, dad: "Dad", interface: Interface, own: InterfaceAddress, left: int) -> None:
        super().__init__()
        self.dad: Dad = dad
        self.interface: Interface = interface
        self.own: InterfaceAddress = own
        self.left: int = left  # solicitations still to send
        self.nonces: list[bytes] = []  # of those sent

    def fire(self, now: int) -> None:
        """The next solicitation is due, or the wait after the last is over."""
        self.dad.step(self, now)


@final
class Dad:
    """The addresses of a host in duplicate detection.

    ``assigned(interface, own, now)``  told when an address is ours;
    ``failed(interface, own, now)``    when it is somebody else's
    """

    __slots__ = ("_nd", "_rng", "assigned", "failed", "probes")

    def __init__(
        self,
        nd: "Nd",
        assigned: Callable[[Interface, InterfaceAddress, int], None],
        failed: Callable[[Interface, InterfaceAddress, int], None],
    ) -> None:
        self._nd: Nd = nd
        self._rng = nd.shared.rng.stream("dad")
        self.probes: dict[tuple[int, bytes], Probe] = {}
        self.assigned: Callable[[Interface, InterfaceAddress, int], None] = assigned
        self.failed: Callable[[Interface, InterfaceAddress, int], None] = failed

    def start(self, interface: Interface, own: InterfaceAddress, delayed: bool, now: int) -> None:
        """Test a TENTATIVE address; ``delayed``: after a random wait (RFC 4862 §5.4.2)."""
        shared = self._nd.shared
        probe = Probe(self, interface, own, shared.config.dad_transmits)
        self.probes[interface.index, own.address] = probe
        if delayed:
            shared.scheduler.at(now + self._rng.below(MAX_DELAY), probe)
        else:
            self.step(probe, now)

    def stop(self, interface: Interface, address: bytes) -> None:
        """Forget about an address."""
        probe = self.probes.pop((interface.index, address), None)
        if probe is not None:
            self._nd.shared.scheduler.cancel(probe)

    def testing(self, interface: Interface, address: bytes) -> bool:
        """Whether an address is under test (tentative or optimistic)."""
        return (interface.index, address) in self.probes

    def step(self, probe: Probe, now: int) -> None:
        """Send the next solicitation, or declare the address ours."""
        interface, own = probe.interface, probe.own
        shared = self._nd.shared
        if probe.left == 0:
            del self.probes[interface.index, own.address]
            if shared.trace is not None:
                shared.trace.decided(now, "nd.dad", f"{text(own.address)} is ours")
            self.assigned(interface, own, now)
            return
        probe.left -= 1
        nonce = self._rng.bytes(6)
        probe.nonces.append(nonce)
        rest, body = NeighborSolicitation(own.address, Options(nonce=nonce)).build()
        message = Message(wire.NEIGHBOR_SOLICITATION, 0, rest, body)
        self._nd.send(interface, ANY6, solicited_node(own.address), message, now)
        shared.scheduler.at(now + interface.neighbors6.retrans, probe)

    def solicited(
        self, interface: Interface, address: bytes, nonce: bytes | None, now: int
    ) -> None:
        """Somebody tests an address we test (RFC 4862 §5.4.3)."""
        probe = self.probes.get((interface.index, address))
        if probe is None:
            return
        if nonce is not None and nonce in probe.nonces:
            self._nd.shared.counters.add("nd.dad_looped")  # RFC 7527 §4.2: it is our own
            probe.left = max(probe.left, 1)  # and so proves nothing: ask once more
            if len(probe.nonces) > 8:
                probe.left = 0
            return
        self.conflict(interface, address, now)

    def conflict(self, interface: Interface, address: bytes, now: int) -> None:
        """Another node has, or tests, an address under test."""
        probe = self.probes.get((interface.index, address))
        if probe is None:
            return
        self.stop(interface, address)
        self._nd.shared.drop(now, "nd.dad_failed", "RFC 4862 §5.4.5")
        self.failed(interface, probe.own, now)
