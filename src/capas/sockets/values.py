# SPDX-License-Identifier: Apache-2.0
"""What Linux makes of the values of options: what it keeps, and so reads back, of what was set.

Linux 6.18: sock.c, ip_sockglue.c, ipv6_sockglue.c, tcp.c.
"""

import errno
from collections.abc import Callable
from typing import Final

from capas.base.clock import SECOND
from capas.base.config import HostConfig
from capas.sockets.failure import fail

_INT_MAX: Final = 0x7FFFFFFF
_LINGER2_MAX: Final = 120  # s, TCP_FIN_TIMEOUT_MAX
_RETRANS_MAX: Final = 255  # TCP_DEFER_ACCEPT is kept in eight bits, as repeats of the SYN-ACK
_RTO_MAX: Final = 120  # s, TCP_RTO_MAX; the first is 1 s
_LEAST_CLAMP: Final = 1152  # half of SOCK_MIN_RCVBUF


def _period(repeats: int) -> int:
    """When so many repeats of a SYN-ACK are over, s."""
    return sum(min(1 << n, _RTO_MAX) for n in range(repeats))


def repeats(seconds: int) -> int:
    """How many repeats of a SYN-ACK cover ``seconds`` (Linux secs_to_retrans)."""
    count = 0
    while count < _RETRANS_MAX and _period(count) < seconds:
        count += 1
    return count


def _defer_accept(value: int, _: HostConfig) -> int:
    return _period(repeats(value))


def _linger2(value: int, config: HostConfig) -> int:
    """-1: FIN-WAIT-2 of a closed socket is not waited in."""
    if value < 0:
        return -1
    return min(value, _LINGER2_MAX) or config.tcp_fin_timeout // SECOND


def _window_clamp(value: int, _: HostConfig) -> int:
    return max(value, _LEAST_CLAMP) if value else 0


def _fastopen(value: int, config: HostConfig) -> int:
    return min(value, config.tcp_somaxconn)


def _port_range(value: int, _: HostConfig) -> int:
    """The first port in the lower half, the last in the upper; 0: as the host has it."""
    first, last = value & 0xFFFF, value >> 16 & 0xFFFF
    if 0 < last < first:
        raise fail(errno.EINVAL)
    return value


def _receive_low(value: int, _: HostConfig) -> int:
    return _INT_MAX if value < 0 else value or 1


def _default(default: int) -> Callable[[int, HostConfig], int]:
    """-1 is the default."""
    return lambda value, _: default if value == -1 else value


_MENDED: Final[dict[str, Callable[[int, HostConfig], int]]] = {
    "defer_accept": _defer_accept,
    "linger2": _linger2,
    "window_clamp": _window_clamp,
    "fastopen": _fastopen,
    "receive_low": _receive_low,
    "port_range": _port_range,
    "multicast_ttl": _default(1),
    "multicast_hops": _default(1),
    "tclass": _default(0),
}


def mended(name: str, value: int, config: HostConfig) -> int:
    """What is kept when ``value`` was found good."""
    mend = _MENDED.get(name)
    return value if mend is None else mend(value, config)
