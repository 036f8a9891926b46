# SPDX-License-Identifier: Apache-2.0
"""SEGMENT ARRIVES in SYN-SENT (RFC 9293 §3.10.7.3), with the echo check of RFC 7323 §5.2."""

import errno
from typing import TYPE_CHECKING

from capas.base.seq import M32, diff
from capas.transport.tcp import closing, handshake, text
from capas.transport.tcp import timers as tt
from capas.transport.tcp.receiver import ACK_DELAYED, ACK_NOW
from capas.transport.tcp.states import ESTABLISHED, SYN_RECEIVED
from capas.wire.tcp import ACK, FIN, RST, SYN, Segment

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection


def arrives(c: "TcpConnection", seg: Segment, now: int) -> None:
    """First check ACK, second RST, third security (obsolete), fourth SYN."""
    tx = c.tx
    flags = seg.flags
    raw_ack = seg.ack
    seg.ack = tx.snd_una + diff(raw_ack, tx.snd_una & M32)
    acceptable = False
    if flags & ACK:
        if seg.ack <= tx.iss or seg.ack > tx.snd_nxt:
            if not flags & RST:
                closing.refuse(c, raw_ack, now)
            return
        acceptable = True
    if flags & RST:
        if acceptable:
            c.counters.add("tcp.connection_refused")
            closing.fail(c, errno.ECONNREFUSED, now)
        return
    if not flags & SYN:
        return
    if acceptable and _echo_is_wrong(c, seg, now):
        closing.refuse(c, raw_ack, now)
        return
    handshake.take_syn(c, seg, now)
    if acceptable:
        tx.snd_wl2 = seg.ack
        handshake.syn_acknowledged(c, seg, now)
        if c.fast is not None:
            handshake.fast_open_answered(c, seg)
        c.set_state(ESTABLISHED, now)
        handshake.established(c, now)
        c.rx.ack = ACK_NOW
        if c.life.writer_waits or c.options.defer_accept:
            # What waits will carry the acknowledgement, and is an answer (Linux, likewise).
            c.life.data_heard = now
            c.rx.ack = ACK_DELAYED
        closing.connected(c, now)
        _text_with_syn(c, seg, now)
        c.want_output()
        return
    # Simultaneous open: our SYN again, with ACK.
    c.set_state(SYN_RECEIVED, now)
    handshake.send_syn(c, now)
    c.timers.set(tt.RTO, now + c.rtt.rto)


def _echo_is_wrong(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """A SYN-ACK that echoes a timestamp we never sent is not for us (RFC 7323 §5.2; Linux)."""
    if seg.ts_val < 0 or seg.ts_ecr <= 0 or not c.config.tcp_timestamps:
        return False
    age = (handshake.ts_now(c, now) - seg.ts_ecr) & M32
    oldest = (handshake.ts_now(c, now) - handshake.ts_now(c, c.life.born)) & M32
    return age > oldest


def _text_with_syn(c: "TcpConnection", seg: Segment, now: int) -> None:
    """Data and FIN in the SYN-ACK go on at the sixth step (§3.10.7.3 fourth)."""
    if seg.length or seg.flags & FIN:
        seg.seq = c.rx.rcv_nxt
        text.seventh_process_text(c, seg, now)
        if seg.flags & FIN:
            text.eighth_check_fin(c, seg, now)
