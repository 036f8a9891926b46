# SPDX-License-Identifier: Apache-2.0
"""SEGMENT ARRIVES, sixth to eighth: urgent pointer, text, FIN (RFC 9293 §3.10.7.4)."""

import errno
from typing import TYPE_CHECKING

from capas.base.seq import M32
from capas.transport.endpoint import READ
from capas.transport.tcp import closing, urgent
from capas.transport.tcp import timers as tt
from capas.transport.tcp.receiver import ACK_DELAYED, ACK_NOW
from capas.transport.tcp.states import (
    CAN_RECEIVE,
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from capas.wire.tcp import CWR, FIN, Segment

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection


def sixth_check_urgent(c: "TcpConnection", seg: Segment) -> None:
    """Sixth: RCV.UP <- max(RCV.UP, SEG.UP), and tell the user."""
    if CAN_RECEIVE[c.state] and not c.life.reader_gone:
        urgent.arrives(c, seg)


def seventh_process_text(c: "TcpConnection", seg: Segment, now: int) -> None:
    """Seventh: the text, trimmed to the window; acknowledge by policy."""
    length = seg.length
    if not length or not CAN_RECEIVE[c.state]:
        return
    rx = c.rx
    if c.neg.ecn_ok:
        _see_marks(c, seg)
    unread = c.life.reader_gone or (c.life.read_shut and c.tx.fin_queued)
    if unread and seg.seq + length > rx.rcv_nxt:
        # New data for a socket nobody reads any more (RFC 9293 §3.10.4, RFC 1122 §4.2.2.13).
        c.counters.add("tcp.data_after_close")
        closing.refuse(c, seg.ack & M32, now)
        if c.life.reader_gone:
            closing.done(c, now)
        else:
            closing.fail(c, errno.ECONNRESET, now)
        return
    nxt = rx.rcv_nxt
    seq = seg.seq
    payload = seg.payload
    edge = max(rx.rcv_adv, nxt)
    if seq < nxt:
        if c.neg.sack_ok:
            rx.dsack = (seq, min(nxt, seq + length))
            c.counters.add("tcp.dsack_out")
        payload = payload[nxt - seq :]
        seq = nxt
        rx.ack = ACK_NOW
    if seq + len(payload) > edge:
        payload = payload[: edge - seq]
        seg.flags &= ~FIN
        rx.ack = ACK_NOW
    if not payload:
        c.want_output()
        return
    if c.env.memory.full and (rx.buffered or seq != nxt):
        # Not acknowledged, so the peer repeats it when there is room.
        c.counters.add("tcp.memory_full")
        if c.trace is not None:
            c.trace.dropped(now, "tcp.memory_full", "")
        rx.ack = ACK_NOW
        c.want_output()
        return
    _take(c, seg, seq, payload, now)
    if rx.ack == ACK_DELAYED or rx.ack == ACK_NOW:
        c.want_output()


def _take(
    c: "TcpConnection", seg: Segment, seq: int, payload: bytes | memoryview, now: int
) -> None:
    """Text inside the window: in order for the user, out of order to be kept."""
    rx = c.rx
    if rx.ooo is not None and rx.dsack is None and c.neg.sack_ok:
        rx.dsack = rx.ooo.duplicate(seq, seq + len(payload))  # RFC 2883 §4.2
    if seq == rx.rcv_nxt:
        gap_filled = rx.ooo is not None
        before = rx.rcv_nxt
        rx.accept(payload, seg.size)
        if urgent.readable(c) if rx.mark is not None else rx.buffered >= c.options.rcvlowat:
            c.endpoint.set_ready(READ)
        if rx.fin_seq == rx.rcv_nxt:
            take_fin(c, now)
        c.acknowledgement_policy(rx.rcv_nxt - before, seg.count, gap_filled, now)
    else:
        rx.ooo_segments += seg.count
        kept = rx.keep(seq, payload, c.config.tcp_out_of_order_ranges)
        if kept < 0:
            c.counters.add("tcp.out_of_order_full")
        elif kept > 0:
            c.counters.add("tcp.out_of_order_in")
        rx.ack = ACK_NOW


def _see_marks(c: "TcpConnection", seg: Segment) -> None:
    """Congestion marks are echoed until CWR answers (RFC 3168 §6.1.3)."""
    if seg.flags & CWR:
        c.life.ecn_echo = False
    if seg.ecn == 3:
        c.life.ecn_echo = True
        c.rx.ack = ACK_NOW


def eighth_check_fin(c: "TcpConnection", seg: Segment, now: int) -> None:
    """Eighth: FIN, when everything before it has arrived."""
    state = c.state
    rx = c.rx
    if state in (CLOSED, SYN_SENT):
        return
    fin_seq = seg.seq + seg.length
    if state in (CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT):
        if state == TIME_WAIT:
            c.timers.set(tt.TIME_WAIT, now + c.config.tcp_time_wait)
        rx.ack = ACK_NOW
        c.want_output()
        return
    rx.fin_seq = fin_seq
    take_fin(c, now)
    rx.ack = ACK_NOW
    c.want_output()


def take_fin(c: "TcpConnection", now: int) -> None:
    """If the peer's FIN is next in sequence, the peer has closed."""
    rx = c.rx
    if rx.fin_seq < 0 or rx.fin_seq != rx.rcv_nxt:
        return
    rx.rcv_nxt += 1
    rx.ack = ACK_NOW
    if c.state in (SYN_RECEIVED, ESTABLISHED):
        c.set_state(CLOSE_WAIT, now)
    elif c.state == FIN_WAIT_1:
        if c.fin_acknowledged():
            closing.time_wait(c, now)
        else:
            c.set_state(CLOSING, now)
    elif c.state == FIN_WAIT_2:
        closing.time_wait(c, now)
    closing.peer_closed(c)
