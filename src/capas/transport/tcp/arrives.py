# SPDX-License-Identifier: Apache-2.0
"""SEGMENT ARRIVES, in the order of RFC 9293 §3.10.7: read it with the RFC beside.

One function per numbered step, each returning whether to go on.  Also here: the checks of RFC 5961
(blind attacks) and of RFC 7323 §5 (PAWS) at the steps where they belong.  Sequence numbers of the
segment are unwrapped before the first step.  Segments come from the wire: nothing raises.
"""

import errno
from typing import TYPE_CHECKING, Final

from capas.base.clock import SECOND
from capas.base.seq import M32, diff
from capas.transport.endpoint import READ
from capas.transport.tcp import closing, freebsd, handshake
from capas.transport.tcp import timers as tt
from capas.transport.tcp.acknowledge import acknowledged
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
from capas.wire.tcp import ACK, CWR, FIN, RST, SYN, URG, Segment

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection

PAWS_IDLE: Final = 24 * 24 * 3600 * SECOND  # RFC 7323 §5.5: 24 days, ns


def segment_arrives(c: "TcpConnection", seg: Segment, now: int) -> None:
    """A segment for this connection (§3.10.7.3 in SYN-SENT, §3.10.7.4 otherwise)."""
    state = c.state
    if state == SYN_SENT:
        syn_sent(c, seg, now)
        return
    if state == CLOSED:
        return
    rx, tx = c.rx, c.tx
    seg.seq = rx.rcv_nxt + diff(seg.seq, rx.rcv_nxt & M32)
    seg.ack = tx.snd_una + diff(seg.ack, tx.snd_una & M32)
    if c.config.tcp_manners == "freebsd" and not freebsd.arrives(c, seg, now):
        return
    if (
        first_check_sequence(c, seg, now)
        and second_check_reset(c, seg, now)
        and fourth_check_syn(c, seg, now)
        and fifth_check_ack(c, seg, now)
    ):
        sixth_check_urgent(c, seg)
        seventh_process_text(c, seg, now)
        if seg.flags & FIN:
            eighth_check_fin(c, seg, now)


# -- SYN-SENT (§3.10.7.3) -------------------------------------------------------------------------


def syn_sent(c: "TcpConnection", seg: Segment, now: int) -> None:
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
        handshake.established(c)
        c.rx.ack = ACK_NOW
        if c.life.writer_waits:
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
        seventh_process_text(c, seg, now)
        if seg.flags & FIN:
            eighth_check_fin(c, seg, now)


# -- other states (§3.10.7.4) ---------------------------------------------------------------------


def first_check_sequence(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """First: PAWS (RFC 7323 §5.3), then the acceptability test of §3.10.7.4."""
    rx = c.rx
    flags = seg.flags
    if c.neg.ts_ok and not _timestamps_ok(c, seg, now):
        return False
    if c.state == SYN_RECEIVED and flags & (SYN | ACK | RST) == SYN | ACK and seg.seq == rx.irs:
        # The SYN-ACK of a simultaneous open (figure 8): its SYN is old, its ACK is not.
        seg.seq += 1
        seg.flags = flags = flags & ~SYN
        seg.wnd >>= c.tx.snd_wscale  # never scaled in a SYN
    length = seg.length
    if flags & (SYN | FIN):
        length += (flags & SYN != 0) + (flags & FIN)
    window = rx.window()
    seq, nxt = seg.seq, rx.rcv_nxt
    if length == 0:
        ok = seq == nxt or nxt <= seq < nxt + window or (window == 0 and seq == nxt)
    elif window == 0:
        # Special allowance for valid ACKs, URGs and RSTs (§3.10.7.4): take them, not the text.
        ok = seq == nxt and not flags & SYN
        if ok:
            seg.payload = b""
            seg.length = 0
            seg.flags &= ~FIN
            c.rx.ack = ACK_NOW
            c.want_output()
    else:
        ok = seq < nxt + window and seq + length > nxt
    if ok:
        if c.neg.ts_ok and seg.ts_val >= 0:
            _remember_timestamp(c, seg, now)
        return True
    c.counters.add("tcp.out_of_window")
    if c.trace is not None:
        c.trace.dropped(now, "tcp.out_of_window", "RFC 9293 §3.10.7.4")
    if flags & RST:
        return False
    if c.state == SYN_RECEIVED and flags & (SYN | ACK) == SYN and seq == rx.irs:
        handshake.send_syn(c, now)  # the peer missed our SYN-ACK
        return False
    if seg.length and seq + length <= nxt and c.neg.sack_ok:
        rx.dsack = (seq, seq + seg.length)
        c.counters.add("tcp.dsack_out")
    if c.state == TIME_WAIT and flags & FIN:
        c.timers.set(tt.TIME_WAIT, now + c.config.tcp_time_wait)
    if (
        seg.length
        or flags & (SYN | FIN)
        or c.life.may_answer_invalid(now, c.config.tcp_invalid_ratelimit)
    ):
        if flags & SYN:
            closing.challenge(c, now)
        else:
            rx.ack = ACK_NOW
            rx.quick = max(rx.quick, 2)
            c.want_output()
    return False


def _timestamps_ok(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """RFC 7323 §3.2 (the option is now mandatory) and §5.3 R1 (PAWS)."""
    rx = c.rx
    if seg.ts_val < 0:
        if seg.flags & RST:
            return True
        c.counters.add("tcp.missing_timestamp")  # RFC 7323 §3.2: SHOULD drop; Linux takes it
        return True
    if rx.ts_recent >= 0:
        behind = ((seg.ts_val - rx.ts_recent) & M32) >= 0x80000000
        if behind and not seg.flags & RST and now - rx.ts_recent_time < PAWS_IDLE:
            c.counters.add("tcp.paws")
            if c.trace is not None:
                c.trace.dropped(now, "tcp.paws", "RFC 7323 §5.3 R1")
            if seg.length and c.neg.sack_ok and seg.seq + seg.length <= rx.rcv_nxt:
                rx.dsack = (seg.seq, seg.seq + seg.length)
            if seg.length or c.life.may_answer_invalid(now, c.config.tcp_invalid_ratelimit):
                rx.ack = ACK_NOW
                c.want_output()
            return False
    return True


def _remember_timestamp(c: "TcpConnection", seg: Segment, now: int) -> None:
    """RFC 7323 §5.3 R3, after the sequence test (R2): a forged number must not poison TS.Recent."""
    rx = c.rx
    idle = now - rx.ts_recent_time >= PAWS_IDLE
    newer = rx.ts_recent < 0 or ((seg.ts_val - rx.ts_recent) & M32) < 0x80000000
    if (newer or idle) and seg.seq <= rx.last_ack_sent and not seg.flags & RST:
        rx.ts_recent = seg.ts_val
        rx.ts_recent_time = now


def second_check_reset(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """Second: RST, with RFC 5961 §3.2: exactly RCV.NXT resets, the rest of the window is asked."""
    if not seg.flags & RST:
        return True
    if (
        seg.seq != c.rx.rcv_nxt
        and not c.config.tcp_insecure_rst
        and not (c.rx.ooo is not None and seg.seq == c.rx.ooo.ranges.ends[-1])
    ):
        closing.challenge(c, now)
        return False
    state = c.state
    c.counters.add("tcp.resets_in")
    if state == SYN_RECEIVED and c.fast is not None and c.fast.early:
        closing.fail(c, errno.ECONNRESET, now)
    elif state == SYN_RECEIVED:
        if c.passive:
            closing.done(c, now)  # back to LISTEN: the listener is still there
        else:
            closing.fail(c, errno.ECONNREFUSED, now)
    elif state == TIME_WAIT:
        if not c.config.tcp_rfc1337:  # RFC 1337: TIME-WAIT survives a reset
            closing.done(c, now)
    elif state in (CLOSING, LAST_ACK):
        closing.done(c, now)
    elif state == CLOSE_WAIT:
        closing.fail(c, errno.EPIPE, now)
    else:
        closing.fail(c, errno.ECONNRESET, now)
    return False


def fourth_check_syn(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """Fourth: a SYN in the window (third, security, is obsolete): challenge it (RFC 5961 §4.2)."""
    if not seg.flags & SYN:
        return True
    if c.state == SYN_RECEIVED and c.passive:
        closing.done(c, now)  # back to LISTEN
        return False
    if c.config.tcp_insecure_syn and c.state != TIME_WAIT:
        closing.reset_by_syn(c, now)  # as before RFC 5961
        return False
    closing.challenge(c, now)
    return False


def fifth_check_ack(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """Fifth: the ACK field; RFC 5961 §5.2 bounds it from below."""
    if not seg.flags & ACK:
        return False
    tx = c.tx
    ack = seg.ack
    if c.state == SYN_RECEIVED:
        if not tx.snd_una < ack <= tx.snd_nxt:
            closing.refuse(c, ack & M32, now)
            return False
        early = c.fast is not None and c.fast.early
        if c.listener is not None and not early and not c.listener.may_establish(c, now):
            return False
        handshake.syn_acknowledged(c, seg, now)
        c.tx.snd_wl1 = seg.seq - 1
        tx.update_window(seg.seq, ack, seg.wnd << tx.snd_wscale)
        c.set_state(ESTABLISHED, now)
        handshake.established(c)
        closing.connected(c, now)
        if tx.snd_nxt > tx.snd_una:
            c.timers.set(tt.RTO, now + c.rtt.rto)  # Fast Open: our answer left long ago
    elif ack > tx.snd_nxt or ack < tx.snd_una - max(tx.max_wnd, 1):
        c.counters.add("tcp.bad_ack")
        closing.challenge(c, now)
        return False
    elif ack < tx.snd_una:
        # A duplicate that says nothing new; its data is still good.
        if seg.sack and c.neg.sack_ok and tx.snd_nxt > tx.snd_una:
            seg.ack = tx.snd_una
            acknowledged(c, seg, now)
        return True
    acknowledged(c, seg, now)
    return _closing_states(c, now)


def _closing_states(c: "TcpConnection", now: int) -> bool:
    """The rest of the fifth step: what the acknowledgement of our FIN does."""
    state = c.state
    if state < FIN_WAIT_1:
        return True
    if state == TIME_WAIT:
        return True
    if not c.fin_acknowledged():
        return True
    if state == FIN_WAIT_1:
        c.set_state(FIN_WAIT_2, now)
        closing.fin_wait_2(c, now)
    elif state == CLOSING:
        closing.time_wait(c, now)
        return False
    elif state == LAST_ACK:
        closing.done(c, now)
        return False
    return True


def sixth_check_urgent(c: "TcpConnection", seg: Segment) -> None:
    """Sixth: RCV.UP <- max(RCV.UP, SEG.UP); urgent data stays in line (RFC 6093)."""
    if seg.flags & URG and CAN_RECEIVE[c.state] and seg.up:
        up = seg.seq + seg.up
        if up > c.rx.rcv_up:
            c.rx.rcv_up = up
            c.counters.add("tcp.urgent_in")


def seventh_process_text(c: "TcpConnection", seg: Segment, now: int) -> None:
    """Seventh: the text, trimmed to the window; acknowledge by policy."""
    length = seg.length
    if not length or not CAN_RECEIVE[c.state]:
        return
    rx = c.rx
    if c.neg.ecn_ok:
        if seg.flags & CWR:
            c.life.ecn_echo = False
        if seg.ecn == 3:
            c.life.ecn_echo = True
            rx.ack = ACK_NOW
    if c.life.reader_gone:
        # Data for a socket nobody reads any more (RFC 9293 §3.10.4, RFC 1122 §4.2.2.13).
        c.counters.add("tcp.data_after_close")
        closing.refuse(c, seg.ack & M32, now)
        closing.done(c, now)
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
    if rx.ooo is not None and rx.dsack is None and c.neg.sack_ok:
        rx.dsack = rx.ooo.duplicate(seq, seq + len(payload))  # RFC 2883 §4.2
    if seq == nxt:
        gap_filled = rx.ooo is not None
        before = rx.rcv_nxt
        rx.accept(payload)
        c.endpoint.set_ready(READ)
        if rx.fin_seq == rx.rcv_nxt:
            take_fin(c, now)
        c.acknowledgement_policy(rx.rcv_nxt - before, seg.count, gap_filled, now)
    else:
        kept = rx.keep(seq, payload, c.config.tcp_out_of_order_ranges)
        if kept < 0:
            c.counters.add("tcp.out_of_order_full")
        elif kept > 0:
            c.counters.add("tcp.out_of_order_in")
        rx.ack = ACK_NOW
    if rx.ack == ACK_DELAYED or rx.ack == ACK_NOW:
        c.want_output()


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
