# SPDX-License-Identifier: Apache-2.0
"""What an acknowledgement teaches the sender (RFC 9293 §3.10.7.4, fifth; RFC 5681; RFC 2018).

Order: SACK blocks, cumulative acknowledgement, round-trip sample, losses and phase (`recovery`),
congestion control, timers.  `seg.seq` and `seg.ack` are unwrapped here.
"""

from typing import TYPE_CHECKING

from capas.base.clock import MS, NEVER, SECOND
from capas.base.seq import M32, diff
from capas.transport.endpoint import WRITE
from capas.transport.tcp import mtu_search, rack, recovery
from capas.transport.tcp import timers as tt
from capas.transport.tcp.congestion.base import AckSample
from capas.transport.tcp.handshake import ts_now, update_mss
from capas.transport.tcp.life import NONE
from capas.transport.tcp.recovery import CWR, RECOVERY
from capas.wire.tcp import ECE, FIN, SYN, Segment

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection


def acknowledged(c: "TcpConnection", seg: Segment, now: int) -> None:
    """Take the acknowledgement and window of an acceptable segment."""
    tx, board, rec = c.tx, c.board, c.recovery
    ack = max(seg.ack, tx.snd_una)  # an old one comes for what it SACKs
    prior_una = tx.snd_una
    if (
        ack > prior_una
        and not seg.sack
        and rec.phase == recovery.OPEN
        and not rec.reno_sacked
        and rec.undo_una < 0
        and not c.rack.tlp_end
        and not seg.flags & ECE
        and c.config.tcp_fast_path
        and board.clean(ack)
    ):
        _clean_progress(c, seg, ack, now)
        return
    if ack == prior_una == tx.snd_nxt and not seg.sack:
        window_only(c, seg, now)
        return
    prior_flight = recovery.in_flight(c)
    outcome = board.outcome
    outcome.reset()
    board.rate.begin()
    board.prior_high = board.high_sacked
    dsack = bool(seg.sack) and c.neg.sack_ok and _take_sack(c, seg, now)
    advanced = ack > prior_una
    if advanced:
        board.acked(ack, now)
        tx.snd_una = ack
        tx.release(ack)
    c.life.probes = 0
    prior_wnd = tx.snd_wnd
    tx.update_window(seg.seq, seg.ack, seg.wnd << tx.snd_wscale)
    if advanced:
        _progress(c, ack, now)
        search = c.path.search
        if search is not None and search.probe_size and ack >= search.end:
            mtu_search.arrived(c, search, now)
            update_mss(c, now)
    duplicate = not advanced and _duplicate(c, seg, tx.snd_wnd != prior_wnd)
    if tx.snd_nxt > prior_una or outcome.delivered or dsack:
        # What a duplicate is answered with echoes an older segment (RFC 7323 §5.3 R2): no sample.
        original = outcome.first_sent
        _sample_rtt(c, seg, advanced and not dsack, now)
        if c.config.tcp_rack and c.neg.sack_ok:
            rack.update(c, seg.ts_ecr, now, dsack)
            rack.probe_acknowledged(c, ack, dsack, duplicate, now)
        recovery.consider_undo(c, seg.ts_ecr if c.neg.ts_ok else -1, original, advanced, now)
        if c.neg.ecn_ok and seg.flags & ECE and advanced:
            recovery.congestion_echo(c, now)
        recovery.detect(c, now, advanced)
        _tell_congestion_control(c, prior_flight, advanced, now)
    if tx.snd_una >= tx.queue_end:
        c.life.chrono.switch(NONE, now)
    _rearm(c, advanced, now)
    c.writable()
    c.want_output()


def window_only(c: "TcpConnection", seg: Segment, now: int) -> None:
    """As `acknowledged`, when nothing is out and nothing is acknowledged."""
    tx, life = c.tx, c.life
    life.probes = 0
    tx.update_window(seg.seq, tx.snd_una, seg.wnd << tx.snd_wscale)
    if c.timers.deadline != NEVER:
        c.timers.all_acknowledged(tx.snd_wnd > 0)
    _go_on(c, now)


def _go_on(c: "TcpConnection", now: int) -> None:
    """What is left to do without loss: tell the user of room, and have sent what may be sent."""
    tx, chrono = c.tx, c.life.chrono
    if chrono.kind != NONE and tx.snd_una >= tx.queue_end:
        chrono.switch(NONE, now)
    if not c.endpoint.readiness & WRITE:
        c.writable()
    if not c.dirty and tx.snd_nxt < tx.queue_end + tx.fin_queued:
        c.want_output()


def _clean_progress(c: "TcpConnection", seg: Segment, ack: int, now: int) -> None:
    """As `acknowledged`, when nothing was ever lost, reordered or repeated of what is out.

    Everything that deals with losses is known to do nothing then.  A test runs every
    acknowledgement of a clean transfer both ways.
    """
    tx, board, rec, timers, rack_ = c.tx, c.board, c.recovery, c.timers, c.rack
    flight = tx.snd_nxt - tx.snd_una
    rate = board.rate
    first_sent, newest = board.acked_clean(ack, now)
    tx.snd_una = ack
    tx.release(ack)
    life = c.life
    life.probes = 0
    life.persist_backoff = 0
    tx.update_window(seg.seq, ack, seg.wnd << tx.snd_wscale)
    rec.dup_acks = 0
    rec.timeouts = 0
    rec.retrans_stamp = -1
    if c.options.user_timeout:
        timers.clear(tt.USER)
        if tx.snd_nxt > ack:
            timers.set(tt.USER, now + c.options.user_timeout)
    if now - life.confirmed >= SECOND:
        c.path_works(now)
    rtt = c.rtt
    rtt.sample(now - first_sent, now)
    rack_.clean(newest.sent_time, newest.end, now)
    if timers.deadlines[tt.REORDER] != NEVER:
        timers.clear(tt.REORDER)
    rate.finish(now, rtt.min_rtt)
    sample = c.sample
    sample.now = now
    sample.acked = board.outcome.delivered
    sample.lost = 0
    sample.prior_in_flight = flight
    sample.in_flight = tx.snd_nxt - ack
    sample.rtt = now - newest.sent_time
    sample.min_rtt = rtt.min_rtt
    sample.delivered = rate.delivered
    sample.prior_delivered = max(rate.prior_delivered, 0)
    sample.rate = rate.rate
    sample.app_limited = rate.rate_app_limited
    sample.advanced = 1
    sample.snd_una = ack & M32
    sample.snd_nxt = tx.snd_nxt & M32
    sample.in_recovery = 0
    cc = c.cc
    cc.on_ack(sample)
    if tx.auto_max and 2 * cc.cwnd > tx.limit:
        tx.tune(cc.cwnd)
    if ack == tx.snd_nxt:
        timers.all_acknowledged(tx.snd_wnd > 0)
    else:
        _rearm(c, True, now)
    _go_on(c, now)
    if not c.dirty:
        c.account()  # what was acknowledged is held no more


def _take_sack(c: "TcpConnection", seg: Segment, now: int) -> bool:
    """Mark SACKed records; True if the first block was a D-SACK (RFC 2883 §4)."""
    tx, board, rec = c.tx, c.board, c.recovery
    una, nxt = tx.snd_una, tx.snd_nxt
    raw_una = una & M32
    blocks = seg.sack
    dsack = False
    for i in range(0, len(blocks), 2):
        left = una + diff(blocks[i], raw_una)
        right = una + diff(blocks[i + 1], raw_una)
        if right <= left or right > nxt:
            c.counters.add("tcp.bad_sack")
            continue
        if i == 0 and _is_dsack(c, seg, left, right):
            dsack = True
            rec.dsack_seen = True
            rec.dsacks += -(-(right - left) // tx.mss)
            rec.undo_bytes -= right - left
            c.counters.add("tcp.dsack_in")
            continue
        if right <= una or left < una:
            continue
        board.sack(left, right, now)
    return dsack


def _is_dsack(c: "TcpConnection", seg: Segment, left: int, right: int) -> bool:
    """The first block reports a duplicate: below the ACK, or inside the second block."""
    if right <= seg.ack:
        return True
    if len(seg.sack) >= 4:
        una = c.tx.snd_una
        second_left = una + diff(seg.sack[2], una & M32)
        second_right = una + diff(seg.sack[3], una & M32)
        return second_left <= left and right <= second_right
    return False


def _progress(c: "TcpConnection", ack: int, now: int) -> None:
    """SND.UNA moved: the path works."""
    rec = c.recovery
    if rec.reno_sacked:
        # Without SACK: what the duplicates stood for is now acknowledged by number.
        rec.reno_sacked = max(0, rec.reno_sacked - max(c.board.outcome.acked - c.tx.mss, 0))
        if rec.phase < CWR:
            rec.reno_sacked = 0
    rec.dup_acks = 0
    rec.timeouts = 0
    c.life.persist_backoff = 0
    if c.options.user_timeout:
        c.timers.clear(tt.USER)
        if c.tx.snd_nxt > ack:
            c.timers.set(tt.USER, now + c.options.user_timeout)
    c.path_works(now)


def _duplicate(c: "TcpConnection", seg: Segment, window_moved: bool) -> bool:
    """Count a duplicate acknowledgement by RFC 5681 §2; True if it was one."""
    tx, rec = c.tx, c.recovery
    if (
        seg.ack != tx.snd_una
        or seg.length
        or seg.flags & (SYN | FIN)
        or tx.snd_nxt == tx.snd_una
        or window_moved
    ):
        return False
    rec.dup_acks += 1
    c.counters.add("tcp.duplicate_acks_in")
    if not c.neg.sack_ok:
        most = tx.snd_nxt - tx.snd_una - c.board.lost
        if rec.reno_sacked + tx.mss <= most:
            rec.reno_sacked += tx.mss
            c.board.outcome.delivered += tx.mss
    return True


def _sample_rtt(c: "TcpConnection", seg: Segment, advanced: bool, now: int) -> None:
    """RFC 6298 §3 (Karn), RFC 7323 §4: send times first, TSecr when all were repeated."""
    outcome = c.board.outcome
    if outcome.retrans_acked:
        # What a repair lets the peer acknowledge at last may have arrived long ago.
        outcome.first_sent = outcome.last_sent = -1
    if outcome.first_sent >= 0:
        c.rtt.sample(now - outcome.first_sent, now)
    elif advanced and c.neg.ts_ok and seg.ts_ecr > 0:
        elapsed = (ts_now(c, now) - seg.ts_ecr) & M32
        newest = outcome.newest
        last = now if newest is None else newest.sent_time
        if c.rtt.backoff > 1 and (elapsed - 1) * MS > now - last:
            return  # after several timeouts: rather a lost acknowledgement than such a round trip
        if elapsed < 0x7FFFFFFF:
            c.rtt.sample(max(elapsed, 1) * MS, now)


def _tell_congestion_control(
    c: "TcpConnection", prior_flight: int, advanced: bool, now: int
) -> None:
    board, tx, rec = c.board, c.tx, c.recovery
    outcome = board.outcome
    if not outcome.delivered and not outcome.lost:
        return
    rate = board.rate
    rate.finish(now, c.rtt.min_rtt)
    sample: AckSample = c.sample
    sample.now = now
    sample.acked = outcome.delivered
    sample.lost = outcome.lost
    sample.in_flight = recovery.in_flight(c)
    sample.prior_in_flight = prior_flight
    sample.rtt = now - outcome.last_sent if outcome.last_sent >= 0 else -1
    sample.min_rtt = c.rtt.min_rtt
    sample.delivered = rate.delivered
    sample.prior_delivered = max(rate.prior_delivered, 0)
    sample.rate = rate.rate
    sample.app_limited = rate.rate_app_limited
    sample.advanced = int(advanced)
    sample.snd_una = tx.snd_una & M32
    sample.snd_nxt = tx.snd_nxt & M32
    sample.in_recovery = 1 if rec.phase == RECOVERY or rec.phase == CWR else 0
    c.cc.on_ack(sample)
    tx.tune(c.cc.cwnd)


def _rearm(c: "TcpConnection", advanced: bool, now: int) -> None:
    """RFC 6298 §5.2-5.3: the timer runs while data is out, and starts anew with progress."""
    tx, timers = c.tx, c.timers
    if tx.snd_una == tx.snd_nxt:
        timers.all_acknowledged(tx.snd_wnd > 0)
    elif advanced or c.board.outcome.sacked:
        timers.set(tt.RTO, now + c.rtt.rto)
        if not rack.schedule_probe(c, now):
            timers.clear(tt.TLP)  # no probes while something is missing (RFC 8985 §7.2)
