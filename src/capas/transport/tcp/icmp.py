# SPDX-License-Identifier: Apache-2.0
"""ICMP errors about segments (RFC 1122 §4.2.3.9, RFC 5927, RFC 5461).

The quoted sequence number must be outstanding (RFC 5927 §4.1).  Errors abort a connection only in
SYN-SENT; later they are soft.  Too-big messages lower the segment size and repair at once.
"""

import errno
from typing import TYPE_CHECKING

from capas.base.seq import M32, diff
from capas.internet.types import PACKET_TOO_BIG, SOURCE_QUENCH, IcmpError
from capas.transport.demux import make_key
from capas.transport.tcp import closing, gtsm, handshake, manners, recovery
from capas.transport.tcp.states import CLOSED, SYN_RECEIVED, SYN_SENT

if TYPE_CHECKING:
    from capas.base.events import Counters
    from capas.transport.tcp.connection import TcpConnection


def arrives(
    table: "dict[bytes, TcpConnection]", counters: "Counters", error: IcmpError, now: int
) -> bool:
    """Give ``error`` to the connection it quotes; False if it is not credible (RFC 5927 §4.1).

    What is not credible must not lower a path MTU either: the internet layer takes it back.
    """
    quote = error.quote
    if len(quote) < 8:
        counters.add("tcp.icmp_short")
        return False
    local_port = quote[0] << 8 | quote[1]
    remote_port = quote[2] << 8 | quote[3]
    c = table.get(make_key(error.src, local_port, error.dst, remote_port))
    if c is None or c.state == CLOSED:
        counters.add("tcp.icmp_no_connection")
        return False
    if c.env.gtsm and gtsm.error_too_far(c, error):
        counters.add("tcp.min_ttl")
        return False
    tx = c.tx
    seq = tx.snd_una + diff(int.from_bytes(quote[4:8], "big"), tx.snd_una & M32)
    if not tx.snd_una <= seq < max(tx.snd_nxt, tx.snd_una + 1):
        counters.add("tcp.icmp_out_of_window")
        return False
    counters.add("tcp.icmp_in")
    if error.kind == SOURCE_QUENCH:  # RFC 6633: ignored
        return True
    if error.kind == PACKET_TOO_BIG:
        _too_big(c, now)
    elif c.state in (SYN_SENT, SYN_RECEIVED) and (not c.passive or manners.is_early(c)):
        number = manners.connect_error(c, error)
        if number:
            closing.fail(c, _connect_errno(number), now)
    elif error.errno:
        c.life.soft_error = error.errno
    return True


def _connect_errno(number: int) -> int:
    return errno.ECONNREFUSED if number == errno.ENOPROTOOPT else number


def _too_big(c: "TcpConnection", now: int) -> None:
    """Path MTU discovery (RFC 1191 §6.4, RFC 8201 §5.4): smaller segments, and again at once."""
    before = c.tx.mss
    handshake.update_mss(c, now)
    if c.state in (SYN_SENT, SYN_RECEIVED):
        if c.state == SYN_SENT and c.fast is not None and c.fast.size and not c.fast.repeated:
            handshake.repeat_plain_syn(c, now)
        return
    if c.tx.mss < before:
        c.board.outcome.reset()
        trace = c.trace
        if trace is not None:
            text = f"{c.describe()}: path MTU {c.path.mtu}, MSS {before} -> {c.tx.mss}"
            trace.decided(now, "tcp.pmtu", text)
        # What was cut for the larger MTU is gone; that is no sign of congestion.
        for record in c.board.records():
            if record.end - record.seq > c.tx.mss:
                c.board.mark_lost(record)
        recovery.repair_only(c)
        c.want_output()
