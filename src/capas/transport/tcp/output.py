# SPDX-License-Identifier: Apache-2.0
"""What to send now: repairs, new data, FIN, a bare acknowledgement (RFC 9293 §3.8.6, §3.7.4).

`output` runs once per connection and batch (`TcpLayer.flush`), so what a batch asked for leaves as
one super-frame or one acknowledgement.  It decides by cwnd (RFC 5681), the peer's window, Nagle's
rule in Minshall's variant, sender-side silly-window avoidance, and pacing.

Budget: 3 calls besides the internet layer's for one run of new data.
"""

from typing import TYPE_CHECKING, Final

from capas.base.clock import NEVER, SECOND
from capas.transport.endpoint import WRITE
from capas.transport.tcp import mtu_search, rack
from capas.transport.tcp import timers as tt
from capas.transport.tcp.handshake import ts_now, update_mss
from capas.transport.tcp.life import BUSY, RWND_LIMITED
from capas.transport.tcp.receiver import ACK_DELAYED, ACK_NOW
from capas.transport.tcp.record import MTU_PROBE, PUSHED, Record
from capas.transport.tcp.recovery import CWR as PHASE_CWR
from capas.transport.tcp.recovery import OPEN, RECOVERY, in_flight
from capas.transport.tcp.segments import send_ack, transmit
from capas.transport.tcp.states import HAS_OUTPUT, SYN_RECEIVED
from capas.wire.tcp import FIN, PSH

if TYPE_CHECKING:
    from capas.transport.tcp.congestion.base import CongestionControl
    from capas.transport.tcp.connection import TcpConnection


_PROBE_WINDOW: Final = 11  # segments; with less a lost probe would cost a timeout (as Linux)


def output(c: "TcpConnection", now: int) -> None:
    """Send what may be sent; whatever goes out carries the acknowledgement."""
    if HAS_OUTPUT[c.state] or (c.state == SYN_RECEIVED and c.fast is not None and c.fast.early):
        tx = c.tx
        more = tx.snd_nxt < tx.queue_end + tx.fin_queued
        if more or c.board.lost:
            if c.path.generation != c.env.net.routes.generation:
                update_mss(c, now)
            if c.board.lost:
                _repair(c, now)
            if more:
                _new_data(c, now)
    ack = c.rx.ack
    if ack == ACK_NOW:
        send_ack(c, now)
    elif ack == ACK_DELAYED and not c.timers.is_set(tt.DELACK):
        c.timers.set(tt.DELACK, now + c.config.tcp_delayed_ack)


# -- repairs ------------------------------------------------------------------------------------


def _repair(c: "TcpConnection", now: int) -> None:
    """Send lost records again, lowest first, as far as the window and pacing allow."""
    board, rec, tx = c.board, c.recovery, c.tx
    flight = in_flight(c)
    while True:
        record = board.next_lost()
        if record is None:
            return
        allowed = c.cc.cwnd - flight
        if allowed < tx.mss and allowed < record.end - record.seq and flight > 0:
            return
        if not _pacing_allows(c, now):
            return
        size = retransmit(c, record, max(allowed, tx.mss), now)
        flight += size
        if rec.phase == RECOVERY or rec.phase == PHASE_CWR:
            rec.prr_out += size


def retransmit(c: "TcpConnection", record: "Record", allowed: int, now: int) -> int:
    """Send ``record`` again, cut to ``allowed`` bytes and to what fits; return its size."""
    board, tx = c.board, c.tx
    limit = min(allowed // tx.mss * tx.mss, _run_limit(c, record.seq))
    data_end = min(record.end, tx.queue_end)
    if data_end - record.seq > limit:
        board.split(record, record.seq + limit)
    n = min(record.end, tx.queue_end) - record.seq
    flags = FIN if record.end > tx.queue_end else 0
    if n and (record.end == tx.queue_end or flags or n > tx.mss or record.flags & PUSHED):
        flags |= PSH
    size = record.end - record.seq
    if c.recovery.retrans_stamp < 0:
        c.recovery.retrans_stamp = ts_now(c, now)
    c.recovery.undo_bytes += size
    transmit(c, record.seq, n, flags, now)
    board.retransmitted(record, now)
    c.life.retransmitted += size
    search = c.path.search
    if search is not None and record.seq < search.end and record.end > search.seq:
        search.inconclusive()
    c.counters.add("tcp.retransmitted", max(1, -(-n // tx.mss)))
    c.cc.on_sent(now, size, in_flight(c))
    _paced(c, n, now)
    if not c.timers.is_set(tt.RTO):
        c.timers.set(tt.RTO, now + c.rtt.rto)
    return size


# -- new data -----------------------------------------------------------------------------------


def _run_limit(c: "TcpConnection", seq: int) -> int:
    """Payload bytes of the largest run from ``seq`` on, a whole number of segments."""
    mss = c.tx.mss
    most = c.path.gso_max - 60  # the largest TCP header fits besides
    if most <= mss or c.tx.snd_up > seq:  # an urgent pointer holds for one segment
        return mss
    config, cc = c.config, c.cc
    rate = cc.pacing_rate and _allowed_rate(cc)
    # Several runs in flight: with one alone the path idles while its acknowledgement returns.  What
    # fits the windows as a whole waits for none.
    if not config.tcp_tso_autosize:
        held = c.tx.queue_end - c.tx.snd_una
        if held > cc.cwnd or held > c.tx.snd_wnd:
            most = min(most, max(cc.cwnd // mss >> 2, 2) * mss)
    else:
        most = min(most, (cc.cwnd // mss >> 1) * mss)  # Linux tcp_cwnd_test
        if not rate and c.rtt.srtt:
            percent = 200 if cc.cwnd < cc.ssthresh >> 1 else 120  # Linux tcp_pacing_*_ratio
            rate = cc.cwnd * percent * (SECOND // 100) // c.rtt.srtt
    if rate:
        most = min(most, max(rate >> 10, config.tcp_min_tso_segs * mss))  # about 1 ms
    return most // mss * mss if most > mss else mss


def _new_data(c: "TcpConnection", now: int) -> None:
    tx, cc, rec, board = c.tx, c.cc, c.recovery, c.board
    mss = tx.mss
    if tx.snd_nxt != tx.snd_una:
        flight = in_flight(c)
    else:
        flight = 0
        if now - cc.last_sent > c.rtt.rto and c.config.tcp_slow_start_after_idle:
            cc.idle_restart(now, c.rtt.rto)
    run_limit = mss if tx.queue_end - tx.snd_nxt <= mss else _run_limit(c, tx.snd_nxt)
    reducing = rec.phase == RECOVERY or rec.phase == PHASE_CWR
    cc.cwnd_limited = 0
    limited = False  # by the peer's window
    if c.path.search is not None:
        probe = _probe_path(c, flight, now)
        if probe < 0:
            cc.cwnd_limited = 1
            return
        flight += probe
    while True:
        avail = tx.queue_end - tx.snd_nxt
        if avail <= 0:
            break
        room = tx.snd_una + tx.snd_wnd - tx.snd_nxt
        window = cc.cwnd - flight
        if window < mss and window < avail and flight > 0:
            cc.cwnd_limited = 1
            break
        if tx.eor:
            avail = _record_end(c) - tx.snd_nxt
        n = min(avail, room, max(window, mss), run_limit)
        # Nagle looks at the last record only: a whole one with more behind it goes.
        last = n < avail or not tx.eor or tx.snd_nxt + n == tx.queue_end
        if (n % mss or n <= 0) and last:
            n = _whole_segments(c, n, avail, room)
        if n <= 0:
            limited = room < min(avail, mss)
            break
        if cc.pacing_rate and not _pacing_allows(c, now):
            break
        _send_run(c, n, n == avail, flight, now)
        flight += n
        if reducing:
            rec.prr_out += n
    tx.push_now = False
    if tx.fin_queued and tx.snd_nxt == tx.queue_end and tx.snd_una + tx.snd_wnd > tx.snd_nxt:
        _send_fin(c, flight, now)
    _after_sending(c, now)
    if not c.endpoint.readiness & WRITE:
        c.writable()
    kind = RWND_LIMITED if limited else BUSY
    if c.life.chrono.kind != kind:
        c.life.chrono.switch(kind, now)
    if not board.lost and tx.snd_nxt >= tx.queue_end and flight < cc.cwnd:
        rate = board.rate  # as `RateSampler.limited_by_application`
        rate.app_limited = rate.delivered + flight or 1


def _probe_path(c: "TcpConnection", flight: int, now: int) -> int:
    """A probe of the path MTU, if one may leave (RFC 4821 §7.4): its bytes, -1: wait for room.

    Enough has to follow at once to tell by acknowledgements alone that it was lost.
    """
    path, tx, cc = c.path, c.tx, c.cc
    search, route = path.search, path.route
    if (
        search is None
        or route is None
        or search.probe_size
        or c.recovery.phase != OPEN
        or c.rx.ooo is not None  # its SACK blocks would need the room
        or tx.eor
        or tx.snd_up > tx.snd_una
        or cc.cwnd < _PROBE_WINDOW * tx.mss
    ):
        return 0
    size = search.next_size(path.net.shared.path_mtu(path.remote, route, now), now)
    n = size - mtu_search.overhead(c)
    needed = n + (c.recovery.reordering + 1) * tx.mss
    avail = tx.queue_end - tx.snd_nxt
    if not size or needed > avail or needed > tx.snd_wnd:
        return 0
    if flight and (needed > tx.snd_una + tx.snd_wnd - tx.snd_nxt or flight + n > cc.cwnd):
        return -1
    if cc.pacing_rate and not _pacing_allows(c, now):
        return 0
    seq = tx.snd_nxt
    c.board.sent(seq, seq + n, now, flight)
    c.board.newest().flags |= MTU_PROBE
    search.sent(size, seq, seq + n)
    c.counters.add("tcp.mtu_probes")
    transmit(c, seq, n, 0, now, True)
    tx.snd_nxt = seq + n
    cc.on_sent(now, n, flight + n)
    _paced(c, n, now)
    return n


def _record_end(c: "TcpConnection") -> int:
    """Where the record ends that is being sent."""
    tx = c.tx
    while tx.eor and tx.eor[0] <= tx.snd_nxt:
        del tx.eor[0]
    return tx.eor[0] if tx.eor else tx.queue_end


def _whole_segments(c: "TcpConnection", n: int, avail: int, room: int) -> int:
    """How much of ``n`` bytes to send: full segments, and a short one only when it may go."""
    tx = c.tx
    mss = tx.mss
    tail = n % mss
    if not tail:
        return n
    if n == avail:
        # The end of the user's data: Nagle (Minshall: hold only behind another short segment).
        user = c.options
        held = user.cork or tx.push_end < tx.queue_end
        if tx.fin_queued or tx.push_now or tx.snd_up > tx.snd_una:
            return n
        if not held and (user.nodelay or tx.small_end <= tx.snd_una):
            return n
    elif n == room and n < mss and n * 2 >= tx.max_wnd and not c.options.cork:
        return n  # half of the largest window ever offered (RFC 9293 §3.8.6.2.1)
    return n - tail


def _send_run(c: "TcpConnection", n: int, last: bool, flight: int, now: int) -> None:
    tx = c.tx
    seq = tx.snd_nxt
    end = seq + n
    flags = 0
    if last:
        flags = PSH if tx.push_end >= end else 0
        if tx.fin_queued:
            flags |= FIN
            end += 1
    elif n > tx.mss:
        flags = PSH  # as Linux, so that the receiver passes a super-frame up at once
    if n % tx.mss:
        tx.small_end = end
    c.board.sent(seq, end, now, flight)
    if last and tx.eor:
        c.board.newest().flags |= PUSHED
    transmit(c, seq, n, flags, now)
    tx.snd_nxt = end
    c.cc.on_sent(now, n, flight + n)
    if c.cc.pacing_rate:
        _paced(c, n, now)


def force(c: "TcpConnection", room: int, now: int) -> None:
    """Send up to ``room`` new bytes (at most a segment) whatever Nagle or cwnd say."""
    tx = c.tx
    avail = tx.queue_end - tx.snd_nxt
    n = min(avail, room, tx.mss)
    if n > 0:
        flight = in_flight(c)
        _send_run(c, n, n == avail, flight, now)
        _after_sending(c, now)


def _send_fin(c: "TcpConnection", flight: int, now: int) -> None:
    tx = c.tx
    seq = tx.snd_nxt
    c.board.sent(seq, seq + 1, now, flight)
    transmit(c, seq, 0, FIN, now)
    tx.snd_nxt = seq + 1


def _after_sending(c: "TcpConnection", now: int) -> None:
    """The timer for what is out, or for a window that stays shut."""
    tx, timers = c.tx, c.timers
    if tx.snd_nxt > tx.snd_una:
        if timers.deadlines[tt.PERSIST] != NEVER:
            timers.clear(tt.PERSIST)
            timers.clear(tt.USER)  # it counted how long data could not leave
        if c.options.user_timeout:
            count_user_timeout(c, now)
        if timers.deadlines[tt.RTO] == NEVER:
            timers.set_before(tt.RTO, now + c.rtt.rto)
            if not rack.schedule_probe(c, now):
                timers.set(tt.RTO, now + c.rtt.rto)
        else:
            rack.schedule_probe(c, now)
    elif (
        tx.snd_nxt < tx.queue_end + tx.fin_queued
        and not timers.is_set(tt.PERSIST)
        and not timers.is_set(tt.PACE)
    ):
        timers.set(tt.PERSIST, now + c.rtt.rto)
        count_user_timeout(c, now)


def count_user_timeout(c: "TcpConnection", now: int) -> None:
    """From now on, if not before: data is out, or waits for a window that is shut (RFC 5482)."""
    if c.options.user_timeout and not c.timers.is_set(tt.USER):
        c.timers.set(tt.USER, now + c.options.user_timeout)


# -- pacing -------------------------------------------------------------------------------------


def _pacing_allows(c: "TcpConnection", now: int) -> bool:
    if c.cc.pacing_rate and c.life.pace_next > now:
        c.timers.set(tt.PACE, c.life.pace_next)
        return False
    return True


def _allowed_rate(cc: "CongestionControl") -> int:
    """What the algorithm wants, and the user allows (SO_MAX_PACING_RATE), bytes/s."""
    rate, most = cc.pacing_rate, cc.max_pacing_rate
    return most if 0 < most < rate else rate


def _paced(c: "TcpConnection", n: int, now: int) -> None:
    if c.cc.pacing_rate:
        rate = _allowed_rate(c.cc)
        c.life.pace_next = max(c.life.pace_next, now) + n * SECOND // rate
