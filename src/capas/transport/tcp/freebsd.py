# SPDX-License-Identifier: Apache-2.0
"""FreeBSD's order of looking at a segment, where it differs from RFC 9293's and shows outside.

RST and SYN come before the acceptability test (RFC 5961 §3.2, §4.2), TIME-WAIT answers only what
could be news (RFC 1337).  Used when ``HostConfig.tcp_manners`` is "freebsd".
"""

import errno
from typing import TYPE_CHECKING

from capas.transport.tcp import closing, segments
from capas.transport.tcp import timers as tt
from capas.transport.tcp.states import SYN_RECEIVED, TIME_WAIT
from capas.wire.tcp import ACK, FIN, RST, SYN, Segment

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection


def arrives(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """FreeBSD looks at RST and SYN before the rest of the header; True: go on as the RFC says.

    ``seg.seq`` and ``seg.ack`` are unwrapped.  RFC 5961 in FreeBSD's order and with its errors.
    """
    flags = seg.flags
    if c.state == TIME_WAIT:
        _time_wait(c, seg, now)
        return False
    rx = c.rx
    low = rx.last_ack_sent
    inside = low <= seg.seq < low + rx.window() or (not rx.window() and seg.seq == low)
    if flags & RST:
        if inside:
            if not c.config.tcp_insecure_rst and seg.seq != low:
                closing.challenge(c, now)
                return False
            c.counters.add("tcp.resets_in")
            if c.state == SYN_RECEIVED and c.passive:
                closing.done(c, now)
            else:
                refused = c.state == SYN_RECEIVED
                closing.fail(c, errno.ECONNREFUSED if refused else errno.ECONNRESET, now)
        return False
    if flags & SYN and c.state != SYN_RECEIVED:
        if c.config.tcp_insecure_syn and inside:
            closing.reset_by_syn(c, now)
        else:
            closing.challenge(c, now)
        return False
    return True


def _time_wait(c: "TcpConnection", seg: Segment, now: int) -> None:
    """RFC 1337 in full: only what could be news is answered."""
    flags = seg.flags
    if flags & RST or not flags & ACK:
        return
    nxt = c.rx.rcv_nxt
    if flags & FIN and seg.seq + seg.length + (flags & SYN != 0) + 1 == nxt:
        c.timers.set(tt.TIME_WAIT, now + c.config.tcp_time_wait)
    if flags != ACK or seg.length or seg.seq != nxt or seg.ack != c.tx.snd_nxt:
        segments.transmit(c, c.tx.snd_nxt, 0, ACK, now)
