# SPDX-License-Identifier: Apache-2.0
"""Where stacks differ and no RFC decides: ``HostConfig.tcp_manners`` is "linux" or "freebsd".

Kept in one place, so that the files that follow the RFCs stay readable; each question is one
function.
"""

import errno
from typing import TYPE_CHECKING, Final

from capas.internet import types as kinds
from capas.transport.tcp.states import SYN_RECEIVED

if TYPE_CHECKING:
    from capas.base.config import HostConfig
    from capas.internet.types import IcmpError
    from capas.transport.tcp.connection import TcpConnection

#: (family, type, code) of ICMP errors that FreeBSD takes as a refusal while connecting.
_FREEBSD_HARD: Final = frozenset(
    (
        (4, 3, 2), (4, 3, 3), (4, 3, 9), (4, 3, 10), (4, 3, 13), (4, 11, 0),
        (6, 1, 1), (6, 1, 4), (6, 3, 0), (6, 4, 1),
    )
)  # fmt: skip


def freebsd(c: "TcpConnection") -> bool:
    """Whether the host has FreeBSD's manners."""
    return c.rx.eager


def is_early(c: "TcpConnection") -> bool:
    """A Fast Open child whose handshake is not over, but which the user may have already."""
    return c.fast is not None and c.fast.early


def announced_segment(c: "TcpConnection") -> int:
    """The MSS option: FreeBSD goes by the interface's MTU (RFC 6691 §2), for IPv6 by the path's."""
    path = c.path
    if len(path.remote) == 4:
        return path.largest_segment
    return min(path.max_segment, path.largest_segment)


def congestion_name(config: "HostConfig", name: str) -> str:
    """CUBIC leaves slow start in the host's manner."""
    return "cubic-linux" if name == "cubic" and config.tcp_hystart == "linux" else name


def connect_error(c: "TcpConnection", error: "IcmpError") -> int:
    """The errno with which an ICMP error ends a handshake, 0: it does not (RFC 5461 §4)."""
    if freebsd(c):
        family = 4 if len(error.dst) == 4 else 6
        hard = (family, error.type, error.code) in _FREEBSD_HARD
        return errno.ECONNREFUSED if hard and c.config.tcp_icmp_may_reset else 0
    if error.kind == kinds.UNREACHABLE_PROTO:
        return errno.ENOPROTOOPT
    return error.errno


def round_receive_buffer(c: "TcpConnection") -> None:
    """FreeBSD makes the buffer a multiple of the segment size once that is known."""
    rx = c.rx
    if c.listener is not None and c.state == SYN_RECEIVED:
        return  # there is no socket yet
    if c.config.tcp_round_receive_buffer:
        mss = c.tx.mss + (12 if c.neg.ts_ok else 0)
        if rx.limit > mss:
            rx.limit = -(-rx.limit // mss) * mss
    if rx.eager:
        rx.rcv_adv = max(rx.rcv_adv, rx.rcv_nxt + rx.limit)


def acknowledgements_repeat_fin(c: "TcpConnection") -> bool:
    """FreeBSD's bare acknowledgements carry the FIN that is not acknowledged yet."""
    return c.rx.eager and c.fin_sent() and not c.fin_acknowledged()
