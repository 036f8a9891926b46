# SPDX-License-Identifier: Apache-2.0
"""Names of constants as scripts write them: this Python's numbers, Linux's where it has none."""

import errno
import socket
from typing import Final

from capas.sockets.options import number

_NAMES: Final = {
    # levels
    "SOL_SOCKET": socket.SOL_SOCKET,
    "SOL_IP": 0,
    "IPPROTO_IP": 0,
    "IPPROTO_TCP": 6,
    "SOL_TCP": 6,
    "IPPROTO_UDP": 17,
    "SOL_IPV6": 41,
    "IPPROTO_IPV6": 41,
    # socket()
    "AF_UNSPEC": 0,
    "AF_INET": int(socket.AF_INET),
    "AF_INET6": int(socket.AF_INET6),
    "SOCK_STREAM": int(socket.SOCK_STREAM),
    "SOCK_DGRAM": int(socket.SOCK_DGRAM),
    "SOCK_NONBLOCK": 0o4000,
    "SOCK_CLOEXEC": 0o2000000,
    # fcntl()
    "F_GETFL": 3,
    "F_SETFL": 4,
    "O_RDONLY": 0,
    "O_WRONLY": 1,
    "O_RDWR": 2,
    "O_NONBLOCK": 0o4000,
    # shutdown()
    "SHUT_RD": 0,
    "SHUT_WR": 1,
    "SHUT_RDWR": 2,
    # messages
    "MSG_OOB": 1,
    "MSG_PEEK": 2,
    "MSG_DONTROUTE": 4,
    "MSG_CTRUNC": 8,
    "MSG_TRUNC": 0x20,
    "MSG_DONTWAIT": 0x40,
    "MSG_EOR": 0x80,
    "MSG_WAITALL": 0x100,
    "MSG_FIN": 0x200,
    "MSG_ERRQUEUE": 0x2000,
    "MSG_NOSIGNAL": 0x4000,
    "MSG_MORE": 0x8000,
    "MSG_ZEROCOPY": 0x4000000,
    "MSG_FASTOPEN": 0x20000000,
    # poll()
    "POLLIN": 1,
    "POLLPRI": 2,
    "POLLOUT": 4,
    "POLLERR": 8,
    "POLLHUP": 0x10,
    "POLLNVAL": 0x20,
    "POLLRDNORM": 0x40,
    "POLLWRNORM": 0x100,
    "POLLRDHUP": 0x2000,
    # epoll
    "EPOLL_CTL_ADD": 1,
    "EPOLL_CTL_DEL": 2,
    "EPOLL_CTL_MOD": 3,
    "EPOLLIN": 1,
    "EPOLLPRI": 2,
    "EPOLLOUT": 4,
    "EPOLLERR": 8,
    "EPOLLHUP": 0x10,
    "EPOLLRDNORM": 0x40,
    "EPOLLWRNORM": 0x100,
    "EPOLLRDHUP": 0x2000,
    "EPOLLONESHOT": 1 << 30,
    "EPOLLET": 1 << 31,
    # ioctl()
    "SIOCINQ": 0x541B,
    "FIONREAD": 0x541B,
    "SIOCOUTQ": 0x5411,
    "SIOCOUTQNSD": 0x894B,
    "SIOCATMARK": 0x8905,
    # values
    "NULL": 0,
    "IP_PMTUDISC_DONT": 0,
    "IP_PMTUDISC_WANT": 1,
    "IP_PMTUDISC_DO": 2,
    "IP_PMTUDISC_PROBE": 3,
    "IPTOS_LOWDELAY": 0x10,
    "IPTOS_THROUGHPUT": 0x08,
    "TCP_CM_INQ": 36,
    **{f"IPTOS_DSCP_CS{n}": n << 5 for n in range(8)},
}

_LINUX_OPTIONS: Final = {
    "SO_DEBUG": 1,
    "SO_REUSEADDR": 2,
    "SO_TYPE": 3,
    "SO_ERROR": 4,
    "SO_SNDBUF": 7,
    "SO_RCVBUF": 8,
    "SO_KEEPALIVE": 9,
    "SO_OOBINLINE": 10,
    "SO_LINGER": 13,
    "SO_REUSEPORT": 15,
    "SO_RCVLOWAT": 18,
    "SO_MARK": 36,
    "SO_TIMESTAMPING": 37,
    "SO_BUSY_POLL": 46,
    "SO_MAX_PACING_RATE": 47,
    "SO_ZEROCOPY": 60,
    "TCP_NODELAY": 1,
    "TCP_MAXSEG": 2,
    "TCP_CORK": 3,
    "TCP_KEEPIDLE": 4,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 6,
    "TCP_SYNCNT": 7,
    "TCP_LINGER2": 8,
    "TCP_DEFER_ACCEPT": 9,
    "TCP_WINDOW_CLAMP": 10,
    "TCP_INFO": 11,
    "TCP_NOOPT": 0x10008,
    "TCP_KEEPINIT": 0x10080,
    "TCP_QUICKACK": 12,
    "TCP_CONGESTION": 13,
    "TCP_USER_TIMEOUT": 18,
    "TCP_FASTOPEN": 23,
    "TCP_TIMESTAMP": 24,
    "TCP_NOTSENT_LOWAT": 25,
    "TCP_FASTOPEN_CONNECT": 30,
    "TCP_FASTOPEN_KEY": 33,
    "TCP_FASTOPEN_NO_COOKIE": 34,
    "TCP_INQ": 36,
    "TCP_TX_DELAY": 37,
    "IP_TOS": 1,
    "IP_TTL": 2,
    "IP_MTU_DISCOVER": 10,
    "IP_RECVERR": 11,
    "IP_FREEBIND": 15,
    "IPV6_UNICAST_HOPS": 16,
    "IPV6_V6ONLY": 26,
    "IPV6_TCLASS": 67,
}

#: Option names without a counterpart: a script that uses one is not applicable.
FOREIGN: Final = {
    "TCP_MD5SIG": "TCP MD5 signatures (RFC 2385)",
    "TCP_REMOTE_UDP_ENCAPS_PORT": "TCP inside UDP",
    "TCP_FUNCTION_BLK": "FreeBSD's switch between TCP implementations",
    "TCP_RACK_PACE_ALWAYS": "FreeBSD's RACK implementation's own settings",
    "TCP_RACK_PACE_RATE_SS": "FreeBSD's RACK implementation's own settings",
    "TCP_RACK_PACE_MAX_SEG": "FreeBSD's RACK implementation's own settings",
    "SO_TIMESTAMPING": "kernel transmit time stamps",
    "SO_ZEROCOPY": "zero-copy transmission out of a user's pages",
    "SO_MARK": "packet marks of the kernel's policy routing",
}

#: errno under other names, and names that are the same number on Linux only.
_ERRNO_ALIASES: Final = {"EWOULDBLOCK": "EAGAIN"}


def constant(name: str) -> int | None:
    """The number of a symbol; None if it is unknown."""
    value = _NAMES.get(name)
    if value is not None:
        return value
    linux = _LINUX_OPTIONS.get(name)
    if linux is not None:
        return number(name, linux)
    if is_errno(name):
        return errno_number(name)
    return None


def is_errno(name: str) -> bool:
    """Whether ``name`` is the name of an error."""
    return hasattr(errno, name) and name.startswith("E")


def errno_number(name: str) -> int:
    """The number of an error name."""
    return int(getattr(errno, _ERRNO_ALIASES.get(name, name)))


def errno_name(value: int) -> str:
    """The name of an error number."""
    return errno.errorcode.get(value, str(value))
