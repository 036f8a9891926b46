# SPDX-License-Identifier: Apache-2.0
"""What an interface is made of: its addresses, its multicast groups, its counts.

Addresses carry the states of RFC 4862 §2 for both families; groups are those of RFC 1112 and
RFC 3810 joined on this link.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, final

from capas.base.clock import NEVER
from capas.base.frame import Frame
from capas.wire.address import ALL_NODES6, ALL_SYSTEMS4, Prefix, multicast_mac

if TYPE_CHECKING:
    from capas.link.interface import Interface

TENTATIVE: Final = 0  # duplicate detection is not over (RFC 4862 §5.4, RFC 5227 §2.1)
PREFERRED: Final = 1
DEPRECATED: Final = 2  # valid, not for new communication (RFC 4862 §5.5.4)


@final
class InterfaceAddress:
    """An address of an interface.

    ``state``    TENTATIVE | PREFERRED | DEPRECATED; times in ns; ``origin`` "static", "slaac",
    "linklocal" or "dhcp"
    ``temporary``  RFC 8981; beside a public one of the same origin
    ``settled``  called once when a TENTATIVE IPv4 address is ours (True) or another's (False)
    """

    __slots__ = (
        "_prefix",
        "address",
        "origin",
        "preferred_until",
        "prefix_length",
        "settled",
        "state",
        "temporary",
        "valid_until",
    )

    def __init__(
        self,
        address: bytes,
        prefix_length: int,
        state: int = PREFERRED,
        valid_until: int = NEVER,
        preferred_until: int = NEVER,
        origin: str = "static",
        temporary: bool = False,
    ) -> None:
        self.address: bytes = address
        self.prefix_length: int = prefix_length
        self.state: int = state
        self.valid_until: int = valid_until
        self.preferred_until: int = preferred_until
        self.origin: str = origin
        self.temporary: bool = temporary
        self.settled: Callable[[bool], object] | None = None
        self._prefix: Prefix = Prefix(address, prefix_length)

    def prefix(self) -> Prefix:
        """The prefix on this link; it stays when a duplicate gets another interface identifier."""
        return self._prefix


#: The groups every interface is in: RFC 1112 §7.2, RFC 4291 §2.8.
_ALL: Final = {ALL_SYSTEMS4: 1, ALL_NODES6: 1}
_ALL_MACS: Final = {multicast_mac(group): 1 for group in _ALL}


@final
class Groups(dict[bytes, int]):
    """Joined multicast groups by reference count; the MAC filter ``macs`` follows every change."""

    def __init__(self) -> None:
        super().__init__(_ALL)
        self.macs: dict[bytes, int] = dict(_ALL_MACS)

    def __setitem__(self, group: bytes, count: int) -> None:
        if group not in self:
            mac = multicast_mac(group)
            self.macs[mac] = self.macs.get(mac, 0) + 1
        super().__setitem__(group, count)

    def __delitem__(self, group: bytes) -> None:
        super().__delitem__(group)
        mac = multicast_mac(group)
        left = self.macs[mac] - 1
        if left:
            self.macs[mac] = left
        else:
            del self.macs[mac]

    def join(self, group: bytes) -> bool:
        """One more listener; True for the first."""
        count = self.get(group, 0)
        self[group] = count + 1
        return count == 0

    def leave(self, group: bytes) -> bool:
        """One listener less; True for the last."""
        count = self.get(group, 0)
        if count > 1:
            self[group] = count - 1
        elif count == 1:
            del self[group]
        return count == 1


@final
class Stats:
    """Frames and bytes, a super-frame counting once."""

    __slots__ = ("rx_bytes", "rx_frames", "tx_bytes", "tx_frames")

    def __init__(self) -> None:
        self.rx_frames: int = 0
        self.rx_bytes: int = 0
        self.tx_frames: int = 0
        self.tx_bytes: int = 0


class NetworkHandler(Protocol):
    """A network layer (or ARP), registered by EtherType."""

    __slots__ = ()

    def receive(self, interface: "Interface", frame: Frame, l3: int, now: int) -> None:
        """A packet starts at ``frame.data[l3]``."""


class Tap(Protocol):
    """Sees every frame of an interface, as tcpdump does: super-frames before they are split."""

    def captured(self, interface: "Interface", frame: Frame, outgoing: bool, now: int) -> None:
        """A frame came in or goes out."""
