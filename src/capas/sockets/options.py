# SPDX-License-Identifier: Apache-2.0
"""setsockopt and getsockopt: names, numbers, ranges and defaults, with Linux's meaning.

One table says for each (level, option) under which name its value is kept in `Settings` and how it
is checked; what a value *does* is the business of the description (`Description.apply`).  Numbers
are this Python's `socket` constants, Linux's where the platform has none.
"""

import errno
import socket
import struct
import sys
from typing import Any, Final, NamedTuple, final

from capas.base.config import HostConfig
from capas.sockets import values
from capas.sockets.failure import fail

_INT: Final = struct.Struct("@i")
_LONG: Final = 8  # bytes
_LINGER: Final = struct.Struct("@ii")
_TIMEVAL: Final = struct.Struct("@ll")
_INT_MIN: Final = -(1 << 31)


def number(name: str, linux: int) -> int:
    """The value of a constant of `socket`, Linux's if this Python lacks it."""
    return int(getattr(socket, name, linux))


SOL_SOCKET: Final = socket.SOL_SOCKET
IP: Final = number("IPPROTO_IP", 0)
IPV6: Final = number("IPPROTO_IPV6", 41)
TCP: Final = number("IPPROTO_TCP", 6)
UDP: Final = number("IPPROTO_UDP", 17)
SOL_RAW: Final = number("IPPROTO_RAW", 255)
ICMPV6: Final = number("IPPROTO_ICMPV6", 58)

BOOL: Final = 0  # 0 or 1
INT: Final = 1  # within low..high, else EINVAL
READ_ONLY: Final = 2
LINGER: Final = 3  # struct linger; kept as seconds, -1: off
TIMEVAL: Final = 4  # struct timeval; kept as microseconds
UNLIMITED: Final = (1 << 64) - 1  # SO_MAX_PACING_RATE as C's unsigned long
SPECIAL: Final = 5  # the description handles it
BUFFER: Final = 6  # bytes, unsigned; Linux doubles what is set (man 7 socket)
OCTET: Final = 7  # the lowest eight bits
MEASURED: Final = 8  # INT; the description knows what it is

STREAM: Final = 1
DATAGRAM: Final = 2
RAW: Final = 4
ALL: Final = 7


class Option(NamedTuple):
    """One option.

    ``low``, ``high`` bound INT (``besides``: good, too); ``types``: for which kinds of socket.
    """

    name: str
    kind: int = BOOL
    default: int = 0
    low: int = 0
    high: int = 0x7FFFFFFF
    types: int = ALL
    besides: int | None = None


TABLE: Final[dict[tuple[int, int], Option]] = {}


def _add(level: int, constant: str, linux: int, option: Option) -> int:
    value = number(constant, linux)
    TABLE[level, value] = option
    return value


TCP_INQ: Final = number("TCP_INQ", 36)
SO_COOKIE: Final = _add(SOL_SOCKET, "SO_COOKIE", 57, Option("cookie", READ_ONLY))
SO_MAX_PACING_RATE: Final = _add(
    SOL_SOCKET, "SO_MAX_PACING_RATE", 47, Option("max_pacing_rate", SPECIAL)
)
SO_ERROR: Final = _add(SOL_SOCKET, "SO_ERROR", 4, Option("error", READ_ONLY))
SO_TYPE: Final = _add(SOL_SOCKET, "SO_TYPE", 3, Option("type", READ_ONLY))
SO_DOMAIN: Final = _add(SOL_SOCKET, "SO_DOMAIN", 39, Option("family", READ_ONLY))
SO_PROTOCOL: Final = _add(SOL_SOCKET, "SO_PROTOCOL", 38, Option("protocol", READ_ONLY))
SO_ACCEPTCONN: Final = _add(SOL_SOCKET, "SO_ACCEPTCONN", 30, Option("listening", READ_ONLY))
for _constant, _linux, _option in (
    ("SO_REUSEADDR", 2, Option("reuse_address")),
    ("SO_REUSEPORT", 15, Option("reuse_port")),
    ("SO_BROADCAST", 6, Option("broadcast")),
    ("SO_KEEPALIVE", 9, Option("keepalive")),
    ("SO_OOBINLINE", 10, Option("oob_inline")),
    ("SO_DONTROUTE", 5, Option("dont_route")),
    ("SO_DEBUG", 1, Option("debug")),
    ("SO_TIMESTAMP", 29, Option("timestamp")),
    ("SO_TIMESTAMPNS", 35, Option("timestamp_ns")),
    ("SO_NO_CHECK", 11, Option("no_check_tx", types=DATAGRAM)),
    ("SO_PRIORITY", 12, Option("priority", INT, low=_INT_MIN)),
    ("SO_MARK", 36, Option("mark", INT, low=_INT_MIN)),
    ("SO_RCVLOWAT", 18, Option("receive_low", INT, 1, _INT_MIN)),
    ("SO_SNDLOWAT", 19, Option("send_low", READ_ONLY, 1)),
    ("SO_RCVBUF", 8, Option("receive_buffer", BUFFER)),
    ("SO_SNDBUF", 7, Option("send_buffer", BUFFER)),
    ("SO_RCVTIMEO", 20, Option("receive_timeout", TIMEVAL)),
    ("SO_SNDTIMEO", 21, Option("send_timeout", TIMEVAL)),
    ("SO_LINGER", 13, Option("linger", LINGER, -1)),
    ("SO_BINDTODEVICE", 25, Option("device", SPECIAL)),
    ("SO_PEEK_OFF", 42, Option("peek_offset", INT, -1, _INT_MIN)),
    ("SO_INCOMING_CPU", 49, Option("cpu", INT, -1, _INT_MIN)),
    ("SO_BUSY_POLL", 46, Option("busy_poll", INT)),
):
    _add(SOL_SOCKET, _constant, _linux, _option)

for _constant, _linux, _option in (
    ("IP_TOS", 1, Option("tos", OCTET)),
    ("IP_TTL", 2, Option("ttl", INT, 0, 1, 255, besides=-1)),
    ("IP_HDRINCL", 3, Option("header_included", types=RAW)),
    ("IP_OPTIONS", 4, Option("ip_options", SPECIAL)),
    ("IP_PKTINFO", 8, Option("packet_info")),
    ("IP_MTU_DISCOVER", 10, Option("pmtu_discover", INT, 1, 0, 5)),
    ("IP_RECVERR", 11, Option("receive_errors")),
    ("IP_RECVTTL", 12, Option("receive_ttl")),
    ("IP_RECVTOS", 13, Option("receive_tos")),
    ("IP_MTU", 14, Option("path_mtu", SPECIAL)),
    ("IP_FREEBIND", 15, Option("free_bind")),
    ("IP_TRANSPARENT", 19, Option("transparent")),
    ("IP_RECVORIGDSTADDR", 20, Option("receive_destination")),
    ("IP_BIND_ADDRESS_NO_PORT", 24, Option("bind_no_port")),
    ("IP_MINTTL", 21, Option("min_ttl", INT, high=255)),
    ("IP_MULTICAST_IF", 32, Option("multicast_interface", SPECIAL)),
    ("IP_MULTICAST_TTL", 33, Option("multicast_ttl", INT, 1, -1, 255)),
    ("IP_MULTICAST_LOOP", 34, Option("multicast_loop", BOOL, 1)),
    ("IP_MULTICAST_ALL", 49, Option("multicast_all", BOOL, 1)),
    ("IP_UNICAST_IF", 50, Option("unicast_interface", SPECIAL)),
    ("IP_LOCAL_PORT_RANGE", 51, Option("port_range", INT, 0, _INT_MIN)),
    ("IP_ADD_MEMBERSHIP", 35, Option("join", SPECIAL)),
    ("IP_DROP_MEMBERSHIP", 36, Option("leave", SPECIAL)),
    ("IP_UNBLOCK_SOURCE", 37, Option("source_unblock", SPECIAL)),
    ("IP_BLOCK_SOURCE", 38, Option("source_block", SPECIAL)),
    ("IP_ADD_SOURCE_MEMBERSHIP", 39, Option("source_join", SPECIAL)),
    ("IP_DROP_SOURCE_MEMBERSHIP", 40, Option("source_leave", SPECIAL)),
    ("IP_MSFILTER", 41, Option("filter", SPECIAL)),
):
    _add(IP, _constant, _linux, _option)

for _constant, _linux, _option in (
    ("IPV6_CHECKSUM", 7, Option("checksum6", SPECIAL, types=RAW)),
    ("IPV6_HDRINCL", 36, Option("header_included6", types=RAW)),
    ("IPV6_V6ONLY", 26, Option("v6only")),
    ("IPV6_UNICAST_HOPS", 16, Option("hops", INT, -1, 0, 255, besides=-1)),
    ("IPV6_MULTICAST_IF", 17, Option("multicast_interface6", SPECIAL)),
    ("IPV6_MULTICAST_HOPS", 18, Option("multicast_hops", INT, 1, -1, 255)),
    ("IPV6_MULTICAST_LOOP", 19, Option("multicast_loop6", INT, 1, high=1)),
    ("IPV6_JOIN_GROUP", 20, Option("join6", SPECIAL)),
    ("IPV6_LEAVE_GROUP", 21, Option("leave6", SPECIAL)),
    ("IPV6_MULTICAST_ALL", 29, Option("multicast_all6", BOOL, 1)),
    ("IPV6_MTU_DISCOVER", 23, Option("pmtu_discover6", INT, 1, 0, 5)),
    ("IPV6_MTU", 24, Option("path_mtu6", SPECIAL)),
    ("IPV6_RECVERR", 25, Option("receive_errors6")),
    ("IPV6_RECVPKTINFO", 49, Option("packet_info6")),
    ("IPV6_RECVHOPLIMIT", 51, Option("receive_hops")),
    ("IPV6_DONTFRAG", 62, Option("dont_fragment")),
    ("IPV6_RECVTCLASS", 66, Option("receive_tclass")),
    ("IPV6_TCLASS", 67, Option("tclass", INT, 0, -1, 255)),
    ("IPV6_ADDR_PREFERENCES", 72, Option("prefer_source", SPECIAL)),
    ("IPV6_MINHOPCOUNT", 73, Option("min_hops", INT, high=255)),
    ("IPV6_RECVORIGDSTADDR", 74, Option("receive_destination6", types=DATAGRAM | RAW)),
    ("IPV6_TRANSPARENT", 75, Option("transparent")),  # the same as of IP (Linux), as IPV6_FREEBIND
    ("IPV6_UNICAST_IF", 76, Option("unicast_interface6", SPECIAL)),
    ("IPV6_FREEBIND", 78, Option("free_bind")),
    ("IPV6_AUTOFLOWLABEL", 70, Option("auto_flow_label", BOOL, 1)),
):
    _add(IPV6, _constant, _linux, _option)

#: Options of both families by the same numbers, RFC 3678 §5.
_GROUPS: Final = (
    ("MCAST_JOIN_GROUP", 42, "group_join"),
    ("MCAST_BLOCK_SOURCE", 43, "group_source_block"),
    ("MCAST_UNBLOCK_SOURCE", 44, "group_source_unblock"),
    ("MCAST_LEAVE_GROUP", 45, "group_leave"),
    ("MCAST_JOIN_SOURCE_GROUP", 46, "group_source_join"),
    ("MCAST_LEAVE_SOURCE_GROUP", 47, "group_source_leave"),
    ("MCAST_MSFILTER", 48, "group_filter"),
)
for _constant, _linux, _name in _GROUPS:
    _add(IP, _constant, _linux, Option(_name, SPECIAL))
    _add(IPV6, _constant, _linux, Option(f"{_name}6", SPECIAL))

for _constant, _linux, _option in (
    ("TCP_NODELAY", 1, Option("nodelay", types=STREAM)),
    ("TCP_MAXSEG", 2, Option("maxseg", MEASURED, 536, 88, 32767, STREAM, besides=0)),
    ("TCP_CORK", 3, Option("cork", types=STREAM)),
    ("TCP_KEEPIDLE", 4, Option("keepidle", INT, 7200, 1, 32767, STREAM)),
    ("TCP_KEEPINTVL", 5, Option("keepintvl", INT, 75, 1, 32767, STREAM)),
    ("TCP_KEEPCNT", 6, Option("keepcnt", INT, 9, 1, 127, STREAM)),
    ("TCP_SYNCNT", 7, Option("syncnt", INT, 6, 1, 127, STREAM)),
    ("TCP_LINGER2", 8, Option("linger2", INT, 60, _INT_MIN, types=STREAM)),
    ("TCP_DEFER_ACCEPT", 9, Option("defer_accept", INT, 0, _INT_MIN, types=STREAM)),
    ("TCP_WINDOW_CLAMP", 10, Option("window_clamp", INT, 0, _INT_MIN, types=STREAM)),
    ("TCP_INFO", 11, Option("info", SPECIAL, types=STREAM)),
    ("TCP_QUICKACK", 12, Option("quickack", BOOL, 1, types=STREAM)),
    ("TCP_CONGESTION", 13, Option("congestion", SPECIAL, types=STREAM)),
    ("TCP_USER_TIMEOUT", 18, Option("user_timeout", INT, types=STREAM)),
    ("TCP_FASTOPEN", 23, Option("fastopen", INT, types=STREAM)),
    ("TCP_FASTOPEN_CONNECT", 30, Option("fastopen_connect", types=STREAM)),
    ("TCP_FASTOPEN_KEY", 33, Option("fastopen_key", SPECIAL, types=STREAM)),
    ("TCP_FASTOPEN_NO_COOKIE", 34, Option("fastopen_no_cookie", types=STREAM)),
    # FreeBSD's, by numbers of our own where this Python has none
    ("TCP_NOOPT", 0x10008, Option("no_options", types=STREAM)),
    ("TCP_KEEPINIT", 0x10080, Option("connect_timeout", INT, 75, 1, 1 << 20, STREAM)),
    ("TCP_INQ", 36, Option("inq", INT, 0, 0, 1, STREAM)),
    ("TCP_NOTSENT_LOWAT", 25, Option("notsent_lowat", INT, 0, _INT_MIN, 0xFFFFFFFF, STREAM)),
):
    _add(TCP, _constant, _linux, _option)

for _constant, _linux, _option in (
    ("UDP_CORK", 1, Option("udp_cork", types=DATAGRAM)),
    ("UDP_NO_CHECK6_TX", 101, Option("no_check_tx", types=DATAGRAM)),
    ("UDP_NO_CHECK6_RX", 102, Option("no_check_rx", types=DATAGRAM)),
    ("UDP_SEGMENT", 103, Option("segment", INT, high=65535, types=DATAGRAM)),
    ("UDP_GRO", 104, Option("gro", types=DATAGRAM)),
):
    _add(UDP, _constant, _linux, _option)

_add(SOL_RAW, "ICMP_FILTER", 1, Option("icmp_filter", SPECIAL, types=RAW))
_add(SOL_RAW, "IPV6_CHECKSUM", 7, Option("raw_checksum6", SPECIAL, types=RAW))
_add(ICMPV6, "ICMP6_FILTER", 1, Option("icmp6_filter", SPECIAL, types=RAW))

#: Which levels sockets of a kind have besides SOL_SOCKET and IP.
_OWN: Final = {STREAM: TCP, DATAGRAM: UDP, RAW: SOL_RAW}

#: What a stream socket says to an option of multicast; to read one is good (Linux).
NO_MULTICAST: Final = {
    "multicast_ttl": errno.EINVAL,
    "multicast_interface": errno.EINVAL,
    "join": errno.EPROTO,
    "leave": errno.EPROTO,
    "multicast_hops": errno.ENOPROTOOPT,
    "multicast_interface6": errno.ENOPROTOOPT,
    "join6": errno.EPROTO,
    "leave6": errno.EPROTO,
    **{
        option.name: errno.EPROTO
        for option in TABLE.values()
        if option.name.startswith(("source_", "filter", "group_"))
    },
}
#: Options of IP to which no bytes are not 0.
_NEED_BYTES: Final = (
    "ttl",
    "min_ttl",
    "free_bind",
    "transparent",
    "multicast_ttl",
    "multicast_loop",
    "multicast_all",
)
_EXACT: Final = ("port_range", "unicast_interface", "unicast_interface6")
#: The least a buffer can be, bytes (Linux SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF), and the most.
_LEAST: Final = {"send_buffer": 4608, "receive_buffer": 2304}
_MOST: Final = 1 << 29

_INTS: Final = (BOOL, INT, OCTET, BUFFER, MEASURED)

#: Defaults by name.
DEFAULTS: Final[dict[str, int]] = {option.name: option.default for option in TABLE.values()}


def find(level: int, option: int, kind: int, family: int, elsewhere: int) -> Option:
    """The option of a socket of ``kind`` (STREAM, DATAGRAM, RAW) and ``family``, or ENOPROTOOPT.

    ``elsewhere``: the errno if the socket has no protocol at ``level``
    """
    found = TABLE.get((level, option))
    v6 = family == socket.AF_INET6
    if (
        found is None
        or not found.types & kind
        or (not v6 and (level in (IPV6, ICMPV6) or found.name == "raw_checksum6"))
        or (v6 and kind == RAW and (level == IP or found.name == "icmp_filter"))
    ):
        levels = (SOL_SOCKET, IP, _OWN[kind])
        here = level in levels or (level == IPV6 and v6)
        raise fail(errno.ENOPROTOOPT if here else elsewhere)
    if kind == RAW and found.name == "peek_offset":
        raise fail(errno.EOPNOTSUPP)
    return found


@final
class Settings:
    """The option values of one socket, by name; what was never set has its default."""

    __slots__ = ("values",)

    def __init__(self, values: dict[str, int] | None = None) -> None:
        self.values: dict[str, int] = dict(values) if values else {}

    def get(self, name: str) -> int:
        """The value of ``name``."""
        value = self.values.get(name)
        return DEFAULTS[name] if value is None else value

    def store(self, option: Option, value: int | bytes, config: HostConfig) -> int:
        """Check and keep a value; returns it as kept.  OSError EINVAL."""
        kind = option.kind
        if kind == READ_ONLY:
            raise fail(errno.ENOPROTOOPT)
        if kind == LINGER:
            on, seconds = _unpack(_LINGER, value)
            kept = max(0, seconds) if on else -1
        elif kind == TIMEVAL:
            seconds, micros = _unpack(_TIMEVAL, value)
            if not 0 <= micros < 1_000_000:
                raise fail(errno.EDOM)
            kept = max(0, seconds * 1_000_000 + micros)
        else:
            kept = as_int(value)
            if kind == BOOL:
                kept = 1 if kept else 0
            elif kind == OCTET:
                kept &= 0xFF
            elif kind == BUFFER:
                kept = max(_LEAST[option.name], min(kept & 0xFFFFFFFF, _MOST) * 2)
            elif not option.low <= kept <= option.high and kept != option.besides:
                raise fail(errno.EINVAL)
            else:
                kept = values.mended(option.name, kept, config)
        self.values[option.name] = kept
        return kept

    def show(self, option: Option) -> int | bytes:
        """The value as getsockopt gives it: an int, or the bytes of a structure."""
        value = self.get(option.name)
        if option.kind == LINGER:
            return _LINGER.pack(int(value >= 0), max(0, value))
        if option.kind == TIMEVAL:
            return _TIMEVAL.pack(*divmod(value, 1_000_000))
        return value


def _unpack(form: struct.Struct, value: int | bytes) -> tuple[Any, ...]:
    if isinstance(value, int) or len(value) < form.size:
        raise fail(errno.EINVAL)
    return form.unpack_from(value)


def as_int(value: int | bytes) -> int:
    """An int option given as int or as the bytes of a C int (or of one or none, as IP allows)."""
    if isinstance(value, int):
        return value
    if len(value) >= _INT.size:
        return int(_INT.unpack_from(value)[0])
    return value[0] if value else 0


def check_size(level: int, option: Option, size: int) -> None:
    """Whether ``size`` bytes make an int option: only IP takes less than a C int, even nothing."""
    if option.name in _EXACT and size != _INT.size:
        raise fail(errno.EINVAL)
    few = (option.kind in _INTS or option.name == "prefer_source") and size < _INT.size
    if few and (level != IP or (not size and option.name in _NEED_BYTES)):
        raise fail(errno.EINVAL)


def as_rate(value: int | bytes) -> int:
    """SO_MAX_PACING_RATE, bytes/s: of an unsigned int or an unsigned long."""
    packed = as_bytes(value)
    if len(packed) < _INT.size:
        raise fail(errno.EINVAL)
    size = _LONG if len(packed) >= _LONG else _INT.size
    rate = int.from_bytes(packed[:size], sys.byteorder)
    return UNLIMITED if rate == (1 << 8 * size) - 1 else rate


def rate_bytes(rate: int, room: int) -> bytes:
    """What SO_MAX_PACING_RATE is read as: an unsigned long, an unsigned int where room is less."""
    size = _LONG if room >= _LONG else _INT.size
    return min(rate, (1 << 8 * size) - 1).to_bytes(size, sys.byteorder)


def as_octet(level: int, value: int | bytes, room: int) -> bytes | None:
    """The one byte that IP makes of a small number for who has no room for a C int."""
    short = level == IP and 0 < room < _INT.size
    return bytes((value,)) if short and isinstance(value, int) and 0 <= value <= 255 else None


def as_bytes(value: int | bytes) -> bytes:
    """What getsockopt(level, option, buflen) returns."""
    return _INT.pack(value) if isinstance(value, int) else value
