# SPDX-License-Identifier: Apache-2.0
"""What the internet layer hands up: packets to transport handlers, errors about packets of ours.

`IcmpError` is family-neutral: ICMPv4 (RFC 792, 1122 §3.2.2) and ICMPv6 (RFC 4443) messages, and
failures found on this host (no route, no neighbour), reach a transport in the same form.
"""

import errno
from typing import Final, Protocol, final

from capas.base.frame import Frame
from capas.internet.route import Route
from capas.link.interface import Interface

# Kinds of error, one word for both families.
UNREACHABLE_NET: Final = 1
UNREACHABLE_HOST: Final = 2
UNREACHABLE_PROTO: Final = 3
UNREACHABLE_PORT: Final = 4
PACKET_TOO_BIG: Final = 5
SOURCE_ROUTE_FAILED: Final = 6
ADMIN: Final = 7
TIME_EXCEEDED: Final = 8
REASSEMBLY_EXCEEDED: Final = 9
PARAMETER_PROBLEM: Final = 10
UNKNOWN_NEXT_HEADER: Final = 11  # IPv6 parameter problem code 1; IPv4: protocol unreachable
UNKNOWN_OPTION: Final = 12  # IPv6 parameter problem code 2
INCOMPLETE_CHAIN: Final = 13  # IPv6 parameter problem code 3, RFC 7112
SOURCE_QUENCH: Final = 14  # received only, and ignored: RFC 6633
SCOPE: Final = 15  # ICMPv6 beyond scope of source address
REJECT: Final = 16  # ICMPv6 codes 5 and 6

#: Names for people, by kind.
KIND_NAMES: Final[dict[int, str]] = {
    UNREACHABLE_NET: "network unreachable",
    UNREACHABLE_HOST: "host unreachable",
    UNREACHABLE_PROTO: "protocol unreachable",
    UNREACHABLE_PORT: "port unreachable",
    PACKET_TOO_BIG: "packet too big",
    SOURCE_ROUTE_FAILED: "source route failed",
    ADMIN: "administratively prohibited",
    TIME_EXCEEDED: "time exceeded in transit",
    REASSEMBLY_EXCEEDED: "fragment reassembly time exceeded",
    PARAMETER_PROBLEM: "parameter problem",
    UNKNOWN_NEXT_HEADER: "unknown next header",
    UNKNOWN_OPTION: "unknown option",
    INCOMPLETE_CHAIN: "first fragment without the whole header chain",
    SOURCE_QUENCH: "source quench",
    SCOPE: "beyond scope of source address",
    REJECT: "rejected by policy or route",
}

#: What a socket reports (Linux 6.18, net/ipv4/icmp.c icmp_err_convert and net/ipv6/icmp.c).
KIND_ERRNO: Final[dict[int, int]] = {
    UNREACHABLE_NET: errno.ENETUNREACH,
    UNREACHABLE_HOST: errno.EHOSTUNREACH,
    UNREACHABLE_PROTO: errno.ENOPROTOOPT,
    UNREACHABLE_PORT: errno.ECONNREFUSED,
    PACKET_TOO_BIG: errno.EMSGSIZE,
    SOURCE_ROUTE_FAILED: errno.EOPNOTSUPP,
    ADMIN: errno.EHOSTUNREACH,
    TIME_EXCEEDED: errno.EHOSTUNREACH,
    REASSEMBLY_EXCEEDED: errno.EHOSTUNREACH,
    PARAMETER_PROBLEM: errno.EPROTO,
    UNKNOWN_NEXT_HEADER: errno.EPROTO,
    UNKNOWN_OPTION: errno.EPROTO,
    INCOMPLETE_CHAIN: errno.EPROTO,
    SOURCE_QUENCH: 0,
    SCOPE: errno.EHOSTUNREACH,
    REJECT: errno.EACCES,
}


@final
class IcmpError:
    """An error about a packet this host sent.

    ``kind``      one of the constants above; ``type``, ``code``: the wire's (0, 0: found locally)
    ``src``       of the quoted packet (an address of ours); ``dst``: where it was going
    ``reporter``  who says so (our own address for a local failure)
    ``mtu``       PACKET_TOO_BIG: the path MTU now believed, bytes of IP packet; otherwise 0
    ``pointer``   parameter problem: offset of the offending octet from the IP header
    ``ttl``       of the packet that brought the error (0: found locally)
    ``protocol``  transport protocol of the quoted packet
    ``quote``     the quoted packet from its transport header on (8 bytes or more on a good day)
    ``errno``     what a socket reports; ``hard``: whether a connection may be given up for it
    (RFC 1122 §4.2.3.9, RFC 5927 has TCP's own opinion)
    """

    __slots__ = (
        "code",
        "dst",
        "errno",
        "kind",
        "mtu",
        "pointer",
        "protocol",
        "quote",
        "reporter",
        "src",
        "ttl",
        "type",
    )

    def __init__(
        self,
        kind: int,
        type: int,
        code: int,
        src: bytes,
        dst: bytes,
        reporter: bytes,
        protocol: int,
        quote: bytes,
        mtu: int = 0,
        pointer: int = 0,
        ttl: int = 0,
    ) -> None:
        self.kind: int = kind
        self.type: int = type
        self.code: int = code
        self.src: bytes = src
        self.dst: bytes = dst
        self.reporter: bytes = reporter
        self.protocol: int = protocol
        self.quote: bytes = quote
        self.mtu: int = mtu
        self.pointer: int = pointer
        self.ttl: int = ttl
        self.errno: int = KIND_ERRNO.get(kind, errno.EPROTO)

    @property
    def hard(self) -> bool:
        """Whether RFC 1122 §4.2.3.9 calls the error hard (protocol or port unreachable)."""
        return self.kind in (UNREACHABLE_PROTO, UNREACHABLE_PORT, ADMIN, UNKNOWN_NEXT_HEADER)

    def __repr__(self) -> str:
        return f"IcmpError({KIND_NAMES.get(self.kind, self.kind)})"


class TransportHandler(Protocol):
    """A protocol above IP, registered in `Ipv4.protocols` and `Ipv6.protocols`."""

    __slots__ = ()

    def receive(
        self, interface: Interface, frame: Frame, l3: int, l4: int, end: int, now: int
    ) -> None:
        """``frame.data[l4:end]`` is a packet of this protocol, addressed to us."""

    def icmp_error(self, error: IcmpError, now: int) -> bool | None:
        """A packet of this protocol sent by us met an error; validated at IP level.

        False: the quoted packet is none we have sent, so a path MTU it reports is not believed
        (RFC 5927 §7.2, RFC 8201 §4).  Anything else: it may be.
        """


class RedirectSender(Protocol):
    """Who tells hosts of better first hops."""

    def redirect(self, interface: Interface, frame: Frame, l3: int, route: Route, now: int) -> None:
        """The packet leaves by the interface it came from; tell its source, if that may help."""


class PacketFilter(Protocol):
    """Who looks at IPv4 packets that pass a router or come to it (a NAT)."""

    def passing(self, interface: Interface, frame: Frame, l3: int, now: int) -> None:
        """A packet to be forwarded, its header checked: forward it (changed or not) or drop it."""

    def arrived(self, interface: Interface, frame: Frame, l3: int, now: int) -> bool:
        """A whole packet for this host; True: it was taken, and is not delivered."""


class RedirectReceiver(Protocol):
    """Who acts on redirects."""

    def redirected4(
        self,
        interface: Interface,
        reporter: bytes,
        gateway: bytes,
        dst: bytes,
        code: int,
        now: int,
    ) -> None:
        """``reporter`` says that packets to ``dst`` should go by ``gateway``."""


class ErrorSender(Protocol):
    """Who sends ICMP errors about received packets (`capas.internet.icmp.Icmp`)."""

    def error(
        self, interface: Interface, frame: Frame, l3: int, kind: int, now: int, info: int = 0
    ) -> None:
        """Answer the packet at ``frame.data[l3:]`` with an error, if the rules allow one.

        ``info``: the MTU (PACKET_TOO_BIG) or the pointer (parameter problems).
        """
