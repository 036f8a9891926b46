# SPDX-License-Identifier: Apache-2.0
"""Redirects, both families, in and out (RFC 1122 §3.2.2.2, RFC 1812 §5.2.7.2, RFC 4861 §8).

In: only hosts listen, only to their present first hop, and only for a gateway on the same link; the
result is a host route of origin "redirect", capped by `HostConfig.redirect_routes` and dropped when
its gateway stops answering.  Out: only routers, only to neighbours, within the ICMP rate limit.
"""

from typing import TYPE_CHECKING, final

from capas.base.frame import Frame
from capas.internet.errors_out import QUOTE4, QUOTE6, ErrorsOut, quote
from capas.internet.ipv4 import Ipv4
from capas.internet.route import METRIC_CONNECTED, ORIGIN_REDIRECT, Route
from capas.internet.shared import UNICAST, Shared
from capas.link.interface import TENTATIVE, Interface
from capas.wire import icmp as wire
from capas.wire.address import Prefix, is_link_local, is_multicast
from capas.wire.icmp import ICMP, Message
from capas.wire.ndp import Options
from capas.wire.ndp import Redirect as RedirectMessage

if TYPE_CHECKING:
    from capas.internet.nd import Nd


@final
class Redirects:
    """The redirect routes of a host, and the redirects a router sends."""

    __slots__ = ("_errors_out", "_ipv4", "_shared", "nd", "routes")

    def __init__(self, shared: Shared, ipv4: Ipv4, errors_out: ErrorsOut) -> None:
        self._shared: Shared = shared
        self._ipv4: Ipv4 = ipv4
        self._errors_out: ErrorsOut = errors_out
        self.nd: Nd | None = None
        self.routes: dict[bytes, Route] = {}  # by destination, oldest first

    # -- in ---------------------------------------------------------------------------------------

    def redirected4(
        self,
        interface: Interface,
        reporter: bytes,
        gateway: bytes,
        dst: bytes,
        code: int,
        now: int,
    ) -> None:
        """An ICMPv4 redirect quoting a packet of ours; network redirects count as host ones."""
        shared = self._shared
        route = shared.routes.lookup(dst)
        onlink = shared.routes.lookup(gateway, interface.index)
        if not self._listens() or code > 3:
            shared.counters.add("icmp.redirect_ignored")
        elif (
            route is None
            or route.interface is not interface
            or route.gateway != reporter
            or onlink is None
            or onlink.gateway is not None
            or gateway in shared.local
            or gateway[0] in (0, 127)
            or gateway[0] >= 224
        ):
            shared.drop(now, "icmp.redirect_invalid", "RFC 1122 §3.2.2.2")
        else:
            self._install(dst, interface, gateway, now)

    def redirected6(
        self, interface: Interface, src: bytes, message: RedirectMessage, now: int
    ) -> None:
        """A redirect with hop limit 255 and good options (RFC 4861 §8.1, §8.3)."""
        shared = self._shared
        target, dst = message.target, message.destination
        route = shared.routes.lookup(dst, interface.index if is_link_local(dst) else 0)
        if not self._listens():
            shared.counters.add("icmp.redirect_ignored")
            return
        if (
            not is_link_local(src)
            or route is None
            or route.interface is not interface
            or route.gateway != src
            or not (is_link_local(target) or target == dst)
            or target in shared.local
        ):
            shared.drop(now, "icmp.redirect_invalid", "RFC 4861 §8.1")
            return
        mac = message.options.target_mac
        router = None if target == dst else True
        if mac is not None:
            interface.neighbors6.learned(
                target, mac, now, solicited=False, override=True, is_router=router
            )
        self._install(dst, interface, None if target == dst else target, now)

    def _listens(self) -> bool:
        config = self._shared.config
        return config.accept_redirects and not config.forwarding

    def _install(self, dst: bytes, interface: Interface, gateway: bytes | None, now: int) -> None:
        shared = self._shared
        old = self.routes.pop(dst, None)
        if old is not None:
            shared.routes.discard(old)
        while len(self.routes) >= max(shared.config.redirect_routes, 1):
            first = next(iter(self.routes))
            shared.routes.discard(self.routes.pop(first))
            shared.counters.add("icmp.redirect_evicted")
        route = Route(
            Prefix(dst, len(dst) * 8),
            interface,
            gateway,
            METRIC_CONNECTED,
            origin=ORIGIN_REDIRECT,
        )
        self.routes[dst] = route
        shared.routes.add(route)
        shared.counters.add("icmp.redirected")
        if shared.trace is not None:
            shared.trace.decided(now, "icmp.redirected", str(route))

    def gateway_failed(self, gateway: bytes, now: int) -> None:
        """A neighbour stopped answering: back to the route before the redirect."""
        gone = [d for d, r in self.routes.items() if (r.gateway or d) == gateway]
        for dst in gone:
            self._shared.routes.discard(self.routes.pop(dst))

    # -- out --------------------------------------------------------------------------------------

    def redirect(self, interface: Interface, frame: Frame, l3: int, route: Route, now: int) -> None:
        """The packet leaves by the interface it came from; tell its source, if it is near."""
        shared = self._shared
        data = frame.data
        if not shared.config.send_redirects or not interface.ethernet:
            return
        if data[l3] >> 4 == 4:
            src, dst = data[l3 + 12 : l3 + 16], data[l3 + 16 : l3 + 20]
            if (data[l3] & 15) != 5:
                return  # RFC 1812 §5.2.7.2: not for source routes; other options are rare
        else:
            src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
        back = shared.routes.lookup(src, interface.index if is_link_local(src) else 0)
        if back is None or back.interface is not interface or back.gateway is not None:
            return
        if is_multicast(dst) or shared.local.get(src, 0) == UNICAST:
            return
        target = route.gateway or dst
        if len(dst) == 4:
            self._redirect4(interface, frame, l3, src, target, now)
        elif self.nd is not None and (route.gateway is None or is_link_local(target)):
            self._redirect6(interface, frame, l3, src, dst, target, now)

    def _redirect4(
        self, interface: Interface, frame: Frame, l3: int, src: bytes, target: bytes, now: int
    ) -> None:
        own = next(
            (
                a
                for a in interface.addresses
                if len(a.address) == 4 and a.prefix().contains(src) and a.prefix().contains(target)
            ),
            None,
        )
        if own is None or not self._errors_out.allowed(now):
            return
        message = Message(wire.REDIRECT, 1, target, quote(frame, l3, QUOTE4)).build()
        route = Route(Prefix(src, 32), interface)
        self._shared.counters.add("icmp.redirects_sent")
        self._ipv4.send(route, own.address, src, ICMP, (message,), None, now, 0, 0xC0, False)

    def _redirect6(
        self,
        interface: Interface,
        frame: Frame,
        l3: int,
        src: bytes,
        dst: bytes,
        target: bytes,
        now: int,
    ) -> None:
        own = next(
            (
                a.address
                for a in interface.addresses
                if len(a.address) == 16 and is_link_local(a.address) and a.state != TENTATIVE
            ),
            None,
        )
        if own is None or self.nd is None or not self._errors_out.allowed(now):
            return
        entry = interface.neighbors6.table.get(target)
        mac = entry.mac if entry is not None and entry.mac else None
        packet = quote(frame, l3, (QUOTE6 - 56) & ~7)
        options = Options(target_mac=mac, redirected=packet)
        rest, body = RedirectMessage(target, dst, options).build()
        self._shared.counters.add("icmp.redirects_sent")
        self.nd.send(interface, own, src, Message(wire.REDIRECT6, 0, rest, body), now)
