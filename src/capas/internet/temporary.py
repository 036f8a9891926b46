# SPDX-License-Identifier: Apache-2.0
"""Temporary addresses: what a host calls from without being known again (RFC 8981).

Beside each public address that came of a router advertisement stands one with a random interface
identifier.  REGEN_ADVANCE before it ceases to be preferred there is another; it lives on,
deprecated, for connections that have it.  It outlives neither its prefix nor the limits it was made
with.  Public and temporary addresses together are `HostConfig.autoconfigured_addresses` at most.
"""

from typing import TYPE_CHECKING, Final, final

from capas.base.clock import NEVER, SECOND
from capas.link.interface import DEPRECATED, PREFERRED, Interface, InterfaceAddress
from capas.wire.address import is_reserved_id

if TYPE_CHECKING:
    from capas.internet.nd import Nd

LEAST_ADVANCE: Final = 2 * SECOND  # RFC 8981 §3.8, the constant part of REGEN_ADVANCE


@final
class TemporaryAddress:
    """One, with the ends of its lifetimes whatever routers say (RFC 8981 §3.4).

    ``attempt``  how many identifiers this one makes since the last that was nobody else's
    """

    __slots__ = ("attempt", "own", "preferred_limit", "valid_limit")

    def __init__(
        self, own: InterfaceAddress, valid_limit: int, preferred_limit: int, attempt: int
    ) -> None:
        self.own: InterfaceAddress = own
        self.valid_limit: int = valid_limit
        self.preferred_limit: int = preferred_limit
        self.attempt: int = attempt

    def bound(self, public: InterfaceAddress) -> None:
        """Live no longer than the public address, and than was meant at first."""
        self.own.valid_until = min(public.valid_until, self.valid_limit)
        self.own.preferred_until = min(
            public.preferred_until, self.preferred_limit, self.own.valid_until
        )


@final
class Temporaries:
    """The temporary addresses of one interface.

    ``made``      oldest first
    ``given_up``  prefixes under which each identifier was somebody else's
    """

    __slots__ = ("_nd", "_rng", "given_up", "interface", "made")

    def __init__(self, nd: "Nd", interface: Interface) -> None:
        self._nd: Nd = nd
        self._rng = nd.shared.rng.stream(f"temporary:{interface.name}")
        self.interface: Interface = interface
        self.made: list[TemporaryAddress] = []
        self.given_up: dict[bytes, None] = {}

    def regen_advance(self) -> int:
        """REGEN_ADVANCE: the time it takes to find an address, at worst (RFC 8981 §3.8)."""
        config = self._nd.shared.config
        tests = config.temp_idgen_retries * config.dad_transmits
        return LEAST_ADVANCE + tests * self.interface.neighbors6.retrans

    def advertised(self, public: InterfaceAddress) -> list[InterfaceAddress]:
        """Those whose lifetimes follow a public address that was told of (RFC 8981 §3.4, 1)."""
        beside = self._under(public)
        for one in beside:
            one.bound(public)
        return [one.own for one in beside]

    def renew(self, now: int) -> None:
        """Make those that are missing, or are soon to be replaced (RFC 8981 §3.4, §3.5)."""
        wanted = self._nd.shared.config.use_tempaddr > 0
        if not self.made and not wanted:
            return
        held = self.interface.addresses
        self.made = [one for one in self.made if one.own in held]
        publics = self._publics()
        prefixes = [public.address[:8] for public in publics]
        self.given_up = {prefix: None for prefix in self.given_up if prefix in prefixes}
        for public in publics:
            due = wanted and now >= self._renewal(public)
            if due and public.address[:8] not in self.given_up:
                self._make(public, 1, now)

    def next_renewal(self, now: int) -> int:
        """When the next is to be made; NEVER: none is to be replaced."""
        times = map(self._renewal, self._publics())
        return min((when for when in times if when > now), default=NEVER)

    def duplicate(self, own: InterfaceAddress, now: int) -> bool:
        """``own`` is somebody else's, and gone: another identifier; False: none is left to try."""
        attempt = next((one.attempt for one in self.made if one.own is own), 1)
        self.made = [one for one in self.made if one.own is not own]
        prefix = own.address[:8]
        if attempt >= self._nd.shared.config.temp_idgen_retries:
            self.given_up[prefix] = None
            return False
        for public in self._publics():
            if public.address[:8] == prefix:
                self._make(public, attempt + 1, now)
        return True

    def _publics(self) -> list[InterfaceAddress]:
        held = self.interface.addresses
        return [own for own in held if own.origin == "slaac" and not own.temporary]

    def _under(self, public: InterfaceAddress) -> list[TemporaryAddress]:
        prefix = public.address[:8]
        return [one for one in self.made if one.own.address[:8] == prefix]

    def _renewal(self, public: InterfaceAddress) -> int:
        """When the newest one beside ``public`` is to be replaced; 0: there is none."""
        latest = self._under(public)[-1:]
        return latest[0].own.preferred_until - self.regen_advance() if latest else 0

    def _make(self, public: InterfaceAddress, attempt: int, now: int) -> None:
        """RFC 8981 §3.4, 3 to 6; nothing, if its preferred life would be over in REGEN_ADVANCE."""
        shared = self._nd.shared
        config = shared.config
        advance = self.regen_advance()
        spread = min(config.temp_max_desync, config.temp_preferred_lifetime - advance - 1)
        if spread < 0:
            return
        desync_factor = self._rng.below(spread + 1)
        address = public.address[:8] + self._identifier()
        own = InterfaceAddress(address, 64, PREFERRED, origin="slaac", temporary=True)
        made = TemporaryAddress(
            own,
            now + config.temp_valid_lifetime,
            now + config.temp_preferred_lifetime - desync_factor,
            attempt,
        )
        made.bound(public)
        if min(own.preferred_until, own.valid_until) - now <= advance:
            return
        held = sum(1 for a in self.interface.addresses if a.origin == "slaac")
        if held >= config.autoconfigured_addresses and not self._make_room(public, now):
            shared.counters.add("nd.autoconfigured_addresses")
            return
        try:
            self._nd.add(self.interface, own, now)
        except OSError:  # no room for its solicited-node group
            shared.counters.add("nd.autoconfigured_addresses")
            return
        self.made.append(made)

    def _make_room(self, public: InterfaceAddress, now: int) -> bool:
        """The oldest one beside ``public`` that is deprecated goes, if there is one."""
        for one in self._under(public):
            if one.own.state == DEPRECATED:
                self.made.remove(one)
                self._nd.remove(self.interface, one.own.address, now)
                return True
        return False

    def _identifier(self) -> bytes:
        """A random one, not reserved (RFC 5453) nor in use here (RFC 8981 §3.3.1)."""
        while True:
            found = self._rng.bytes(8)
            in_use = any(own.address[8:] == found for own in self.interface.addresses)
            if not in_use and not is_reserved_id(found):
                return found
