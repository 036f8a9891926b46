# SPDX-License-Identifier: Apache-2.0
"""Router advertisements, the sending side (RFC 4861 §6.2, RFC 8106 §5.3).

Unsolicited ones at random intervals, the first three quickly; solicited ones after a random delay,
multicast at most once in MIN_DELAY_BETWEEN_RAS; a last one with lifetime 0 when the router stops.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from capas.base.clock import MS, NEVER, SECOND, Timer
from capas.link.interface import TENTATIVE, Interface
from capas.wire import icmp as wire
from capas.wire.address import ALL_NODES6, is_link_local
from capas.wire.icmp import Message
from capas.wire.ndp import Options, PrefixInfo, RouterAdvertisement

if TYPE_CHECKING:
    from capas.internet.nd import Nd

# RFC 4861 §10.
MAX_INITIAL_INTERVAL: Final = 16 * SECOND
MAX_INITIAL: Final = 3
MIN_DELAY_BETWEEN_RAS: Final = 3 * SECOND
MAX_RA_DELAY: Final = 500 * MS
WAIT_FOR_ADDRESS: Final = 100 * MS  # while the link-local address is still tentative


@dataclass(slots=True)
class RaConfig:
    """What a router advertises on one interface (RFC 4861 §6.2.1); intervals ns, the rest as sent.

    ``prefixes`` None: the prefixes of the interface's own static addresses.
    """

    prefixes: list[PrefixInfo] | None = None
    lifetime: int = 1800  # seconds; 0: no default router
    min_interval: int = 200 * SECOND
    max_interval: int = 600 * SECOND
    managed: bool = False
    other: bool = False
    preference: int = 0  # RFC 4191: 1 high, 0 medium, -1 low
    mtu: int = 0  # 0: the option is left out
    hop_limit: int = 64
    reachable: int = 0  # ms
    retrans: int = 0  # ms
    rdnss: list[bytes] = field(default_factory=list)
    rdnss_lifetime: int = 1800  # seconds
    dnssl: list[str] = field(default_factory=list)


@final
class RaSender(Timer):
    """The advertisements of one interface; fires when one is due."""

    __slots__ = ("_last", "_nd", "_rng", "config", "interface", "sent")

    def __init__(self, nd: "Nd", interface: Interface, config: RaConfig) -> None:
        super().__init__()
        self._nd: Nd = nd
        self._rng = nd.shared.rng.stream(f"ra:{interface.name}")
        self._last: int = -NEVER
        self.interface: Interface = interface
        self.config: RaConfig = config
        self.sent: int = 0

    def start(self, now: int) -> None:
        """Advertise now and then on."""
        self.fire(now)

    def replace(self, config: RaConfig, now: int) -> None:
        """Another configuration: tell it at once, as often as at the start."""
        self.config = config
        self.sent = 0
        self.fire(now)

    def stop(self, now: int) -> None:
        """Tell the hosts that this is no default router any more (RFC 4861 §6.2.5)."""
        self._nd.shared.scheduler.cancel(self)
        self._nd.senders.pop(self.interface.index, None)
        self._send(0, now)

    def solicited(self, now: int) -> None:
        """A host asks (RFC 4861 §6.2.6)."""
        when = now + self._rng.below(MAX_RA_DELAY + 1)
        when = max(when, self._last + MIN_DELAY_BETWEEN_RAS)
        if when < self.deadline:
            self._nd.shared.scheduler.at(when, self)

    def fire(self, now: int) -> None:
        """Advertise, and arm for the next time."""
        at = self._nd.shared.scheduler.at
        if not self._send(self.config.lifetime, now):
            at(now + WAIT_FOR_ADDRESS, self)
            return
        self._last = now
        self.sent += 1
        config = self.config
        interval = self._rng.between(config.min_interval, config.max_interval)
        if self.sent < MAX_INITIAL:
            interval = min(interval, MAX_INITIAL_INTERVAL)
        at(now + interval, self)

    def _send(self, lifetime: int, now: int) -> bool:
        nd, config = self._nd, self.config
        src = nd.link_local(self.interface)
        if src is None:
            return False
        options = Options(
            source_mac=self.interface.mac,
            prefixes=tuple(self._prefixes()),
            mtu=config.mtu or None,
            rdnss=((config.rdnss_lifetime, tuple(config.rdnss)),) if config.rdnss else (),
            dnssl=((config.rdnss_lifetime, tuple(config.dnssl)),) if config.dnssl else (),
        )
        rest, body = RouterAdvertisement(
            config.hop_limit,
            config.managed,
            config.other,
            config.preference,
            lifetime,
            config.reachable,
            config.retrans,
            options,
        ).build()
        nd.shared.counters.add("nd.router_advertisements")
        message = Message(wire.ROUTER_ADVERTISEMENT, 0, rest, body)
        nd.send(self.interface, src, ALL_NODES6, message, now)
        return True

    def _prefixes(self) -> list[PrefixInfo]:
        if self.config.prefixes is not None:
            return self.config.prefixes
        found: dict[tuple[bytes, int], PrefixInfo] = {}
        for own in self.interface.addresses:
            address = own.address
            if len(address) == 16 and not is_link_local(address) and own.state != TENTATIVE:
                prefix = own.prefix()
                found[prefix.address, prefix.length] = PrefixInfo(prefix.address, prefix.length)
        return list(found.values())
