# SPDX-License-Identifier: Apache-2.0
"""Which source address to send from, and in which order to try destinations (RFC 6724).

IPv6 follows all rules of §5 that have a meaning here (4 needs mobility); IPv4 takes the route's
preferred source, or the interface's address that shares the longest prefix with the next hop, or
its first.  `order` is §6, for getaddrinfo.
"""

from collections.abc import Callable
from typing import Final, final

from capas.internet.route import Route
from capas.internet.shared import UNICAST, Shared
from capas.link.interface import DEPRECATED, TENTATIVE, Interface, InterfaceAddress
from capas.wire.address import (
    LOOPBACK4,
    LOOPBACK6,
    Prefix,
    common_prefix,
    is_link_local,
    is_loopback,
    is_multicast,
    map_v4,
)

LINK_LOCAL: Final = 2  # scopes, RFC 4291 §2.7
SITE_LOCAL: Final = 5
GLOBAL: Final = 14

PREFER_TEMPORARY: Final = 1  # what a program may ask for instead of the host's rule 7 (RFC 5014)
PREFER_PUBLIC: Final = 2


@final
class Policy:
    """The policy table of RFC 6724 §2.1: (prefix, precedence, label), longest prefix first."""

    __slots__ = ("rows",)

    def __init__(self, rows: list[tuple[str, int, int]] | None = None) -> None:
        table = [(Prefix.parse(text), p, label) for text, p, label in rows or DEFAULT_POLICY]
        table.sort(key=lambda row: -row[0].length)
        self.rows: list[tuple[Prefix, int, int]] = table

    def find(self, address: bytes) -> tuple[int, int]:
        """(precedence, label) of an address; IPv4 counts as IPv4-mapped."""
        if len(address) == 4:
            address = map_v4(address)
        for prefix, precedence, label in self.rows:
            if prefix.contains(address):
                return precedence, label
        return 40, 1


#: RFC 6724 §2.1.
DEFAULT_POLICY: Final[list[tuple[str, int, int]]] = [
    ("::1/128", 50, 0),
    ("::/0", 40, 1),
    ("::ffff:0:0/96", 35, 4),
    ("2002::/16", 30, 2),
    ("2001::/32", 5, 5),
    ("fc00::/7", 3, 13),
    ("::/96", 1, 3),
    ("fec0::/10", 1, 11),
    ("3ffe::/16", 1, 12),
]

POLICY: Final = Policy()


def scope(address: bytes) -> int:
    """The scope of an address (RFC 6724 §3.1, §3.2)."""
    if len(address) == 16 and address[0] == 0xFF:
        return address[1] & 15
    if is_link_local(address) or is_loopback(address):
        return LINK_LOCAL
    if len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0xC0:
        return SITE_LOCAL
    return GLOBAL


def select(
    shared: Shared, dst: bytes, route: Route, policy: Policy = POLICY, prefer: int = 0
) -> bytes | None:
    """The source address for packets to ``dst`` by ``route``; None if there is none to use."""
    if route.source is not None:
        return route.source
    if route.interface is shared.loopback:
        if shared.local.get(dst) == UNICAST:
            return dst
        if is_loopback(dst):
            return dst if len(dst) == 16 else LOOPBACK4 if dst[1:] == b"\0\0\1" else dst
    if len(dst) == 4:
        return select4(shared, dst, route)
    return select6(shared, dst, route, policy, prefer)


def select4(shared: Shared, dst: bytes, route: Route) -> bytes | None:
    """IPv4: an address of the outgoing interface, else of any (weak host model)."""
    target = route.gateway or dst
    best: InterfaceAddress | None = None
    rank = (False, False, -1)
    for interface in (route.interface, *shared.interfaces):
        for own in interface.addresses:
            if len(own.address) != 4 or own.state == TENTATIVE:
                continue
            outgoing = interface is route.interface
            if is_loopback(own.address) and not outgoing:
                continue
            common = min(common_prefix(own.address, target), own.prefix_length)
            on_link = common >= own.prefix_length
            key = (own.state != DEPRECATED, on_link, common if on_link else 0)
            if best is None or key > rank:
                best, rank = own, key
        if best is not None:
            return best.address
    return None


def select6(
    shared: Shared, dst: bytes, route: Route, policy: Policy = POLICY, prefer: int = 0
) -> bytes | None:
    """IPv6: RFC 6724 §5; ``prefer``: PREFER_TEMPORARY, PREFER_PUBLIC or 0, as the host does."""
    outgoing = route.interface
    dst_scope = scope(dst)
    strict = is_multicast(dst) or dst_scope == LINK_LOCAL  # §4: only the outgoing interface's
    interfaces: tuple[Interface, ...] | list[Interface] = (
        (outgoing,) if strict or _has_candidate(outgoing, dst_scope) else shared.interfaces
    )
    _, dst_label = policy.find(dst)
    temporary = prefer == PREFER_TEMPORARY or (not prefer and shared.config.use_tempaddr >= 2)
    best: bytes | None = None
    rank: tuple[bool, int, int, bool, bool, bool, bool, int] | None = None
    for interface in interfaces:
        for own in interface.addresses:
            address = own.address
            if len(address) != 16 or own.state == TENTATIVE:
                continue
            if address == LOOPBACK6 and outgoing is not shared.loopback:
                continue
            own_scope = scope(address)
            if own_scope == LINK_LOCAL and interface is not outgoing:
                continue
            wide = own_scope >= dst_scope
            key = (
                address == dst,  # rule 1
                1 if wide else 0,  # rule 2, with the next line
                -own_scope if wide else own_scope,
                own.state != DEPRECATED,  # rule 3
                interface is outgoing,  # rule 5
                policy.find(address)[1] == dst_label,  # rule 6
                own.temporary == temporary,  # rule 7
                min(common_prefix(address, dst), own.prefix_length),  # rule 8
            )
            if rank is None or key > rank:
                best, rank = address, key
    return best


def _has_candidate(interface: Interface, wanted: int) -> bool:
    """Whether the interface has an IPv6 address of at least the scope wanted."""
    for own in interface.addresses:
        if len(own.address) == 16 and own.state != TENTATIVE and scope(own.address) >= wanted:
            return True
    return False


def order(
    destinations: list[bytes],
    source_of: Callable[[bytes], bytes | None],
    deprecated: Callable[[bytes], bool],
    policy: Policy = POLICY,
) -> list[bytes]:
    """Destinations, best first (RFC 6724 §6); equal ones keep their order (rule 10)."""

    def key(dst: bytes) -> tuple[bool, bool, bool, bool, int, int, int]:
        src = source_of(dst)
        if src is None:
            return (True, True, True, True, 0, 0, 0)
        precedence, label = policy.find(dst)
        dst_scope = scope(dst)
        common = min(common_prefix(src, dst), 64) if len(dst) == 16 else 0
        return (
            False,  # rule 1: unusable ones last
            scope(src) != dst_scope,  # rule 2
            deprecated(src),  # rule 3
            policy.find(src)[1] != label,  # rule 5
            -precedence,  # rule 6
            dst_scope,  # rule 8
            -common,  # rule 9: only among IPv6, precedences being equal
        )

    return sorted(destinations, key=key)
