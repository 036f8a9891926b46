# SPDX-License-Identifier: Apache-2.0
"""What goes beside a datagram: control messages of sendmsg and recvmsg, entries of the error queue.

Layouts and meanings are Linux's and RFC 3542's (man 7 ip, man 7 ipv6, man 7 udp).
"""

import errno
import socket
import struct
from typing import Final

from capas.base.clock import SECOND, US
from capas.internet.types import IcmpError
from capas.sockets import options
from capas.sockets.description import Ancillary, Received
from capas.sockets.driver import Driver
from capas.sockets.failure import fail
from capas.sockets.flags import MSG_ERRQUEUE
from capas.transport.datagram_socket import Datagram, Destination
from capas.wire import address as addr

_IP_PKTINFO: Final = options.number("IP_PKTINFO", 8)
_IPV6_PKTINFO: Final = options.number("IPV6_PKTINFO", 50)
_IPV6_HOPLIMIT: Final = options.number("IPV6_HOPLIMIT", 52)
_IPV6_TCLASS: Final = options.number("IPV6_TCLASS", 67)
_IP_TTL: Final = options.number("IP_TTL", 2)
_IP_TOS: Final = options.number("IP_TOS", 1)
_IP_ORIGDSTADDR: Final = options.number("IP_RECVORIGDSTADDR", 20)
_IPV6_ORIGDSTADDR: Final = options.number("IPV6_RECVORIGDSTADDR", 74)
_IP_RECVERR: Final = options.number("IP_RECVERR", 11)
_IPV6_RECVERR: Final = options.number("IPV6_RECVERR", 25)
_RIGHTS: Final = 1  # SCM_RIGHTS
_CREDENTIALS: Final = 2  # SCM_CREDENTIALS
_SEGMENT: Final = 103  # UDP_SEGMENT
_GRO: Final = 104  # UDP_GRO
_TIMESTAMP: Final = options.number("SO_TIMESTAMP", 29)
_TIMESTAMP_NS: Final = options.number("SO_TIMESTAMPNS", 35)

_TIME: Final = struct.Struct("@ll")  # seconds and what is left of one: struct timeval, timespec
_PKTINFO4: Final = struct.Struct("@i4s4s")  # interface index, local address, header destination
_PKTINFO6: Final = struct.Struct("@16sI")
_EXTENDED_ERROR: Final = struct.Struct("@IBBBBII")  # struct sock_extended_err
_SOCKADDR4: Final = struct.Struct("@H2s4s8x")
_SOCKADDR6: Final = struct.Struct("@H2sI16sI")
_ORIGIN_ICMP4: Final = 2
_ORIGIN_ICMP6: Final = 3

#: receiving any of these costs ancillary data
WANTED: Final = (
    "packet_info",
    "packet_info6",
    "receive_ttl",
    "receive_hops",
    "receive_tos",
    "receive_tclass",
    "receive_destination",
    "receive_destination6",
    "timestamp",
    "timestamp_ns",
    "gro",
)


def membership6(value: bytes) -> tuple[bytes, int]:
    """(group, interface index) of a struct ipv6_mreq."""
    if len(value) < _PKTINFO6.size:
        raise fail(errno.EINVAL)
    group, index = _PKTINFO6.unpack_from(value)
    return group, index


def describe(
    settings: options.Settings,
    family: int,
    driver: Driver,
    datagram: Datagram,
    port: int,
    own: bytes,
) -> Ancillary:
    """What a program asked to be told of a datagram received on ``port``.

    ``own``  the address to answer from: where that is none of ours (a group, a broadcast), another
    """
    found: Ancillary = []
    get = settings.get
    destination = datagram.destination
    if get("timestamp_ns") or get("timestamp"):
        came = int(driver.wall() * SECOND) - (driver.now() - datagram.time)  # ns since 1970
        seconds, rest = divmod(came, SECOND)
        if get("timestamp_ns"):
            found.append((options.SOL_SOCKET, _TIMESTAMP_NS, _TIME.pack(seconds, rest)))
        else:
            found.append((options.SOL_SOCKET, _TIMESTAMP, _TIME.pack(seconds, rest // US)))
    if len(destination) == 4:
        if get("packet_info"):
            info = _PKTINFO4.pack(datagram.interface, own, destination)
            found.append((options.IP, _IP_PKTINFO, info))
        if get("receive_ttl"):
            found.append((options.IP, _IP_TTL, struct.pack("@i", datagram.ttl)))
        if get("receive_tos"):
            found.append((options.IP, _IP_TOS, bytes((datagram.tos,))))
        if get("receive_destination"):
            name = _SOCKADDR4.pack(socket.AF_INET, port.to_bytes(2, "big"), destination)
            found.append((options.IP, _IP_ORIGDSTADDR, name))
    if family == socket.AF_INET6:
        if get("packet_info6"):
            shown = destination if len(destination) == 16 else addr.map_v4(destination)
            info = _PKTINFO6.pack(shown, datagram.interface)
            found.append((options.IPV6, _IPV6_PKTINFO, info))
        if get("receive_hops"):
            found.append((options.IPV6, _IPV6_HOPLIMIT, struct.pack("@i", datagram.ttl)))
        if get("receive_tclass"):
            found.append((options.IPV6, _IPV6_TCLASS, struct.pack("@i", datagram.tos)))
        if get("receive_destination6") and len(destination) == 16:
            scope = datagram.interface if addr.is_link_local(destination) else 0
            ends = socket.AF_INET6, port.to_bytes(2, "big"), 0, destination, scope
            found.append((options.IPV6, _IPV6_ORIGDSTADDR, _SOCKADDR6.pack(*ends)))
    if datagram.segment and get("gro"):
        found.append((options.UDP, _GRO, struct.pack("@H", datagram.segment)))
    return found


def failed(error: IcmpError, port: int, payload: bytes) -> Received:
    """An entry of the error queue: what failed, to whom, and a struct sock_extended_err."""
    v4 = len(error.dst) == 4
    origin = _ORIGIN_ICMP4 if v4 else _ORIGIN_ICMP6
    extended = _EXTENDED_ERROR.pack(error.errno, origin, error.type, error.code, 0, error.mtu, 0)
    if v4:
        extended += _SOCKADDR4.pack(socket.AF_INET, b"\0\0", error.reporter)
    else:
        extended += _SOCKADDR6.pack(socket.AF_INET6, b"\0\0", 0, error.reporter, 0)
    level, kind = (options.IP, _IP_RECVERR) if v4 else (options.IPV6, _IPV6_RECVERR)
    return Received(payload, (error.dst, port, 0), MSG_ERRQUEUE, [(level, kind, extended)])


def apply(to: Destination, family: int, level: int, kind: int, value: bytes) -> None:
    """One control message of sendmsg (RFC 3542 §6, man 7 ip); those of other levels are ignored."""
    if level == options.IP and len(to.address) == 4:
        _apply4(to, kind, value)
    elif level == options.IPV6 and family == socket.AF_INET6:
        _apply6(to, kind, value)
    elif level == options.UDP:
        if kind != _SEGMENT or len(value) < 2:
            raise fail(errno.EINVAL)
        to.segment = int(struct.unpack_from("@H", value)[0])
    elif level == options.SOL_SOCKET and kind not in (_RIGHTS, _CREDENTIALS):
        raise fail(errno.EINVAL)


def _apply4(to: Destination, kind: int, value: bytes) -> None:
    if kind == _IP_PKTINFO and len(value) >= _PKTINFO4.size:
        index, local, _ = _PKTINFO4.unpack_from(value)
        to.interface = index
        to.source = b"" if local == addr.ANY4 else local
    elif kind == _IP_TTL:
        to.ttl = _number(value, 1)
    elif kind == _IP_TOS:
        to.tos = _number(value, 0)
    else:
        raise fail(errno.EINVAL)


def _apply6(to: Destination, kind: int, value: bytes) -> None:
    if kind == _IPV6_PKTINFO and len(value) >= _PKTINFO6.size:
        local, index = _PKTINFO6.unpack_from(value)
        to.interface = index
        local = addr.unmap_v4(local)
        to.source = b"" if addr.is_unspecified(local) else local
    elif kind == _IPV6_HOPLIMIT:
        to.ttl = max(_number(value, -1), 0)  # -1: the default
    elif kind == _IPV6_TCLASS:
        to.tos = _number(value, -1)
    else:
        raise fail(errno.EINVAL)


def _number(value: bytes, least: int) -> int:
    """An int of a message, which stands in an octet of the packet."""
    number = options.as_int(value)
    if not least <= number <= 255:
        raise fail(errno.EINVAL)
    return number
