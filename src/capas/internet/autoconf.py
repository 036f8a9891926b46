# SPDX-License-Identifier: Apache-2.0
"""What a host learns from routers: default routers, on-link prefixes, addresses, DNS servers.

RFC 4861 §6.3, RFC 4862 §5.5 (the two-hour rule of §5.5.3 e), RFC 4191 preferences, RFC 8106; the
addresses of RFC 8981 are `temporary`'s.  One timer per interface fires at the earliest end of a
lifetime.  Everything a router can make grow is capped: routers and addresses by `HostConfig`,
prefixes and servers by the constants here.
"""

from typing import TYPE_CHECKING, Final, final

from capas.base.clock import MS, NEVER, SECOND, Timer
from capas.internet.route import METRIC_CONNECTED, METRIC_DEFAULT, ORIGIN_RA, Route
from capas.internet.temporary import Temporaries
from capas.link.interface import DEPRECATED, PREFERRED, Interface, InterfaceAddress
from capas.wire import icmp as wire
from capas.wire.address import ALL_ROUTERS6, ANY6, Prefix, is_link_local, text
from capas.wire.icmp import Message
from capas.wire.ndp import (
    INFINITY,
    Options,
    PrefixInfo,
    RouterAdvertisement,
    RouterSolicitation,
)

if TYPE_CHECKING:
    from capas.internet.nd import Nd

# RFC 4861 §10.
MAX_DELAY: Final = SECOND  # MAX_RTR_SOLICITATION_DELAY
INTERVAL: Final = 4 * SECOND  # RTR_SOLICITATION_INTERVAL
MAX_SOLICITATIONS: Final = 3
TWO_HOURS: Final = 7200 * SECOND  # RFC 4862 §5.5.3 e
MAX_PREFIXES: Final = 64  # on-link prefixes of one interface
MAX_SERVERS: Final = 8  # DNS servers of one interface, RFC 8106 §5.3.1 says at least 3
DEMOTED: Final = 4096  # added to the metric of a router that does not answer


@final
class Solicitations(Timer):
    """Asks for routers until one answers (RFC 4861 §6.3.7)."""

    __slots__ = ("autoconf", "left")

    def __init__(self, autoconf: "Autoconf") -> None:
        super().__init__()
        self.autoconf: Autoconf = autoconf
        self.left: int = 0

    def fire(self, now: int) -> None:
        """The next solicitation is due."""
        self.autoconf.solicit(now)


@final
class Autoconf(Timer):
    """One interface's knowledge from router advertisements; fires when a lifetime ends."""

    __slots__ = (
        "_nd",
        "_shared",
        "_solicitations",
        "interface",
        "prefixes",
        "routers",
        "servers",
        "temporaries",
    )

    def __init__(self, nd: "Nd", interface: Interface) -> None:
        super().__init__()
        self._nd: Nd = nd
        self._shared = nd.shared
        self._solicitations: Solicitations = Solicitations(self)
        self.interface: Interface = interface
        self.routers: dict[bytes, tuple[Route, int]] = {}  # address -> (default route, until)
        self.prefixes: dict[tuple[bytes, int], tuple[Route, int]] = {}
        self.servers: dict[bytes, int] = {}  # address -> until
        self.temporaries: Temporaries = Temporaries(nd, interface)

    # -- asking -----------------------------------------------------------------------------------

    def start(self, now: int) -> None:
        """Ask for routers, after a random delay."""
        self._solicitations.left = MAX_SOLICITATIONS
        delay = self._shared.rng.stream(f"rs:{self.interface.name}").below(MAX_DELAY)
        self._shared.scheduler.at(now + delay, self._solicitations)

    def solicit(self, now: int) -> None:
        """Send a router solicitation, and arm for the next."""
        asking = self._solicitations
        if asking.left == 0:
            return
        asking.left -= 1
        src = self._nd.link_local(self.interface) or ANY6
        mac = self.interface.mac if src != ANY6 else None
        rest, body = RouterSolicitation(Options(source_mac=mac)).build()
        message = Message(wire.ROUTER_SOLICITATION, 0, rest, body)
        self._shared.counters.add("nd.router_solicitations")
        self._nd.send(self.interface, src, ALL_ROUTERS6, message, now)
        if asking.left:
            self._shared.scheduler.at(now + INTERVAL, asking)

    # -- learning ---------------------------------------------------------------------------------

    def advertised(self, src: bytes, said: RouterAdvertisement, now: int) -> None:
        """A router advertisement from a link-local address (RFC 4861 §6.3.4)."""
        shared, interface = self._shared, self.interface
        shared.counters.add("nd.router_advertisements_received")
        if said.lifetime:
            self._solicitations.left = 0
            shared.scheduler.cancel(self._solicitations)
        if said.hop_limit:
            shared.hop_limits[interface.index] = said.hop_limit
        table = interface.neighbors6
        if 0 < said.reachable <= 3_600_000:
            table.set_reachable_time(said.reachable * MS)
        if said.retrans:
            table.retrans = min(max(said.retrans, 10), 3_600_000) * MS
        options = said.options
        if options.source_mac is not None:
            table.learned(
                src, options.source_mac, now, solicited=False, override=True, is_router=True
            )
        self._router(src, said, now)
        for info in options.prefixes:
            self._prefix(info, now)
        mtu = options.mtu
        known = shared.mtu6.get(interface.index)
        if mtu is not None and 1280 <= mtu <= interface.mtu and mtu != known:
            shared.mtu6[interface.index] = mtu
            shared.routes.changed()
        changed = False
        for lifetime, servers in options.rdnss:
            for server in servers:
                changed |= self._server(server, _until(lifetime, now), now)
        if changed:
            self._nd.servers_changed(now)
        self._renew(now)

    def _router(self, src: bytes, said: RouterAdvertisement, now: int) -> None:
        shared = self._shared
        old = self.routers.get(src)
        until = now + said.lifetime * SECOND
        metric = {1: METRIC_DEFAULT // 2, 0: METRIC_DEFAULT, -1: METRIC_DEFAULT * 2}[
            said.preference
        ]
        if old is not None:
            if said.lifetime and old[0].metric == metric:
                self.routers[src] = old[0], until  # among its equals it stays where it was
                return
            del self.routers[src]
            shared.routes.discard(old[0])
        if said.lifetime == 0:
            return
        if old is None and len(self.routers) >= shared.config.default_routers:
            shared.counters.add("nd.default_routers")
            return
        route = Route(Prefix(ANY6, 0), self.interface, src, metric, origin=ORIGIN_RA)
        self.routers[src] = route, until
        shared.routes.add(route)
        if old is None and shared.trace is not None:
            shared.trace.decided(now, "nd.router", f"default router {text(src)}")

    def _prefix(self, info: PrefixInfo, now: int) -> None:
        """RFC 4861 §6.3.4 and RFC 4862 §5.5.3."""
        prefix = Prefix(info.prefix, info.length)
        if is_link_local(prefix.address) or prefix.address[0] == 0xFF:
            return
        if info.on_link:
            self._on_link(prefix, info.valid, now)
        if not info.autonomous or info.preferred > info.valid:
            return
        if info.length != 64:
            self._shared.counters.add("nd.prefix_length")
            return
        own = self._own(prefix)
        valid, preferred = _until(info.valid, now), _until(info.preferred, now)
        if own is None:
            if info.valid:
                self._form(prefix, valid, preferred, now)
            return
        if own.origin != "slaac":
            return
        remaining = own.valid_until - now
        if valid - now > TWO_HOURS or valid > own.valid_until:
            own.valid_until = valid
        elif remaining > TWO_HOURS:
            own.valid_until = now + TWO_HOURS
        own.preferred_until = min(preferred, own.valid_until)
        for one in (own, *self.temporaries.advertised(own)):
            self._age(one, now)

    def _own(self, prefix: Prefix) -> InterfaceAddress | None:
        """The address with our interface identifier under a prefix."""
        address = prefix.address[:8] + self._nd.identifiers.under(self.interface, prefix.address)
        return next((a for a in self.interface.addresses if a.address == address), None)

    def _form(self, prefix: Prefix, valid: int, preferred: int, now: int) -> None:
        held = sum(1 for a in self.interface.addresses if a.origin == "slaac")
        if held >= self._shared.config.autoconfigured_addresses:
            self._shared.counters.add("nd.autoconfigured_addresses")
            return
        address = prefix.address[:8] + self._nd.identifiers.under(self.interface, prefix.address)
        own = InterfaceAddress(address, 64, PREFERRED, valid, preferred, "slaac")
        try:
            self._nd.add(self.interface, own, now)
        except OSError:  # no room for its solicited-node group
            self._shared.counters.add("nd.autoconfigured_addresses")
        else:
            self._age(own, now)

    def _on_link(self, prefix: Prefix, valid: int, now: int) -> None:
        shared = self._shared
        key = (prefix.address, prefix.length)
        old = self.prefixes.pop(key, None)
        if valid == 0:
            if old is not None:
                shared.routes.discard(old[0])
            return
        if old is None:
            if len(self.prefixes) >= MAX_PREFIXES:
                shared.counters.add("nd.prefixes")
                return
            route = Route(prefix, self.interface, None, METRIC_CONNECTED, origin=ORIGIN_RA)
            if not any(r.interface is self.interface for r in shared.routes.of(prefix)):
                shared.routes.add(route)
        else:
            route = old[0]
        self.prefixes[key] = (route, _until(valid, now))

    def _server(self, server: bytes, until: int, now: int) -> bool:
        """RFC 8106 §5.3.1; True if the list changed."""
        known = server in self.servers
        if until <= now:
            self.servers.pop(server, None)
            return known
        if not known and len(self.servers) >= MAX_SERVERS:
            self._shared.counters.add("nd.servers")
            return False
        self.servers[server] = until
        return not known

    # -- routers that come and go -----------------------------------------------------------------

    def router_failed(self, address: bytes) -> None:
        """A router does not answer: others first (RFC 4861 §6.3.6)."""
        self._set_demoted(address, True)

    def router_answered(self, address: bytes) -> None:
        """A router is reachable (again)."""
        self._set_demoted(address, False)

    def _set_demoted(self, address: bytes, demoted: bool) -> None:
        found = self.routers.get(address)
        if found is None or (found[0].metric >= DEMOTED) == demoted:
            return
        route = found[0]
        routes = self._shared.routes
        routes.discard(route)
        route.metric += DEMOTED if demoted else -DEMOTED
        routes.add(route)

    def router_ceased(self, address: bytes, now: int) -> None:
        """A router says it is none any more (RFC 4861 §7.2.5)."""
        found = self.routers.pop(address, None)
        if found is not None:
            self._shared.routes.discard(found[0])
        self._nd.redirects.gateway_failed(address, now)

    # -- ageing -----------------------------------------------------------------------------------

    def _age(self, own: InterfaceAddress, now: int) -> None:
        """Preferred or deprecated, by the clock."""
        if own.state in (PREFERRED, DEPRECATED):
            own.state = DEPRECATED if own.preferred_until <= now else PREFERRED

    def assigned(self, own: InterfaceAddress, now: int) -> None:
        """Duplicate detection is over: from now on the preferred lifetime counts."""
        if own.origin == "slaac":
            self._age(own, now)
            self._rearm(now)

    def duplicate(self, own: InterfaceAddress, now: int) -> bool:
        """A temporary address is somebody else's: whether there may be another in its place."""
        another = self.temporaries.duplicate(own, now)
        self._rearm(now)
        return another

    def fire(self, now: int) -> None:
        """Some lifetime is over."""
        routes = self._shared.routes
        for router in [r for r, (_, until) in self.routers.items() if until <= now]:
            routes.discard(self.routers.pop(router)[0])
        for key in [k for k, (_, until) in self.prefixes.items() if until <= now]:
            routes.discard(self.prefixes.pop(key)[0])
        for own in list(self.interface.addresses):
            if own.origin == "slaac":
                if own.valid_until <= now:
                    self._nd.remove(self.interface, own.address, now)
                else:
                    self._age(own, now)
        gone = [s for s, until in self.servers.items() if until <= now]
        for server in gone:
            del self.servers[server]
        if gone:
            self._nd.servers_changed(now)
        routes.changed()
        self._renew(now)

    def _renew(self, now: int) -> None:
        """Temporary addresses that are due; then wait for what comes next."""
        self.temporaries.renew(now)
        self._rearm(now)

    def _rearm(self, now: int) -> None:
        ends = [until for _, until in self.routers.values()]
        ends += [until for _, until in self.prefixes.values()]
        ends += self.servers.values()
        for own in self.interface.addresses:
            if own.origin == "slaac":
                ends.append(own.preferred_until if own.state == PREFERRED else own.valid_until)
        ends.append(self.temporaries.next_renewal(now))
        earliest = min(ends)
        if earliest < NEVER:
            self._shared.scheduler.at(earliest, self)
        else:
            self._shared.scheduler.cancel(self)


def _until(seconds: int, now: int) -> int:
    """When a lifetime ends."""
    return NEVER if seconds == INFINITY else now + seconds * SECOND
