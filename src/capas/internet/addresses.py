# SPDX-License-Identifier: Apache-2.0
"""The addresses of a host: what adding and removing one means for "ours?" and the routes.

An address brings the route of its prefix (RFC 1122 §3.3.1.1; not for /32 and /128) and a route to
itself by the loopback.  A TENTATIVE address (RFC 4862 §5.4) brings them when it is assigned.
"""

from typing import final

from capas.internet.route import (
    METRIC_CONNECTED,
    METRIC_LOCAL,
    ORIGIN_CONNECTED,
    ORIGIN_LOCAL,
    Route,
)
from capas.internet.shared import BROADCAST, UNICAST, Shared
from capas.link.interface import PREFERRED, TENTATIVE, Interface, InterfaceAddress
from capas.wire.address import BROADCAST4, Prefix, is_link_local, is_loopback


@final
class Addresses:
    """Adds, assigns and removes interface addresses."""

    __slots__ = ("_shared",)

    def __init__(self, shared: Shared) -> None:
        self._shared: Shared = shared

    def add(self, interface: Interface, own: InterfaceAddress) -> None:
        """Put an address on an interface; it works at once unless TENTATIVE."""
        interface.addresses.append(own)
        if own.state != TENTATIVE:
            self.assigned(interface, own)

    def assigned(self, interface: Interface, own: InterfaceAddress) -> None:
        """The address is ours: accept packets to it, route to it and its prefix."""
        shared = self._shared
        address = own.address
        if own.state == TENTATIVE:
            own.state = PREFERRED
        bits = len(address) * 8
        source = address if bits == 32 or is_loopback(address) else None
        if not is_loopback(address):
            shared.local[address] = UNICAST
            loopback = shared.loopback
            if loopback is not None:
                shared.routes.add(
                    Route(
                        Prefix(address, bits),
                        loopback,
                        metric=METRIC_LOCAL,
                        source=address,
                        origin=ORIGIN_LOCAL,
                    )
                )
        broadcast = own.prefix().broadcast()
        if broadcast is not None and not is_loopback(address):
            shared.local[broadcast] = BROADCAST
        if (own.prefix_length < bits and own.origin != "slaac") or is_loopback(address):
            # The source is left to the rules if the interface has several addresses on the prefix.
            if self._others(interface, own):
                source = None
            shared.routes.add(
                Route(
                    own.prefix(),
                    interface,
                    metric=METRIC_CONNECTED,
                    source=source,
                    origin=ORIGIN_CONNECTED,
                )
            )

    def loopback_attached(self, loopback: Interface) -> None:
        """Route to the addresses added before the loopback came."""
        shared = self._shared
        shared.loopback = loopback
        for interface in shared.interfaces:
            for own in interface.addresses:
                if own.state != TENTATIVE and not is_loopback(own.address):
                    self.assigned(interface, own)

    def remove(self, interface: Interface, address: bytes) -> InterfaceAddress | None:
        """Take an address off an interface; None if it was not there."""
        shared = self._shared
        own = next((a for a in interface.addresses if a.address == address), None)
        if own is None:
            return None
        interface.addresses.remove(own)
        if own.state == TENTATIVE:
            return own
        if not self.find(address):
            shared.local.pop(address, None)
            shared.routes.remove(Prefix(address, len(address) * 8), origin=ORIGIN_LOCAL)
        broadcast = own.prefix().broadcast()
        if broadcast is not None and broadcast != BROADCAST4 and not self._broadcast(broadcast):
            shared.local.pop(broadcast, None)
        if not self._others(interface, own) and not is_link_local6(address):
            shared.routes.remove(own.prefix(), interface=interface, origin=ORIGIN_CONNECTED)
        else:
            for route in shared.routes.of(own.prefix()):
                if route.source == address:
                    route.source = None
        shared.routes.changed()
        return own

    def find(self, address: bytes) -> tuple[Interface, InterfaceAddress] | None:
        """Who has an address, in whatever state."""
        for interface in self._shared.interfaces:
            for own in interface.addresses:
                if own.address == address:
                    return interface, own
        return None

    def _others(self, interface: Interface, own: InterfaceAddress) -> bool:
        prefix = own.prefix()
        return any(
            other is not own
            and other.prefix_length == own.prefix_length
            and prefix.contains(other.address)
            for other in interface.addresses
        )

    def _broadcast(self, address: bytes) -> bool:
        return any(
            own.prefix().broadcast() == address
            for interface in self._shared.interfaces
            for own in interface.addresses
        )


def is_link_local6(address: bytes) -> bool:
    """fe80::/10; its prefix route belongs to the interface, not to an address."""
    return len(address) == 16 and is_link_local(address)
