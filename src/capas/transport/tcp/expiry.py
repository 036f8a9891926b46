# SPDX-License-Identifier: Apache-2.0
"""What each timer does when it expires.

RFC 9293 §3.8, §3.10.8; RFC 6298 §5; RFC 8985 §6.3, §7.3.
"""

import errno
from typing import TYPE_CHECKING, Final

from capas.transport.tcp import closing, handshake, mtu_search, output, recovery, segments
from capas.transport.tcp import timers as tt
from capas.transport.tcp.receiver import ACK_DELAYED, ACK_NOW
from capas.transport.tcp.record import SACKED
from capas.transport.tcp.states import CLOSED, SYN_RECEIVED, SYN_SENT

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection

_MAX_PROBE_SHIFT: Final = 16


def expired(c: "TcpConnection", kind: int, now: int) -> None:
    """Timer ``kind`` of the connection is due."""
    if c.state != CLOSED:
        _HANDLERS[kind](c, now)


def _retransmission(c: "TcpConnection", now: int) -> None:
    """RFC 6298 §5.4-5.7; gives up after R2 (RFC 9293 §3.8.3)."""
    if c.state in (SYN_SENT, SYN_RECEIVED):
        _handshake(c, now)
        return
    tx, rec = c.tx, c.recovery
    if tx.snd_nxt == tx.snd_una:
        return
    limit = c.config.tcp_orphan_retries if c.life.orphan else c.config.tcp_retries2
    # A window that was shut on what is out makes the repeats probes (RFC 9293 §3.8.6.1 MUST-37).
    # Not for ever once the program has left (Linux tcp_retransmit_timer).
    heard = now - c.life.heard < 2 * c.config.tcp_rto_max
    probing = tx.snd_wnd == 0 and heard and not c.life.orphan
    if rec.timeouts >= limit and not probing:
        c.counters.add("tcp.gave_up")
        closing.fail(c, c.life.soft_error or errno.ETIMEDOUT, now)
        return
    if rec.timeouts >= c.config.tcp_retries1:
        _suspect_path(c, now)
    c.timers.clear(tt.TLP)
    c.timers.clear(tt.REORDER)
    recovery.timeout(c, now)
    c.timers.set(tt.RTO, now + c.rtt.rto)
    c.life.pace_next = now  # the first repeat waits for no pacing (Linux tcp_retransmit_timer)
    c.want_output()


def _handshake(c: "TcpConnection", now: int) -> None:
    """SYN or SYN-ACK again, a limited number of times (RFC 9293 §3.8.3 R2 for SYN)."""
    passive, again = c.state == SYN_RECEIVED and c.passive, True
    waits = c.recovery.timeouts < (c.config.tcp_synack_retries if passive else c.options.syncnt)
    if passive and c.listener is not None:
        waits, again = c.listener.may_repeat(c)
    if not waits:
        c.counters.add("tcp.handshake_timeout")
        if passive:
            closing.done(c, now)
        else:
            closing.fail(c, errno.ETIMEDOUT, now)
        return
    c.recovery.timeouts += 1
    c.rtt.backed_off()
    c.timers.set(tt.RTO, now + c.rtt.rto)
    if not again:
        return
    first = c.board.first()
    if first is not None:
        c.board.retransmitted(first, now)
    c.counters.add("tcp.syn_retransmitted")
    trace = c.trace
    if trace is not None:
        trace.decided(
            now, "tcp.rto", f"{c.describe()}: SYN again, next RTO {c.rtt.rto / 1e6:.0f} ms"
        )
    handshake.send_syn(c, now)


def _suspect_path(c: "TcpConnection", now: int) -> None:
    """R1 reached: ask for the next hop anew, and suspect an MTU black hole (RFC 4821 §7.7)."""
    c.path.forget()
    if c.config.tcp_mtu_probing and mtu_search.suspect_black_hole(c, now):
        handshake.update_mss(c, now)


def _persist(c: "TcpConnection", now: int) -> None:
    """The window stays shut: probe, for as long as the peer answers (RFC 9293 §3.8.6.1)."""
    tx, life = c.tx, c.life
    if tx.snd_nxt >= tx.queue_end + tx.fin_queued or tx.snd_nxt > tx.snd_una:
        return
    limit = c.config.tcp_orphan_retries if life.orphan else c.config.tcp_retries2
    backoff = life.persist_backoff
    slow = c.rtt.rto << min(backoff, _MAX_PROBE_SHIFT) >= c.config.tcp_rto_max
    # Once the program has left not for ever, though the peer answers (Linux tcp_probe_timer).
    if life.probes >= limit or (life.orphan and slow and backoff >= limit):
        closing.fail(c, errno.ETIMEDOUT, now)
        return
    room = tx.snd_una + tx.snd_wnd - tx.snd_nxt
    life.probes += 1
    life.persist_backoff += 1
    if room > 0:
        output.force(c, room, now)  # a window too small to be worth it, but it will not grow
        c.want_output()
        return
    output.count_user_timeout(c, now)  # it may have been set since the window was shut
    c.counters.add("tcp.window_probes")
    segments.send_probe(c, now)
    shift = min(life.persist_backoff, _MAX_PROBE_SHIFT)
    c.timers.set(tt.PERSIST, now + min(c.rtt.rto << shift, c.config.tcp_rto_max))


def _delayed_ack(c: "TcpConnection", now: int) -> None:
    if c.rx.ack == ACK_DELAYED:
        c.life.pingpong = False  # no answer came to ride on
        c.rx.ack = ACK_NOW
        c.counters.add("tcp.delayed_acks")
        c.want_output()


def _keepalive(c: "TcpConnection", now: int) -> None:
    """RFC 9293 §3.8.4: only when idle; the peer is dead after keepcnt unanswered probes."""
    options, life = c.options, c.life
    if not options.keepalive or c.state in (SYN_SENT, SYN_RECEIVED):
        return
    idle = now - life.heard
    tx = c.tx
    if tx.snd_una < tx.queue_end + tx.fin_queued:  # data is out or waits: others look after it
        c.timers.set(tt.KEEPALIVE, now + options.keepidle)
        return
    if idle < options.keepidle:
        life.probes = 0
        c.timers.set(tt.KEEPALIVE, now + max(options.keepidle - idle, options.keepintvl))
        return
    dead = options.user_timeout and idle >= options.user_timeout and life.probes > 0
    if dead or (not options.user_timeout and life.probes >= options.keepcnt):
        c.counters.add("tcp.keepalive_timeout")
        segments.send_reset(c, now)
        closing.fail(c, errno.ETIMEDOUT, now)
        return
    life.probes += 1
    c.counters.add("tcp.keepalive_probes")
    segments.send_probe(c, now)
    c.timers.set(tt.KEEPALIVE, now + options.keepintvl)


def _time_wait(c: "TcpConnection", now: int) -> None:
    """2 MSL are over, or FIN-WAIT-2 of a closed socket lasted too long."""
    closing.done(c, now)


def _user(c: "TcpConnection", now: int) -> None:
    """The user timeout: delete the connection, "aborted due to user timeout" (§3.10.8)."""
    c.counters.add("tcp.user_timeout")
    closing.fail(c, errno.ETIMEDOUT, now)


def _pace(c: "TcpConnection", now: int) -> None:
    c.want_output()


def _reorder(c: "TcpConnection", now: int) -> None:
    """The reordering window of RACK closed (RFC 8985 §6.3)."""
    c.board.outcome.reset()
    recovery.detect(c, now, False)
    c.want_output()


def _tail_loss_probe(c: "TcpConnection", now: int) -> None:
    """Send new data if there is some, else the last segment again (RFC 8985 §7.3)."""
    tx, board = c.tx, c.board
    if tx.snd_nxt == tx.snd_una:
        return
    c.rack.tlp_end = tx.snd_nxt
    room = tx.snd_una + tx.snd_wnd - tx.snd_nxt
    c.counters.add("tcp.tlp_probes")
    if tx.snd_nxt < tx.queue_end and room >= min(tx.mss, tx.queue_end - tx.snd_nxt):
        c.rack.tlp_retrans = False
        output.force(c, min(tx.mss, room), now)
        c.rack.tlp_end = tx.snd_nxt
    else:
        last = board.last()
        if last is None or last.flags & SACKED:
            return
        c.rack.tlp_retrans = True
        whole = (min(last.end, tx.queue_end) - last.seq - 1) // tx.mss * tx.mss
        if whole > 0:
            board.split(last, last.seq + whole)  # the last segment of a super-frame, as it was sent
            last = board.last()
        if last is not None:
            output.retransmit(c, last, tx.mss, now)
    trace = c.trace
    if trace is not None:
        trace.decided(now, "tcp.tlp", f"{c.describe()}: tail loss probe (RFC 8985 §7.3)")
    c.timers.set(tt.RTO, now + c.rtt.rto)


_HANDLERS: Final = {
    tt.RTO: _retransmission,
    tt.PERSIST: _persist,
    tt.DELACK: _delayed_ack,
    tt.KEEPALIVE: _keepalive,
    tt.TIME_WAIT: _time_wait,
    tt.USER: _user,
    tt.PACE: _pace,
    tt.REORDER: _reorder,
    tt.TLP: _tail_loss_probe,
}
