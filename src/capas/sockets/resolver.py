# SPDX-License-Identifier: Apache-2.0
"""getaddrinfo and getnameinfo of a host (RFC 3493 §6, RFC 6724 §6).

Names come from the host's table (`Host.names`), from "localhost" (RFC 6761 §6.3), from the host's
own name, then from its name servers.  What has to be asked is a generator of `dns.Ask`, so that one
text serves blocking programs (`getaddrinfo` here) and event loops (`capas.aio.names`).
Results and errors are those of CPython's functions with glibc.
"""

import errno
import operator
import re
import socket as std
import sys
from collections.abc import Generator
from typing import Any, Final, TypeVar

from capas.base.rng import Rng
from capas.host.host import Host
from capas.sockets import dns
from capas.sockets.addresses import is_scoped, numeric, resolve
from capas.sockets.services import port_of, service_of
from capas.wire import address as addr

T = TypeVar("T")
Info = tuple[std.AddressFamily, std.SocketKind, int, str, tuple[Any, ...]]
Kind = tuple[std.SocketKind, int, str]
Resolving = Generator[dns.Ask, bytes | None, T]

_EAI_ADDRFAMILY: Final = -9  # glibc
_V4MAPPED: Final = int(getattr(std, "AI_V4MAPPED", 8))
_ADDRCONFIG: Final = int(getattr(std, "AI_ADDRCONFIG", 0x20))
_NUMERICSERV: Final = int(getattr(std, "AI_NUMERICSERV", 0x400))
_ALLOWED: Final = sum(
    {
        int(getattr(std, name, linux))
        for name, linux in (
            ("AI_PASSIVE", 1),
            ("AI_CANONNAME", 2),
            ("AI_NUMERICHOST", 4),
            ("AI_V4MAPPED", 8),
            ("AI_ALL", 0x10),
            ("AI_ADDRCONFIG", 0x20),
            ("AI_IDN", 0x40),
            ("AI_CANONIDN", 0x80),
            ("AI_NUMERICSERV", 0x400),
        )
    }
)
_DIGITS: Final = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+")
_LONG: Final = 1 << 63
_ANY_INT: Final = sys.version_info >= (3, 12)  # CPython hands ports on as text
_ULONG_MAX: Final = (1 << 64) - 1
_SIZES: Final = {int(std.AF_INET): 4, int(std.AF_INET6): 16}

#: (type, protocol) in the order glibc answers
_RAW: Final[Kind] = (std.SocketKind(3), 0, "")
_KINDS: Final[tuple[Kind, ...]] = (
    (std.SOCK_STREAM, 6, "tcp"),
    (std.SOCK_DGRAM, 17, "udp"),
    _RAW,
)


def message_ids(host: Host) -> Rng:
    """Where the host's DNS message ids come from."""
    if host.message_ids is None:
        host.message_ids = host.rng.stream("dns")
    return host.message_ids


def gai_error(code: int, text: str) -> std.gaierror:
    """The error getaddrinfo raises."""
    return std.gaierror(code, text)


# -- names to addresses ---------------------------------------------------------------------------


def known(host: Host, name: str) -> list[bytes]:
    """The addresses of a name that nobody has to be asked for."""
    plain = name.rstrip(".").lower()
    found = host.names.get(name) or host.names.get(plain)
    if found:
        return list(found)
    if plain == "localhost" or plain.endswith(".localhost"):
        return [addr.LOOPBACK6, addr.LOOPBACK4]
    if plain == host.name.lower():
        own = [a.address for link in host.interfaces for a in link.addresses]
        routable = [a for a in own if not addr.is_loopback(a) and not addr.is_link_local(a)]
        return routable or [addr.LOOPBACK6, addr.LOOPBACK4]
    return []


def resolving(host: Host, name: str, size: int) -> Resolving[list[bytes]]:
    """The addresses of ``name``, best first; ``size`` 4, 16 or 0 (both).  Raises gaierror."""
    found = known(host, name)
    if not found and host.nameservers:
        kinds = {4: (dns.A,), 16: (dns.AAAA,)}.get(size, (dns.A, dns.AAAA))
        for candidate in _candidates(host, name):
            asked = yield from dns.lookup(candidate, kinds, host.nameservers, message_ids(host))
            if asked is None:
                raise gai_error(std.EAI_AGAIN, "Temporary failure in name resolution")
            found = asked
            if found:
                break
    found = [address for address in found if size in (0, len(address))]
    if not found:
        raise gai_error(std.EAI_NONAME, "Name or service not known")
    unique = list(dict.fromkeys(found))
    return host.net.order(unique) if len(unique) > 1 else unique


def _candidates(host: Host, name: str) -> list[str]:
    """What to ask for: a name without a dot in the search domains first (RFC 1535 §6)."""
    return [name] if "." in name else [*(f"{name}.{domain}" for domain in host.search), name]


def _ports(port: Any, kinds: list[Kind], flags: int) -> dict[Kind, int]:
    """The port of each kind of socket that has the service."""
    if isinstance(port, bytes):
        port = port.decode("ascii")
    if port is None or (isinstance(port, str) and not port.encode()):  # else UnicodeEncodeError
        return dict.fromkeys(kinds, 0)
    if type(port) is not int and not isinstance(port, str):
        raise OSError("Int or String expected")
    found: dict[Kind, int] = {}
    number = _number(port)
    if number is None:
        if flags & _NUMERICSERV:
            raise gai_error(std.EAI_NONAME, "Name or service not known")
        named = {kind: port_of(str(port), kind[2]) for kind in kinds if kind[2]}
        found = {kind: one for kind, one in named.items() if one is not None}
    elif number >= 0 and kinds != [_RAW]:  # which has no services
        found = dict.fromkeys(kinds, number & 0xFFFF)
    if not found:
        raise gai_error(std.EAI_SERVICE, "Servname not supported for ai_socktype")
    return found


def _number(port: int | str) -> int | None:
    """A port as glibc reads it: by strtoul(3) into a C int; None: it is a name."""
    if isinstance(port, str) and not _DIGITS.fullmatch(port):
        return None
    if isinstance(port, int) and not _ANY_INT and not -_LONG <= port < _LONG:
        raise OverflowError("Python int too large to convert to C long")
    number = int(port)
    if abs(number) > _ULONG_MAX:
        number = _ULONG_MAX
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def _text(name: Any) -> str | None:
    if isinstance(name, str):
        name.encode("idna")  # UnicodeError: a label is empty, or too long
        return name
    if isinstance(name, bytes):
        return name.decode("ascii")
    if name is not None:
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    return None


def infos(
    host: Host, name: Any, port: Any, family: int, type: int, proto: int, flags: int
) -> Resolving[list[Info]]:
    """What getaddrinfo answers; a generator of what has to be asked."""
    text = _text(name)
    if flags & ~_ALLOWED or (flags & std.AI_CANONNAME and text is None):
        raise gai_error(std.EAI_BADFLAGS, "Bad value for ai_flags")
    if text == "" or (text is None and port is None):
        raise gai_error(std.EAI_NONAME, "Name or service not known")
    if family not in (0, int(std.AF_INET), int(std.AF_INET6)):
        raise gai_error(std.EAI_FAMILY, "ai_family not supported")
    kinds = [k for k in _KINDS if type in (0, int(k[0])) and proto in (0, k[1])]
    if not kinds and type in (0, 3):
        kinds = [_RAW]
    if not kinds:
        raise gai_error(std.EAI_SOCKTYPE, "ai_socktype not supported")
    ports = _ports(port, kinds, flags)
    size = _SIZES.get(family, 0)
    scope = 0
    literal = numeric(host, text) if text else None
    if text is None:
        addresses = _unnamed(size, flags)
    elif literal is not None:
        packed, scope = literal
        if size == 16 and len(packed) == 4 and flags & _V4MAPPED:
            packed = addr.map_v4(packed)
        elif size == 4:
            packed = addr.unmap_v4(packed)
        if size not in (0, len(packed)):
            raise gai_error(_EAI_ADDRFAMILY, "Address family for hostname not supported")
        addresses = [packed]
    elif flags & std.AI_NUMERICHOST:
        raise gai_error(std.EAI_NONAME, "Name or service not known")
    else:
        addresses = yield from _named(host, text, size, flags)
    canonical = text or "" if flags & std.AI_CANONNAME else ""
    found: list[Info] = []
    for address in addresses:
        for (kind, protocol, _), number in ports.items():
            where = _sockaddr(address, number, scope)
            of = std.AF_INET if len(address) == 4 else std.AF_INET6
            found.append((of, kind, protocol or proto, canonical, where))
            canonical = ""
    return found


def _unnamed(size: int, flags: int) -> list[bytes]:
    if flags & std.AI_PASSIVE:
        both = [addr.ANY4, addr.ANY6]
    else:
        both = [addr.LOOPBACK6, addr.LOOPBACK4]
    return [address for address in both if size in (0, len(address))]


def _named(host: Host, name: str, size: int, flags: int) -> Resolving[list[bytes]]:
    if size == 16 and flags & _V4MAPPED:
        found = yield from resolving(host, name, 0)
        six = [address for address in found if len(address) == 16]
        return six or [addr.map_v4(address) for address in found]
    found = yield from resolving(host, name, size)
    if flags & _ADDRCONFIG:
        own = [a.address for link in host.interfaces[1:] for a in link.addresses]
        sizes = {len(a) for a in own if not addr.is_link_local(a)}
        found = [address for address in found if len(address) in sizes] or found
    return found


def _sockaddr(address: bytes, port: int, scope: int) -> tuple[Any, ...]:
    if len(address) == 4:
        return addr.text(address), port
    return addr.text(address), port, 0, scope


# -- addresses to names ---------------------------------------------------------------------------


def naming(host: Host, sockaddr: Any, flags: int) -> Resolving[tuple[str, str]]:
    """What getnameinfo answers."""
    if not isinstance(sockaddr, tuple) or not 2 <= len(sockaddr) <= 4:
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    text, port = sockaddr[0], operator.index(sockaddr[1])
    if not isinstance(text, str):
        raise TypeError("getnameinfo(): illegal sockaddr argument")
    if port < 0:
        raise gai_error(std.EAI_SERVICE, "Servname not supported for ai_socktype")
    port &= 0xFFFF
    literal = numeric(host, text)
    if literal is None:
        raise gai_error(std.EAI_NONAME, "Name or service not known")
    packed, scope = literal
    if len(sockaddr) > 2 and not 0 <= int(sockaddr[2]) <= 0xFFFFF:
        raise OverflowError("getnameinfo(): flowinfo must be 0-1048575.")
    scope = scope or (int(sockaddr[3]) if len(sockaddr) > 3 else 0)
    shown = addr.text(packed)
    if scope and is_scoped(packed):
        link = host.net.interface(scope)
        shown += "%" + (link.name if link is not None else str(scope))
    name: str | None = None
    if not flags & std.NI_NUMERICHOST:
        name = _listed(host, packed)
        if name is None and host.nameservers:
            name = yield from dns.reverse(packed, host.nameservers, message_ids(host))
    if name is None and flags & std.NI_NAMEREQD:
        raise gai_error(std.EAI_NONAME, "Name or service not known")
    service: str | None = None
    if not flags & std.NI_NUMERICSERV:
        service = service_of(port, "udp" if flags & std.NI_DGRAM else "tcp")
    return name or shown, service or str(port)


def _listed(host: Host, address: bytes) -> str | None:
    for name, addresses in host.names.items():
        if address in addresses:
            return name
    if addr.is_loopback(address):
        return "localhost"
    if host.net.is_local(address):
        return host.name
    return None


# -- blocking programs ----------------------------------------------------------------------------


def run_blocking(host: Host, asking: Resolving[T]) -> T:
    """Drive a generator of questions with blocking sockets of ``host``."""
    reply: bytes | None = None
    try:
        ask = next(asking)
        while True:
            try:
                reply = _exchange(host, ask)
            except OSError:
                reply = None
            ask = asking.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _exchange(host: Host, ask: dns.Ask) -> bytes | None:
    from capas.sockets.socket import Socket  # a socket resolves names, and a resolver has sockets

    family = std.AF_INET if len(ask.server) == 4 else std.AF_INET6
    kind = std.SOCK_STREAM if ask.tcp else std.SOCK_DGRAM
    with Socket(family, kind, host=host) as sock:
        sock.settimeout(ask.timeout)
        sock.connect((addr.text(ask.server), dns.PORT))
        if ask.tcp:
            sock.sendall(len(ask.message).to_bytes(2, "big") + ask.message)
            with sock.makefile("rb") as stream:
                return stream.read(int.from_bytes(stream.read(2), "big"))
        sock.send(ask.message)
        deadline = sock.description.now() + int(ask.timeout * 1e9)
        while True:
            data = sock.recv(65535)
            if dns.parse(data, ask.message) is not None:
                return data
            left = deadline - sock.description.now()
            if left <= 0:
                return None
            sock.settimeout(left / 1e9)


def address_of(host: Host, name: str, family: int) -> bytes:
    """One address of ``name`` for bind, connect and sendto."""
    return run_blocking(host, resolving(host, name, _SIZES[family]))[0]


def getaddrinfo(
    on: Host,
    /,
    host: Any,
    port: Any,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[Info]:
    """`socket.getaddrinfo` on a host of ours."""
    return run_blocking(on, infos(on, host, port, int(family), int(type), proto, int(flags)))


def _plain(name: Any, caller: str) -> str:
    """The name or address that was handed to ``caller``: TypeError, UnicodeError."""
    if isinstance(name, str):
        name.encode("idna")
        return name
    if isinstance(name, bytes | bytearray):
        return bytes(name).decode("ascii")
    kind = "None" if name is None else type(name).__name__
    raise TypeError(f"{caller}() argument 1 must be str, bytes or bytearray, not {kind}")


def _address4(host: Host, text: str) -> bytes:
    return resolve(host, std.AF_INET, text, lambda n, family: address_of(host, n, family))[0]


def gethostbyname(host: Host, name: Any) -> str:
    """`socket.gethostbyname` of ``host``: IPv4 only."""
    return addr.text(_address4(host, _plain(name, "gethostbyname")))


def getnameinfo(host: Host, sockaddr: Any, flags: int) -> tuple[str, str]:
    """`socket.getnameinfo` of ``host``."""
    return run_blocking(host, naming(host, sockaddr, flags))


def gethostbyname_ex(host: Host, name: Any) -> tuple[str, list[str], list[str]]:
    """`socket.gethostbyname_ex` of ``host``: IPv4 only."""
    text = _plain(name, "gethostbyname_ex")
    literal = numeric(host, text)
    if literal is None and text not in ("", "<broadcast>"):
        found = run_blocking(host, resolving(host, text, 4))
    else:
        found = [_address4(host, text)]
        if literal is None or len(literal[0]) == 16:  # good enough for a socket only
            raise std.herror(3, "Unknown server error")
    return text, [], [addr.text(address) for address in found]


def gethostbyaddr(host: Host, name: Any) -> tuple[str, list[str], list[str]]:
    """`socket.gethostbyaddr` of ``host``."""
    text = _plain(name, "gethostbyaddr")
    literal = numeric(host, text)
    packed = literal[0] if literal is not None else address_of(host, text, std.AF_INET)
    found = _listed(host, packed)
    if found is None and host.nameservers:
        found = run_blocking(host, dns.reverse(packed, host.nameservers, message_ids(host)))
    if found is None:
        raise std.herror(errno.EPERM, "Unknown host")
    return found, [], [addr.text(packed)]
