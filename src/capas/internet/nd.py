# SPDX-License-Identifier: Apache-2.0
"""IPv6 neighbour discovery: who is where on this link (RFC 4861 §7), and the dispatch of the rest.

Messages count only with hop limit 255, code 0, and if they were not fragmented (RFC 6980).  The
states of neighbours are `capas.link.neighbor`'s, fed from here; `dad` tests addresses, `autoconf`
listens to routers, `ra_sender` is one, `redirect` knows better first hops.
"""

from collections.abc import Callable
from typing import Final, final

from capas.base.frame import Frame
from capas.internet.addresses import Addresses
from capas.internet.autoconf import Autoconf
from capas.internet.dad import Dad
from capas.internet.identifier import Identifiers
from capas.internet.ipv6 import Ipv6
from capas.internet.multicast import Multicast
from capas.internet.ra_sender import RaConfig, RaSender
from capas.internet.redirect import Redirects
from capas.internet.route import Route
from capas.internet.shared import Shared
from capas.link.interface import TENTATIVE, Interface, InterfaceAddress
from capas.wire import icmp as wire
from capas.wire.address import (
    ALL_NODES6,
    ALL_ROUTERS6,
    ANY6,
    LINK_LOCAL_PREFIX6,
    Prefix,
    is_link_local,
    solicited_node,
)
from capas.wire.icmp import ICMPV6, Message
from capas.wire.ndp import (
    NeighborAdvertisement,
    NeighborSolicitation,
    Options,
    Redirect,
    RouterAdvertisement,
    RouterSolicitation,
)

TYPES: Final = (133, 134, 135, 136, 137)


@final
class Solicitor:
    """Asks for IPv6 neighbours of one interface; what its neighbour table calls."""

    __slots__ = ("_interface", "_nd")

    def __init__(self, nd: "Nd", interface: Interface) -> None:
        self._nd: Nd = nd
        self._interface: Interface = interface

    def solicit(self, target: bytes, mac: bytes | None, now: int) -> None:
        """Send a neighbour solicitation; unicast to a neighbour that is being probed."""
        self._nd.solicit(self._interface, target, mac is not None, now)

    def failed(self, target: bytes, now: int) -> None:
        """A neighbour stopped answering."""
        self._nd.neighbor_failed(self._interface, target, now)


@final
class Nd:
    """Neighbour discovery of one host; takes ICMPv6 types 133 to 137.

    ``conflict(interface, own, now)``    told of an address that was somebody else's
    ``nameservers(servers, now)``        told of the DNS servers routers advertise (RFC 8106)
    """

    __slots__ = (
        "addresses",
        "autoconf",
        "conflict",
        "dad",
        "identifiers",
        "ipv6",
        "multicast",
        "nameservers",
        "redirects",
        "senders",
        "shared",
    )

    def __init__(
        self,
        shared: Shared,
        ipv6: Ipv6,
        addresses: Addresses,
        multicast: Multicast,
        redirects: Redirects,
    ) -> None:
        self.shared: Shared = shared
        self.ipv6: Ipv6 = ipv6
        self.addresses: Addresses = addresses
        self.multicast: Multicast = multicast
        self.redirects: Redirects = redirects
        self.dad: Dad = Dad(self, self._assigned, self._duplicate)
        self.autoconf: dict[int, Autoconf] = {}  # by interface index
        self.identifiers: Identifiers = Identifiers(shared)
        self.senders: dict[int, RaSender] = {}
        self.conflict: Callable[[Interface, InterfaceAddress, int], None] | None = None
        self.nameservers: Callable[[list[bytes], int], None] | None = None
        redirects.nd = self

    # -- interfaces and addresses -----------------------------------------------------------------

    def attach(self, interface: Interface, now: int) -> None:
        """Run on an interface: a link-local address, then routers are asked for."""
        config = self.shared.config
        if interface.mtu < 1280:
            return  # RFC 8200 §5: no IPv6 on this link
        if interface.ethernet:
            solicitor = Solicitor(self, interface)
            interface.neighbors6.solicit = solicitor.solicit
            interface.neighbors6.failed = solicitor.failed
            self.autoconf[interface.index] = Autoconf(self, interface)
            if config.forwarding:
                self.multicast.join(interface, ALL_ROUTERS6, now)
        address = LINK_LOCAL_PREFIX6 + self.identifiers.under(interface, LINK_LOCAL_PREFIX6)
        self.add(interface, InterfaceAddress(address, 64, origin="linklocal"), now, True)
        if interface.ethernet and config.accept_ra and not config.forwarding:
            self.autoconf[interface.index].start(now)

    def add(
        self, interface: Interface, own: InterfaceAddress, now: int, delayed: bool = False
    ) -> None:
        """Give an interface an IPv6 address, after duplicate detection where that is done."""
        config = self.shared.config
        if not interface.ethernet:
            self.addresses.add(interface, own)
            return
        self.multicast.join(interface, solicited_node(own.address), now)
        if config.dad_transmits == 0:
            self.addresses.add(interface, own)
            return
        if config.optimistic_dad:
            self.addresses.add(interface, own)  # RFC 4429: used at once, defended later
        else:
            own.state = TENTATIVE
            self.addresses.add(interface, own)
        self.dad.start(interface, own, delayed, now)

    def remove(self, interface: Interface, address: bytes, now: int) -> InterfaceAddress | None:
        """Take an IPv6 address away; None if it was not there."""
        own = self.addresses.remove(interface, address)
        if own is not None and interface.ethernet:
            self.dad.stop(interface, address)
            self.multicast.leave(interface, solicited_node(address), now)
        return own

    def _assigned(self, interface: Interface, own: InterfaceAddress, now: int) -> None:
        if own.state == TENTATIVE:
            self.addresses.assigned(interface, own)
            if is_link_local(own.address):
                self.multicast.link_local(interface, now)
        autoconf = self.autoconf.get(interface.index)
        if autoconf is not None:
            autoconf.assigned(own, now)

    def _duplicate(self, interface: Interface, own: InterfaceAddress, now: int) -> None:
        self.remove(interface, own.address, now)
        autoconf = self.autoconf.get(interface.index)
        if own.temporary:
            if autoconf is not None and autoconf.duplicate(own, now):
                return
        elif own.origin != "static":
            another = self.identifiers.another(interface, own.address)
            if another is not None:
                own.address = own.address[:8] + another
                self.add(interface, own, now)
                return
        if self.conflict is not None:
            self.conflict(interface, own, now)

    def advertise(self, interface: Interface, config: RaConfig, now: int) -> RaSender:
        """Send router advertisements on an interface, replacing an earlier configuration."""
        old = self.senders.get(interface.index)
        if old is not None:
            old.replace(config, now)
            return old
        sender = self.senders[interface.index] = RaSender(self, interface, config)
        if ALL_ROUTERS6 not in interface.groups:
            self.multicast.join(interface, ALL_ROUTERS6, now)
        sender.start(now)
        return sender

    # -- sending ----------------------------------------------------------------------------------

    def send(
        self, interface: Interface, src: bytes, dst: bytes, message: Message, now: int
    ) -> bool:
        """Send a message with hop limit 255 on one link."""
        route = Route(Prefix(dst, 128), interface)
        data = message.build6(src, dst)
        return self.ipv6.send(route, src, dst, ICMPV6, (data,), None, now, 255, 0, True, b"", False)

    def link_local(self, interface: Interface) -> bytes | None:
        """The interface's link-local address, if it is assigned."""
        for own in interface.addresses:
            if len(own.address) == 16 and is_link_local(own.address) and own.state != TENTATIVE:
                return own.address
        return None

    def solicit(self, interface: Interface, target: bytes, unicast: bool, now: int) -> None:
        """Ask where ``target`` is, with a source the target can answer (RFC 4861 §7.2.2)."""
        src = self._source(interface, target)
        if src is None:
            self.shared.counters.add("nd.no_source")
            return
        dst = target if unicast else solicited_node(target)
        mac = None if self.dad.testing(interface, src) else interface.mac  # RFC 4429 §3.2
        rest, body = NeighborSolicitation(target, Options(source_mac=mac)).build()
        self.shared.counters.add("nd.solicitations")
        message = Message(wire.NEIGHBOR_SOLICITATION, 0, rest, body)
        self.send(interface, src, dst, message, now)

    def _source(self, interface: Interface, target: bytes) -> bytes | None:
        """The source of the packet that waits, if it is this interface's; else any of ours."""
        waiting = interface.neighbors6.prompting(target)
        if waiting is not None and len(waiting) >= 40:
            src = waiting[8:24]
            for own in interface.addresses:
                if own.address == src and own.state != TENTATIVE:
                    return src
        return self.link_local(interface) or next(
            (
                own.address
                for own in interface.addresses
                if len(own.address) == 16 and own.state != TENTATIVE
            ),
            None,
        )

    def neighbor_failed(self, interface: Interface, target: bytes, now: int) -> None:
        """A neighbour stopped answering: other routers, other first hops (RFC 4861 §7.3.3)."""
        autoconf = self.autoconf.get(interface.index)
        if autoconf is not None:
            autoconf.router_failed(target)
        self.redirects.gateway_failed(target, now)

    # -- receiving --------------------------------------------------------------------------------

    def message(
        self, interface: Interface, frame: Frame, l3: int, l4: int, message: Message, now: int
    ) -> None:
        """A discovery message; untrusted."""
        shared = self.shared
        data = frame.data
        if data[l3 + 7] != 255 or message.code != 0:
            shared.drop(now, "nd.invalid", "RFC 4861 §7.1")
            return
        if not interface.ethernet:
            shared.counters.add("nd.no_link_layer")
            return
        if l3 == 0:
            shared.drop(now, "nd.fragmented", "RFC 6980 §5")  # reassembled packets start at 0
            return
        src, dst = data[l3 + 8 : l3 + 24], data[l3 + 24 : l3 + 40]
        kind = message.type
        if src in shared.local and kind != wire.NEIGHBOR_ADVERTISEMENT:
            shared.drop(now, "nd.own_source", "RFC 4862 §5.4.3")
            return
        if kind == wire.NEIGHBOR_SOLICITATION:
            self._solicited(interface, src, dst, message, now)
        elif kind == wire.NEIGHBOR_ADVERTISEMENT:
            self._advertised(interface, dst, message, now)
        elif kind == wire.ROUTER_ADVERTISEMENT:
            self._router_advertised(interface, src, message, now)
        elif kind == wire.ROUTER_SOLICITATION:
            self._router_solicited(interface, src, message, now)
        else:
            redirect = Redirect.parse(message.rest, message.body)
            if redirect is None:
                shared.drop(now, "nd.malformed", "RFC 4861 §8.1")
            else:
                self.redirects.redirected6(interface, src, redirect, now)

    def _solicited(
        self, interface: Interface, src: bytes, dst: bytes, message: Message, now: int
    ) -> None:
        """RFC 4861 §7.1.1, §7.2.3; RFC 4862 §5.4.3."""
        said = NeighborSolicitation.parse(message.rest, message.body)
        unspecified = src == ANY6
        if said is None or (
            unspecified
            and (dst != solicited_node(said.target) or said.options.source_mac is not None)
        ):
            self.shared.drop(now, "nd.malformed", "RFC 4861 §7.1.1")
            return
        target = said.target
        own = next((a for a in interface.addresses if a.address == target), None)
        if own is None:
            return
        if unspecified and self.dad.testing(interface, target):
            self.dad.solicited(interface, target, said.options.nonce, now)
            return
        if own.state == TENTATIVE:
            return
        mac = said.options.source_mac
        if not unspecified and mac is not None:
            interface.neighbors6.learned(src, mac, now, solicited=False, override=True)
        answer = NeighborAdvertisement(
            target,
            self.shared.config.forwarding,
            not unspecified,
            not self.dad.testing(interface, target),
            Options(target_mac=interface.mac),
        )
        rest, body = answer.build()
        self.shared.counters.add("nd.advertisements")
        self.send(
            interface,
            target,
            ALL_NODES6 if unspecified else src,
            Message(wire.NEIGHBOR_ADVERTISEMENT, 0, rest, body),
            now,
        )

    def _advertised(self, interface: Interface, dst: bytes, message: Message, now: int) -> None:
        """RFC 4861 §7.1.2, §7.2.5; RFC 4862 §5.4.4."""
        said = NeighborAdvertisement.parse(message.rest, message.body)
        if said is None or (dst[0] == 0xFF and said.solicited):
            self.shared.drop(now, "nd.malformed", "RFC 4861 §7.1.2")
            return
        target = said.target
        if any(own.address == target for own in interface.addresses):
            if self.dad.testing(interface, target):
                self.dad.conflict(interface, target, now)
            else:
                self.shared.drop(now, "nd.address_conflict", "RFC 4862 §5.4.4")
            return
        ceased = interface.neighbors6.learned(
            target,
            said.options.target_mac,
            now,
            solicited=said.solicited,
            override=said.override,
            is_router=said.router,
            create=False,
        )
        autoconf = self.autoconf.get(interface.index)
        if autoconf is not None:
            if ceased:
                autoconf.router_ceased(target, now)
            elif said.solicited:
                autoconf.router_answered(target)

    def _router_advertised(
        self, interface: Interface, src: bytes, message: Message, now: int
    ) -> None:
        said = RouterAdvertisement.parse(message.rest, message.body)
        if said is None or not is_link_local(src):
            self.shared.drop(now, "nd.malformed", "RFC 4861 §6.1.2")
            return
        config = self.shared.config
        autoconf = self.autoconf.get(interface.index)
        if config.accept_ra and not config.forwarding and autoconf is not None:
            autoconf.advertised(src, said, now)

    def _router_solicited(
        self, interface: Interface, src: bytes, message: Message, now: int
    ) -> None:
        said = RouterSolicitation.parse(message.rest, message.body)
        if said is None or (src == ANY6 and said.options.source_mac is not None):
            self.shared.drop(now, "nd.malformed", "RFC 4861 §6.1.1")
            return
        sender = self.senders.get(interface.index)
        if sender is None:
            return
        mac = said.options.source_mac
        if src != ANY6 and mac is not None:
            interface.neighbors6.learned(
                src, mac, now, solicited=False, override=True, is_router=False
            )
        sender.solicited(now)

    def servers_changed(self, now: int) -> None:
        """Collect the DNS servers of all interfaces and tell the host."""
        if self.nameservers is not None:
            found: dict[bytes, None] = {}
            for autoconf in self.autoconf.values():
                found.update(dict.fromkeys(autoconf.servers))
            self.nameservers(list(found), now)
