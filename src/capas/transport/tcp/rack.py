# SPDX-License-Identifier: Apache-2.0
"""RACK-TLP: loss detection by time, and the tail loss probe (RFC 8985).

`Rack` owns RACK.xmit_ts, RACK.end_seq, RACK.rtt, RACK.reo_wnd and the TLP marks; the functions work
on the connection's parts.
"""

from typing import TYPE_CHECKING, Final, final

from capas.base.clock import MS, NEVER
from capas.base.seq import M32
from capas.transport.tcp import timers as tt
from capas.transport.tcp.record import EVER_RETRANS, Record

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection

_PERSIST: Final = 16  # recoveries a widened window lasts, RFC 8985 §6.2 step 4
_WORST_DELAYED_ACK: Final = 200 * MS  # WCDelAckT, RFC 8985 §7.2 (Linux: RTO_MIN)
_MAX_REORDERING: Final = 300  # segments, Linux tcp_max_reordering
_MIN_PTO_SLACK: Final = 2 * MS  # Linux TCP_TIMEOUT_MIN


@final
class Rack:
    """RACK and TLP state of one connection.

    ``xmit_ts`` ``end_seq``  of the most recently sent segment that was delivered; 0: none
    ``rtt``           ns, of that segment
    ``reo_wnd_mult`` ``persist``  RFC 8985 §6.2 step 4
    ``reordering_seen``  how often reordering was observed on the connection
    ``fack``          highest sequence delivered
    ``tlp_end``       TLP.end_seq, 0: no probe outstanding; ``tlp_retrans``: it repeated data
    """

    __slots__ = (
        "dsack_round",
        "end_seq",
        "fack",
        "persist",
        "reo_wnd_mult",
        "reordering_seen",
        "rtt",
        "tlp_end",
        "tlp_retrans",
        "xmit_ts",
    )

    def __init__(self) -> None:
        self.xmit_ts: int = 0
        self.end_seq: int = 0
        self.rtt: int = 0
        self.reo_wnd_mult: int = 1
        self.persist: int = _PERSIST
        self.reordering_seen: int = 0
        self.dsack_round: int = 0
        self.fack: int = 0
        self.tlp_end: int = 0
        self.tlp_retrans: bool = False

    def delivered(self, record: Record, now: int, min_rtt: int) -> None:
        """Steps 1 and 2: the newest delivered segment moves the clock (RFC 8985 §6.2)."""
        rtt = now - record.sent_time
        if record.flags & EVER_RETRANS and 0 <= rtt < min_rtt:
            return  # an acknowledgement of the original
        if record.sent_time > self.xmit_ts or (
            record.sent_time == self.xmit_ts and record.end > self.end_seq
        ):
            self.xmit_ts = record.sent_time
            self.end_seq = record.end
            self.rtt = rtt

    def clean(self, sent_time: int, end: int, now: int) -> None:
        """As `delivered`, of a segment that was never repeated."""
        if sent_time > self.xmit_ts or (sent_time == self.xmit_ts and end > self.end_seq):
            self.xmit_ts = sent_time
            self.end_seq = end
            self.rtt = now - sent_time

    def reo_wnd(self, c: "TcpConnection") -> int:
        """Step 4: how long to wait for reordering, ns."""
        if not self.reordering_seen:
            from_phase = c.recovery.phase >= 3
            if from_phase or c.board.sacked >= c.recovery.reordering * c.tx.mss:
                return 0
        min_rtt = c.rtt.min_rtt if c.rtt.min_rtt > 0 else self.rtt
        return min(self.reo_wnd_mult * (min_rtt >> 2), c.rtt.srtt)


def update(c: "TcpConnection", ts_ecr: int, now: int, dsack: bool) -> None:
    """Take what the acknowledgement at hand delivered."""
    rack = c.rack
    outcome = c.board.outcome
    newest = outcome.newest
    if newest is not None:
        # Step 2: a repeated segment whose echo is older than the repeat says nothing of it.
        stamp = newest.sent_time // MS + c.neg.ts_offset
        older = c.neg.ts_ok and ((ts_ecr - stamp) & M32) >= 0x80000000
        if not (older and newest.flags & EVER_RETRANS):
            rack.delivered(newest, now, max(c.rtt.min_rtt, 0))
    if outcome.reordered >= 0:
        rack.reordering_seen += 1
        extent = -(-(c.board.high_sacked - outcome.reordered) // c.tx.mss)
        c.recovery.reordering = min(max(c.recovery.reordering, extent), _MAX_REORDERING)
    una = c.tx.snd_una
    if dsack and una >= rack.dsack_round:
        rack.dsack_round = c.tx.snd_nxt
        rack.reo_wnd_mult = min(rack.reo_wnd_mult + 1, 255)
        rack.persist = _PERSIST


def detect_loss(c: "TcpConnection", now: int) -> None:
    """Step 5: mark what was sent well before the newest delivered segment (RFC 8985 §6.2).

    Walks transmissions in the order they were made, so it stops at the first that may still come.
    """
    rack, board = c.rack, c.board
    if rack.xmit_ts == 0:
        return
    wait = rack.rtt + rack.reo_wnd(c)
    queue = board.transmissions
    una = c.tx.snd_una
    while queue:
        sent_time, seq, end = queue[0]
        if end <= una or board.ranges.contains(max(seq, una), end):
            queue.popleft()
            continue
        if sent_time > rack.xmit_ts or (sent_time == rack.xmit_ts and seq >= rack.end_seq):
            break
        left = sent_time + wait - now
        if left > 0:
            c.timers.set(tt.REORDER, now + left)
            return
        queue.popleft()
        if sent_time == rack.xmit_ts and end > rack.end_seq:
            queue.appendleft((sent_time, rack.end_seq, end))
            end = rack.end_seq
        board.mark_lost_transmission(sent_time, max(seq, una), end)
    c.timers.clear(tt.REORDER)


def schedule_probe(c: "TcpConnection", now: int) -> bool:
    """Arm the tail loss probe instead of the RTO if the rules allow (RFC 8985 §7.2)."""
    rack, tx, rec = c.rack, c.tx, c.recovery
    if (
        not c.config.tcp_tlp
        or not c.neg.sack_ok
        or rec.phase >= 2
        or c.board.sacked
        or rack.tlp_end
        or tx.snd_nxt == tx.snd_una
    ):
        return False
    if c.rtt.srtt:
        pto = 2 * c.rtt.srtt
        if tx.snd_nxt - tx.snd_una <= tx.mss:
            pto += _WORST_DELAYED_ACK
        else:
            pto += _MIN_PTO_SLACK
    else:
        pto = c.config.tcp_rto_initial
    timers = c.timers
    rto_at = timers.deadlines[tt.RTO]
    if rto_at != NEVER and now + pto >= rto_at:
        pto = max(rto_at - now, 0)
        timers.deadlines[tt.RTO] = rto_at + c.rtt.rto  # the probe goes instead (RFC 8985 §7.2)
    timers.set(tt.TLP, now + pto)
    return True


def probe_acknowledged(
    c: "TcpConnection", ack: int, dsack: bool, duplicate: bool, now: int
) -> None:
    """Did the probe repair a loss nobody else saw?  Then congestion must hear (RFC 8985 §7.4)."""
    rack = c.rack
    if not rack.tlp_end or ack < rack.tlp_end:
        return
    if not rack.tlp_retrans or dsack:
        rack.tlp_end = 0
    elif ack > rack.tlp_end:
        rack.tlp_end = 0
        if c.recovery.phase < 2:
            c.cc.on_loss(now, c.tx.snd_nxt - c.tx.snd_una)
            c.cc.on_recovery_exit(now)
            c.counters.add("tcp.tlp_recovery")
    elif duplicate:
        rack.tlp_end = 0
