# SPDX-License-Identifier: Apache-2.0
"""What a host sends frames into and gets frames from.

A `Link` is anything that accepts a `Frame`: a simulated wire, a TAP or TUN, a pipe, the loopback.
It never calls back into the stack from inside `transmit` (convention 17).
"""

from abc import ABC, abstractmethod
from collections import deque
from enum import Enum
from typing import Final, Protocol, final

from capas.base.frame import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Frame
from capas.base.native import mypyc_attr
from capas.link.offload import cut

ETHERNET_MTU: Final = 1500  # bytes of IP packet, RFC 894
LOOPBACK_MTU: Final = 65536  # bytes, Linux 6.18, drivers/net/loopback.c
GSO_MAX_BYTES: Final = 65_536  # bytes of IP packet, as in the kernel's GSO_LEGACY_MAX_SIZE


class Medium(Enum):
    """What a frame begins with."""

    ETHERNET = "ethernet"
    IP = "ip"  # TUN, pipes: the IP header comes first
    LOOPBACK = "loopback"  # as IP, and every frame comes back


@final
class LinkCaps:
    """What a link can take off the stack's hands.

    ``mtu``        largest IP packet on the wire, bytes
    ``medium``     `Medium`
    ``csum``       True: it accepts CSUM_PARTIAL frames (finishes or declares the checksum)
    ``gso_types``  tuple of GSO_* it accepts as super-frames; empty: none
    ``gso_max``    largest IP packet of a super-frame, bytes
    ``train``      bytes TCP may send at once, which the interface cuts into super-frames, their
                   payload apart (`Frame.body`); on a link without super-frames into segments; 0: as
                   much as fits one frame
    """

    __slots__ = ("csum", "gso_max", "gso_types", "medium", "mtu", "train")

    def __init__(
        self,
        mtu: int = ETHERNET_MTU,
        medium: Medium = Medium.ETHERNET,
        csum: bool = False,
        gso_types: tuple[int, ...] = (),
        gso_max: int = GSO_MAX_BYTES,
        train: int = 0,
    ) -> None:
        self.mtu: int = mtu
        self.medium: Medium = medium
        self.csum: bool = csum
        self.gso_types: tuple[int, ...] = gso_types
        self.gso_max: int = gso_max if gso_types else mtu
        self.train: int = train

    def without_trains(self) -> "LinkCaps":
        """The same for a link that looks into frames."""
        if not self.train:
            return self
        return LinkCaps(self.mtu, self.medium, self.csum, self.gso_types, self.gso_max)


ALL_GSO: Final = (GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4)


_NOBODY: Final = None  # by a name: mypyc forgets a default that is a bare None of a Protocol


class FrameSink(Protocol):
    """Where a link delivers."""

    __slots__ = ()

    def receive(self, frame: Frame, now: int) -> None:
        """A frame has arrived."""

    def link_ready(self, now: int) -> None:
        """The link, busy before, accepts frames again."""


class Shortcut(Protocol):
    """What a link may ask before its sink: frames that a router only passes on."""

    __slots__ = ()

    def take(self, frame: Frame, now: int) -> bool:
        """Whether the frame is dealt with: then nothing else of the host has changed."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Link(ABC):
    """One attachment of one interface."""

    caps: LinkCaps
    sink: FrameSink | None = _NOBODY
    shortcut: Shortcut | None = _NOBODY

    @abstractmethod
    def transmit(self, frame: Frame) -> bool:
        """Take ``frame`` (at ``frame.time``).  False: busy, try after ``sink.link_ready``."""

    def transmit_train(self, frame: Frame, l3: int) -> tuple[int, list[Frame]]:
        """Take a train (`LinkCaps.train`) in super-frames: how many it took, and the others."""
        return 0, cut(frame, l3, self.caps.gso_max)


@final
class Loopback(Link):
    """What is sent comes back: frames wait in a bounded queue until the host drains it."""

    def __init__(self, limit: int = 1000) -> None:
        self.caps = LinkCaps(LOOPBACK_MTU, Medium.LOOPBACK, True, ALL_GSO)
        self.sink = None
        self.queue: deque[Frame] = deque()
        self.limit: int = limit  # frames

    def transmit(self, frame: Frame) -> bool:
        """Queue ``frame``; False: full, until the host has drained some."""
        if len(self.queue) >= self.limit:
            return False
        self.queue.append(frame)
        return True
