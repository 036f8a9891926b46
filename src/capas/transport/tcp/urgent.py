# SPDX-License-Identifier: Apache-2.0
"""Urgent data: a mark in the stream and the octet at it (RFC 9293 §3.8.5, RFC 6093; man 7 tcp).

The urgent pointer names the octet behind the urgent data; the last of these is at the mark.  As in
BSD and Linux that octet is out of line: recv(MSG_OOB) has it, other reads end before the mark, and
the next one skips it.  With SO_OOBINLINE (what RFC 6093 §4.2 recommends) it stays in line.  A newer
mark takes the place of the older one, whose octet is then in line if it was not read past yet.
"""

import errno
from typing import TYPE_CHECKING, Final, final

from capas.errors import os_error
from capas.transport.endpoint import URGENT
from capas.wire.tcp import URG, Segment

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection

_AWAITED: Final = -1
_TAKEN: Final = -2


@final
class Mark:
    """Where urgent data ends, until the user has read past it.

    ``seq``    unwrapped sequence number of the last urgent octet: RCV.UP - 1
    ``octet``  what stands there; negative before it has come, or when the user has it
    """

    __slots__ = ("octet", "seq")

    def __init__(self, seq: int) -> None:
        self.seq: int = seq
        self.octet: int = _AWAITED


def sent(c: "TcpConnection") -> None:
    """The last octet of what was queued for sending is urgent: SND.UP goes behind it."""
    c.tx.snd_up = c.tx.queue_end


def arrives(c: "TcpConnection", seg: Segment) -> None:
    """The pointer of a segment, or a segment that may bring the octet at the mark."""
    rx = c.rx
    if seg.flags & URG:
        seq = seg.seq + (seg.up - 1 if seg.up else 0)
        if seq >= rx.rcv_nxt and (rx.mark is None or seq > rx.mark.seq):
            if rx.mark is not None and _ahead(c) == 0:
                _skip(c)
            rx.mark = Mark(seq)
            c.counters.add("tcp.urgent_in")
    mark = rx.mark
    if mark is not None and mark.octet == _AWAITED and seg.seq <= mark.seq < seg.seq + seg.length:
        mark.octet = seg.payload[mark.seq - seg.seq]
        c.endpoint.set_ready(URGENT)


def _ahead(c: "TcpConnection") -> int:
    """Unread octets before the mark."""
    rx = c.rx
    assert rx.mark is not None
    end = rx.rcv_nxt - rx.finished()
    return rx.mark.seq - (end - rx.buffered)


def at_mark(c: "TcpConnection") -> bool:
    """sockatmark(3), SIOCATMARK: the next read begins at the mark."""
    return c.rx.mark is not None and _ahead(c) == 0


def unread(c: "TcpConnection") -> int:
    """FIONREAD: octets a read could return, none beyond the mark."""
    rx = c.rx
    if rx.mark is None or c.options.oobinline:
        return rx.buffered
    return min(rx.buffered, _ahead(c))


def readable(c: "TcpConnection") -> bool:
    """Whether a read would return data: an octet out of line alone is none."""
    return c.rx.buffered > (at_mark(c) and not c.options.oobinline)


def _skip(c: "TcpConnection") -> None:
    """The next read begins behind the mark: unless it is in line, its octet is passed over."""
    rx = c.rx
    if rx.buffered:
        if not c.options.oobinline:
            rx.read(1)
        rx.mark = None
        c.endpoint.clear(URGENT)


def peek(c: "TcpConnection", limit: int, skip: int = 0) -> bytes | None:
    """What `read` would return, which stays, from ``skip`` octets on."""
    rx, ahead = c.rx, _ahead(c)
    if skip < ahead:
        limit = min(limit, ahead - skip)
    elif skip == ahead and limit and not c.options.oobinline:
        skip += 1
    return rx.peek(limit + skip)[skip:] if rx.buffered > skip else None


def read(c: "TcpConnection", limit: int) -> bytes | None:
    """Unread octets up to the mark, or from there on; None: there are none."""
    ahead = _ahead(c)
    if ahead:
        limit = min(limit, ahead)
    elif limit:
        _skip(c)
    return c.rx.read(limit) if c.rx.buffered else None


def receive(c: "TcpConnection", taking: bool) -> bytes:
    """RECEIVE of the urgent octet, which never waits; EINVAL: there is none, or it is in line."""
    mark = c.rx.mark
    if mark is None or mark.octet == _TAKEN or c.options.oobinline:
        raise os_error(errno.EINVAL)
    if mark.octet == _AWAITED:
        if c.receive_ended():
            return b""
        raise os_error(errno.EAGAIN)
    octet = bytes((mark.octet,))
    if taking:
        mark.octet = _TAKEN
        c.endpoint.clear(URGENT)
    return octet
