# SPDX-License-Identifier: Apache-2.0
"""Python's socket addresses to packed ones and back, with the errors CPython raises.

``("192.0.2.1", 80)`` and ``("2001:db8::1", 80, flowinfo, scope_id)``.  "" is the wildcard,
"<broadcast>" is 255.255.255.255, a name is looked up.  On an IPv6 socket an IPv4 peer shows as
``::ffff:a.b.c.d`` (RFC 3493 §3.7).  Scope ids are interface indices.
"""

import errno
import operator
import os
from collections.abc import Callable
from socket import AF_INET, AF_INET6, EAI_NONAME, gaierror
from typing import Any

from capas.host.host import Host
from capas.sockets.description import Address
from capas.sockets.failure import fail
from capas.wire import address as addr

Lookup = Callable[[str, int], bytes]  # (name, family) -> packed address


def parse(host: Host, family: int, address: Any, caller: str, lookup: Lookup) -> Address:
    """The packed form of what a program handed to ``caller`` ("bind", "connect", "sendto")."""
    v6 = family == AF_INET6
    name = "AF_INET6" if v6 else "AF_INET"
    if not isinstance(address, tuple):
        kind = type(address).__name__
        raise TypeError(f"{caller}(): {name} address must be tuple, not {kind}")
    if not 2 <= len(address) <= (4 if v6 else 2):
        wanted = "a tuple (host, port[, flowinfo[, scopeid]])" if v6 else "a pair (host, port)"
        raise TypeError(f"{name} address must be {wanted}")
    port = operator.index(address[1])
    if not 0 <= port <= 0xFFFF:
        raise OverflowError(f"{caller}(): port must be 0-65535.")
    flow = operator.index(address[2]) if len(address) > 2 else 0
    if not 0 <= flow <= 0xFFFFF:
        raise OverflowError(f"{caller}(): flowinfo must be 0-1048575.")
    scope = operator.index(address[3]) if len(address) > 3 else 0
    packed, zone = resolve(host, family, _text(address[0]), lookup)
    if zone:
        scope = zone
    elif not (addr.is_link_local(packed) or addr.is_multicast(packed)):
        scope = 0  # of no meaning (Linux)
    return addr.unmap_v4(packed) if v6 else packed, port, scope


def _text(host: Any) -> str:
    if isinstance(host, str):
        if "\0" in host:
            raise ValueError("embedded null character")
        return host
    if isinstance(host, bytes | bytearray):
        return bytes(host).decode("ascii")
    kind = type(host).__name__
    raise TypeError(f"str, bytes or bytearray expected, not {kind}")


def resolve(host: Host, family: int, name: str, lookup: Lookup) -> tuple[bytes, int]:
    """(packed address of ``family``, zone index) of a numeric address or a name."""
    v6 = family == AF_INET6
    if not name:
        return (addr.ANY6 if v6 else addr.ANY4), 0
    if name in ("<broadcast>", "255.255.255.255") and not v6:
        return addr.BROADCAST4, 0
    found = numeric(host, name)
    if found is not None:
        packed, zone = found
        if len(packed) == 4 and v6:
            raise gaierror(_FAMILY, "Address family for hostname not supported")
        if not v6:
            packed = addr.unmap_v4(packed)
        if len(packed) == 16 and not v6:
            raise gaierror(_FAMILY, "Address family for hostname not supported")
        return packed, zone
    if name == "<broadcast>":
        raise OSError("address family mismatched")
    return lookup(name, family), 0


_FAMILY = -9  # EAI_ADDRFAMILY, glibc


def numeric(host: Host, name: str) -> tuple[bytes, int] | None:
    """(packed, zone index) of "10.0.0.1", "fe80::1%eth0"; None if it is a name."""
    text, percent, zone = name.partition("%")
    try:
        packed = addr.parse(text)
    except ValueError:
        return _legacy(name)
    if not percent:
        return packed, 0
    index = zone_index(host, zone) if is_scoped(packed) else None
    if index is None and zone.isascii() and zone.isdigit():
        index = int(zone)  # of whatever, as in glibc
    if index is None or len(packed) == 4:
        raise gaierror(EAI_NONAME, "Name or service not known")
    return packed, index


def is_scoped(packed: bytes) -> bool:
    """fe80::/10 and ff02::/16: addresses that mean something on one link only."""
    return len(packed) == 16 and (addr.is_link_local(packed) or packed[:2] == b"\xff\x02")


def require_scope(host: Host, address: Address, device: int, *, known: bool) -> None:
    """EINVAL for a link-local address without a link (RFC 4007 §6); ENODEV if it must be known.

    ``device`` is what the socket is bound to, by SO_BINDTODEVICE or by an address.
    """
    packed, _, scope = address
    if len(packed) == 4 or not addr.is_link_local(packed):
        return
    if not (scope or device):
        raise fail(errno.EINVAL)
    if known and scope and host.net.interface(scope) is None:
        raise fail(errno.ENODEV)


def _legacy(name: str) -> tuple[bytes, int] | None:
    """inet_aton's short forms: "127.1", "0x7f000001"."""
    if not name or name[0] not in "0123456789":
        return None
    parts = name.split(".")
    if len(parts) > 4:
        return None
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return None
    *head, last = numbers
    if any(n > 255 for n in head) or last >= 256 ** (4 - len(head)):
        return None
    value = 0
    for n in head:
        value = value << 8 | n
    return (value << 8 * (4 - len(head)) | last).to_bytes(4, "big"), 0


def _number(text: str) -> int:
    if not text.isalnum():
        raise ValueError(text)
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text, 8 if text[0] == "0" else 10)


def zone_index(host: Host, zone: str) -> int | None:
    """The interface index a zone id names, by name or number."""
    for interface in host.interfaces:
        if interface.name == zone or str(interface.index) == zone:
            return interface.index
    return None


def interfaces(host: Host) -> list[tuple[int, str]]:
    """if_nameindex(3): (index, name) of each interface."""
    return [(interface.index, interface.name) for interface in host.interfaces]


def interface_index(host: Host, name: str | bytes) -> int:
    """if_nametoindex(3); OSError."""
    wanted = os.fsdecode(name)
    for interface in host.interfaces:
        if interface.name == wanted:
            return interface.index
    raise OSError("no interface with this name")


def interface_name(host: Host, index: int) -> str:
    """if_indextoname(3); ENXIO."""
    if not 0 <= operator.index(index) < 1 << 32:
        raise OverflowError("an interface index is an unsigned int")
    for interface in host.interfaces:
        if interface.index == index:
            return interface.name
    raise fail(errno.ENXIO)


def form(family: int, address: Address) -> tuple[Any, ...]:
    """Python's tuple of a packed address on a socket of ``family``."""
    packed, port, scope = address
    if family == AF_INET:
        return addr.text(packed), port
    if len(packed) == 4:
        return "::ffff:" + addr.text(packed), port, 0, 0
    return addr.text(packed), port, 0, scope if addr.is_link_local(packed) else 0


def reached(v6: bool, v6only: bool, packed: bytes, local: bytes) -> bytes:
    """Where what a socket sends from ``local`` to ``packed`` goes: to nobody is to oneself (Linux).

    An IPv6 socket reaches IPv4 unless it is IPV6_V6ONLY, and from an IPv4 address nothing else.
    """
    if addr.is_unspecified(packed):
        packed = addr.oneself(packed, local)
    if v6 and len(packed) == 4 and v6only:
        raise fail(errno.ENETUNREACH)
    if v6 and len(packed) == 16 and len(local) == 4:
        raise fail(errno.EAFNOSUPPORT)
    return packed
