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
from capas.transport.tcp import closing, freebsd, handshake, synsent, text
from capas.transport.tcp import timers as tt
from capas.transport.tcp.acknowledge import acknowledged, window_only
from capas.transport.tcp.receiver import ACK_NOW
from capas.transport.tcp.states import (
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
from capas.wire.tcp import ACK, FIN, RST, SYN, URG, Segment

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection

PAWS_IDLE: Final = 24 * 24 * 3600 * SECOND  # RFC 7323 §5.5: 24 days, ns


def segment_arrives(c: "TcpConnection", seg: Segment, now: int) -> None:
    """A segment for this connection (§3.10.7.3 in SYN-SENT, §3.10.7.4 otherwise)."""
    state = c.state
    if state == SYN_SENT:
        synsent.arrives(c, seg, now)
        return
    if state == CLOSED:
        return
    rx, tx = c.rx, c.tx
    nxt, una = rx.rcv_nxt, tx.snd_una
    seg.seq = nxt if seg.seq == nxt & M32 else nxt + diff(seg.seq, nxt & M32)
    ahead = (seg.ack - una) & M32
    seg.ack = una + ahead if ahead < 0x80000000 else una + diff(seg.ack, una & M32)
    if rx.eager and not freebsd.arrives(c, seg, now):
        return
    # A step that the segment gives no work to is not called.
    if (
        first_check_sequence(c, seg, now)
        and (not seg.flags & RST or second_check_reset(c, seg, now))
        and (not seg.flags & SYN or fourth_check_syn(c, seg, now))
        and fifth_check_ack(c, seg, now)
    ):
        if seg.flags & URG or rx.mark is not None:
            text.sixth_check_urgent(c, seg)
        if seg.length:
            text.seventh_process_text(c, seg, now)
        if seg.flags & FIN:
            text.eighth_check_fin(c, seg, now)


# -- other states (§3.10.7.4) ---------------------------------------------------------------------


def first_check_sequence(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """First: PAWS (RFC 7323 §5.3), then the acceptability test of §3.10.7.4."""
    rx = c.rx
    flags = seg.flags
    if (
        c.neg.ts_ok
        and (seg.ts_val < 0 or (seg.ts_val - rx.ts_recent) & M32 >= 0x80000000)
        and not _timestamps_ok(c, seg, now)
    ):
        return False
    if c.state == SYN_RECEIVED and flags & (SYN | ACK | RST) == SYN | ACK and seg.seq == rx.irs:
        # The SYN-ACK of a simultaneous open (figure 8): its SYN is old, its ACK is not.
        seg.seq += 1
        seg.flags = flags = flags & ~SYN
        seg.wnd >>= c.tx.snd_wscale  # never scaled in a SYN
    length = seg.length
    if flags & (SYN | FIN):
        length += (flags & SYN != 0) + (flags & FIN)
    seq, nxt = seg.seq, rx.rcv_nxt
    window = rx.rcv_adv - nxt if rx.rcv_adv > nxt else 0
    if length == 0:
        ok = nxt <= seq <= nxt + window  # the edge, too (Linux): of a peer that has filled it
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
    """RFC 7323 §5.3 R3, once SEQ (R2) and ACK are good: forgeries must not poison TS.Recent."""
    rx = c.rx
    if not c.neg.ts_ok or seg.ts_val < 0:
        return
    idle = now - rx.ts_recent_time >= PAWS_IDLE
    newer = rx.ts_recent < 0 or ((seg.ts_val - rx.ts_recent) & M32) < 0x80000000
    if (newer or idle) and seg.seq <= rx.last_ack_sent and not seg.flags & RST:
        rx.ts_recent = seg.ts_val
        rx.ts_recent_time = now


def second_check_reset(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """Second: RST, with RFC 5961 §3.2: exactly RCV.NXT resets, the rest of the window is asked."""
    if (
        seg.seq != c.rx.rcv_nxt
        and not c.config.tcp_insecure_rst
        and not (c.neg.sack_ok and c.rx.ooo is not None and seg.seq == c.rx.ooo.ranges.ends[-1])
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
        bare = not seg.length and not seg.flags & FIN
        if c.listener is not None and not early and not c.listener.may_establish(c, bare, now):
            return False
        handshake.syn_acknowledged(c, seg, now)
        c.tx.snd_wl1 = seg.seq - 1
        tx.update_window(seg.seq, ack, seg.wnd << tx.snd_wscale)
        c.set_state(ESTABLISHED, now)
        handshake.established(c, now)
        closing.connected(c, now)
        if tx.snd_nxt > tx.snd_una:
            c.timers.set(tt.RTO, now + c.rtt.rto)  # Fast Open: our answer left long ago
        elif tx.snd_nxt == tx.queue_end + tx.fin_queued and not seg.sack:
            _remember_timestamp(c, seg, now)  # nobody has written yet: that was all
            return True
    elif ack > tx.snd_nxt or ack < tx.snd_una - min(tx.max_wnd, tx.snd_una - tx.iss - 1):
        c.counters.add("tcp.bad_ack")
        closing.challenge(c, now)
        return False
    elif ack < tx.snd_una:
        # A duplicate that says nothing new; its data is still good.
        _remember_timestamp(c, seg, now)
        if seg.sack and c.neg.sack_ok and tx.snd_nxt > tx.snd_una:
            acknowledged(c, seg, now)
        return True
    elif c.state == LAST_ACK and ack == tx.snd_nxt > tx.queue_end and not seg.sack:
        # The last of all: what else it teaches would be forgotten at once.
        tx.snd_una = ack
        if now - c.life.confirmed >= SECOND:
            c.path_works(now)
        closing.done(c, now)
        return False
    if c.neg.ts_ok:
        _remember_timestamp(c, seg, now)
    if ack == tx.snd_una == tx.snd_nxt and not seg.sack:
        window_only(c, seg, now)
    else:
        acknowledged(c, seg, now)
    return c.state < FIN_WAIT_1 or _closing_states(c, now)


def _closing_states(c: "TcpConnection", now: int) -> bool:
    """The rest of the fifth step: what the acknowledgement of our FIN does."""
    state = c.state
    if state == TIME_WAIT or not c.fin_acknowledged():
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
