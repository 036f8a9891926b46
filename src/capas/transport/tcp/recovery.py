# SPDX-License-Identifier: Apache-2.0
"""Loss recovery: when it starts, how much may leave meanwhile, when it ends, when it was wrong.

RFC 5681 §3.2 (fast retransmit), RFC 6582 (NewReno), RFC 6675 (SACK), RFC 9937 (proportional rate
reduction), RFC 6298 §5 (timeout), RFC 3522/4015 (Eifel undo), RFC 3168 §6.1.2 (ECN).

`Recovery` owns the phase and its marks; the functions work on the connection's parts.
"""

from typing import TYPE_CHECKING, Final, final

from capas.base.seq import M32
from capas.transport.tcp import mtu_search, rack
from capas.transport.tcp.record import EVER_RETRANS, LOST, RETRANS, SACKED

if TYPE_CHECKING:
    from capas.transport.tcp.connection import TcpConnection
    from capas.transport.tcp.mtu_search import MtuSearch

OPEN: Final = 0
DISORDER: Final = 1  # duplicate acknowledgements or SACKs, nothing lost yet
CWR: Final = 2  # reducing after a congestion echo
RECOVERY: Final = 3  # fast recovery
LOSS: Final = 4  # after a timeout

PHASES: Final = ("open", "disorder", "cwr", "recovery", "loss")


@final
class Recovery:
    """The phase of loss recovery.

    ``point``         RecoveryPoint: SND.NXT when the phase began
    ``dup_acks``      duplicate acknowledgements in a row
    ``reno_sacked``   bytes that duplicate ACKs without SACK say have left the network
    ``reordering``    DupThresh in force, segments
    ``prr_delivered`` ``prr_out`` ``recover_fs``  RFC 9937 §6
    ``undo_una``      SND.UNA when the window was reduced, -1: nothing to undo
    ``undo_bytes``    retransmitted bytes not yet reported as duplicates (D-SACK)
    ``retrans_stamp`` TSval of the first retransmission, -1 none (Eifel)
    ``cwr_due``       the next new data segment carries CWR
    ``rtos``          timeouts so far; ``dsacks``: segments the peer reported as duplicates
    """

    __slots__ = (
        "cwr_due",
        "dsack_seen",
        "dsacks",
        "dup_acks",
        "frto_before",
        "phase",
        "point",
        "prr_delivered",
        "prr_out",
        "recover_fs",
        "reno_sacked",
        "reordering",
        "retrans_stamp",
        "rtos",
        "timeouts",
        "undo_bytes",
        "undo_una",
    )

    def __init__(self, reordering: int) -> None:
        self.phase: int = OPEN
        self.point: int = 0
        self.dup_acks: int = 0
        self.reno_sacked: int = 0
        self.reordering: int = reordering
        self.prr_delivered: int = 0
        self.prr_out: int = 0
        self.recover_fs: int = 0
        self.undo_una: int = -1
        self.undo_bytes: int = 0
        self.retrans_stamp: int = -1
        self.cwr_due: bool = False
        self.dsack_seen: bool = False  # a D-SACK came in this episode
        self.dsacks: int = 0
        self.rtos: int = 0
        self.timeouts: int = 0  # consecutive, without progress
        self.frto_before: int = -1  # ns, when the timeout fired that F-RTO is to judge

    def begin(self, phase: int, snd_una: int, snd_nxt: int, in_flight: int, retrans: int) -> None:
        """Enter ``phase`` with everything up to ``snd_nxt`` outstanding.

        ``retrans`` bytes repeated in an earlier episode are still out: their stamp stays, or the
        acknowledgements of those repairs would look like those of originals.
        """
        self.phase = phase
        self.point = snd_nxt
        self.prr_delivered = 0
        self.prr_out = 0
        self.recover_fs = max(in_flight, 1)
        if phase != CWR:
            self.undo_una = snd_una
            self.undo_bytes = retrans
            if not retrans:
                self.retrans_stamp = -1
            self.dsack_seen = False

    def end(self) -> None:
        """Back to OPEN."""
        self.phase = OPEN
        self.dup_acks = 0
        self.reno_sacked = 0
        self.undo_una = -1

    def prr(
        self, in_flight: int, delivered: int, lost: int, ssthresh: int, mss: int, advanced: bool
    ) -> int:
        """The window that proportional rate reduction allows now (RFC 9937 §6.2)."""
        self.prr_delivered += delivered
        if in_flight > ssthresh:
            allowed = -(-self.prr_delivered * ssthresh // self.recover_fs) - self.prr_out
        else:
            allowed = max(self.prr_delivered - self.prr_out, delivered)
            if advanced and not lost:  # SafeACK
                allowed += mss
            allowed = min(ssthresh - in_flight, allowed)
        if self.prr_out == 0 and allowed < mss:
            allowed = mss  # the fast retransmit itself
        return in_flight + max(allowed, 0)


def in_flight(c: "TcpConnection") -> int:
    """pipe of RFC 6675 §2, bytes."""
    board = c.board
    tx = c.tx
    flight = tx.snd_nxt - tx.snd_una - board.sacked - board.lost + board.retrans
    if c.recovery.reno_sacked:
        flight -= c.recovery.reno_sacked
    return flight if flight > 0 else 0


def detect(c: "TcpConnection", now: int, advanced: bool) -> None:
    """After the scoreboard took an acknowledgement: losses, phase changes, the reduced window."""
    rec, tx, board = c.recovery, c.tx, c.board
    outcome = board.outcome
    # Without SACK stay until something beyond the point is acknowledged (RFC 6582 §3.2 step 3).
    beyond = c.neg.sack_ok or tx.snd_una > rec.point or tx.snd_una == tx.snd_nxt
    if rec.phase >= CWR and tx.snd_una >= rec.point and beyond:
        c.cc.on_recovery_exit(now)
        rec.end()
    if rec.phase != LOSS or (c.neg.sack_ok and len(board.ranges)):
        _mark_losses(c, now, advanced)
    if rec.phase <= CWR and board.lost > 0:
        search = c.path.search
        if search is not None and search.probe_size and _only_probe_lost(c, search):
            mtu_search.lost(c, search, now)
            repair_only(c)
        else:
            _enter_recovery(c, now)
    elif rec.phase <= DISORDER:
        if not board.retrans:
            rec.retrans_stamp = -1
        disordered = board.sacked or rec.reno_sacked
        rec.phase = DISORDER if disordered else OPEN
    if (rec.phase == RECOVERY or rec.phase == CWR) and c.cc.uses_prr:
        c.cc.cwnd = rec.prr(
            in_flight(c), outcome.delivered, outcome.lost, c.cc.ssthresh, tx.mss, advanced
        )


def _mark_losses(c: "TcpConnection", now: int, advanced: bool) -> None:
    rec, tx, board = c.recovery, c.tx, c.board
    if c.neg.sack_ok:
        if board.ranges.starts and not c.config.tcp_rack:
            board.mark_lost_by_sack(rec.reordering, tx.mss, tx.snd_una)
        if c.config.tcp_rack:
            rack.detect_loss(c, now)
        return
    first = board.first()
    if first is None:
        return
    if rec.phase == RECOVERY:
        if advanced and not first.flags & (LOST | RETRANS):
            board.mark_lost(first)  # partial acknowledgement (RFC 6582 §3.2 step 5)
    elif rec.dup_acks >= rec.reordering and not first.flags & LOST:
        _mark_first_segment(c)


def _mark_first_segment(c: "TcpConnection") -> None:
    """Only the first segment is known to be missing (no SACK)."""
    first = c.board.first()
    if first is not None:
        if first.end - first.seq > c.tx.mss:
            c.board.split(first, first.seq + c.tx.mss)
        c.board.mark_lost(first)


def _only_probe_lost(c: "TcpConnection", search: "MtuSearch") -> bool:
    """A probe of the path MTU is missing and nothing else: no congestion (RFC 4821 §7.6.2)."""
    return c.tx.snd_una == search.seq and c.board.lost <= search.end - search.seq


def _enter_recovery(c: "TcpConnection", now: int) -> None:
    rec, tx = c.recovery, c.tx
    flight = in_flight(c)
    before = c.cc.cwnd
    if rec.phase < CWR:
        c.cc.on_loss(now, flight)
        rec.cwr_due = c.neg.ecn_ok  # after any reduction, RFC 3168 §6.1.2
    rec.begin(RECOVERY, tx.snd_una, tx.snd_nxt, tx.snd_nxt - tx.snd_una, c.board.retrans)
    c.counters.add("tcp.fast_recovery")
    if c.trace is not None:
        first = c.board.next_lost()
        c.trace.decided(
            now,
            "tcp.fast_retransmit",
            f"{c.describe()}: fast retransmit, {c.board.lost} bytes lost from "
            f"{((first.seq if first else tx.snd_una) - tx.iss)} on, "
            f"cwnd {before} -> ssthresh {c.cc.ssthresh} (RFC 6675 §5)",
        )


def repair_only(c: "TcpConnection") -> None:
    """Something is lost for another reason than congestion: repeat it with the window as it is."""
    rec, tx = c.recovery, c.tx
    if rec.phase < RECOVERY and c.board.lost:
        rec.begin(LOSS, tx.snd_una, tx.snd_nxt, tx.snd_nxt - tx.snd_una, c.board.retrans)
        rec.undo_una = -1


def congestion_echo(c: "TcpConnection", now: int) -> None:
    """The peer echoed a CE mark (RFC 3168 §6.1.2): reduce once per window."""
    rec, tx = c.recovery, c.tx
    if rec.phase >= CWR:
        return
    c.cc.on_ecn(now, c.tx.mss)
    rec.begin(CWR, tx.snd_una, tx.snd_nxt, tx.snd_nxt - tx.snd_una, c.board.retrans)
    rec.cwr_due = True
    c.counters.add("tcp.ecn_reduction")
    if c.trace is not None:
        c.trace.decided(
            now, "tcp.ecn", f"{c.describe()}: congestion echo, ssthresh {c.cc.ssthresh}"
        )


def timeout(c: "TcpConnection", now: int) -> None:
    """The retransmission timer expired (RFC 6298 §5.4-5.6, RFC 6675 §5.1)."""
    rec, tx, board = c.recovery, c.tx, c.board
    flight = in_flight(c)
    before = c.cc.cwnd
    old_rto = c.rtt.rto
    first = board.first()
    reneged = first is not None and first.flags & SACKED != 0
    if reneged:
        # The peer gave up what it had SACKed: it reneged (RFC 2018 §8).
        board.forget_sacks()
        c.counters.add("tcp.sack_reneging")
    board.outcome.reset()
    board.mark_all_lost()
    c.cc.on_rto(now, flight)
    rec.cwr_due = c.neg.ecn_ok
    rec.timeouts += 1
    rec.rtos += 1
    if rec.phase != LOSS or tx.snd_una >= rec.point:
        rec.begin(LOSS, tx.snd_una, tx.snd_nxt, tx.snd_nxt - tx.snd_una, c.board.retrans)
        rec.frto_before = now
    if reneged:
        rec.frto_before = -1  # what it SACKed before proves nothing now
    rec.phase = LOSS
    rec.dup_acks = 0
    rec.reno_sacked = 0
    c.rtt.backed_off()
    c.counters.add("tcp.rto")
    if c.trace is not None:
        c.trace.decided(
            now,
            "tcp.rto",
            f"{c.describe()}: RTO {old_rto / 1e6:.0f} ms fired, cwnd {before} -> {c.cc.cwnd}, "
            f"next RTO {c.rtt.rto / 1e6:.0f} ms (RFC 6298 §5.5)",
        )


def consider_undo(c: "TcpConnection", ts_ecr: int, original: int, advanced: bool, now: int) -> None:
    """The reduction was spurious: an original arrived, or every copy was a duplicate.

    Eifel tells originals by their timestamps (RFC 3522); F-RTO by what was never repeated and left
    before the timeout (RFC 5682 §3.1 step 3.b): ``original`` is its send time, -1: none.
    """
    rec = c.recovery
    if rec.undo_una < 0 or rec.phase < RECOVERY:
        return
    spurious = rec.undo_bytes <= 0 and rec.retrans_stamp >= 0 and rec.dsack_seen
    if advanced and ts_ecr >= 0 and rec.retrans_stamp >= 0:
        first = c.board.first()
        copied = first is not None and first.flags & EVER_RETRANS != 0
        older = ((ts_ecr - rec.retrans_stamp) & M32) >= 0x80000000
        spurious = spurious or (older and (copied or rec.phase == LOSS or c.board.lost > 0))
    if rec.phase == LOSS and c.config.tcp_frto and c.neg.sack_ok and not spurious:
        spurious = 0 <= original < rec.frto_before
        if spurious:
            # What RACK took for the repeats' arrival was the originals'.
            c.rack.xmit_ts, c.rack.end_seq = original, c.tx.snd_una
            c.rack.rtt = now - original
    if not spurious:
        return
    c.board.unmark_all()
    c.cc.undo()
    rec.end()
    c.rtt.reset_backoff()
    c.counters.add("tcp.undo")
    if c.trace is not None:
        c.trace.decided(
            now, "tcp.undo", f"{c.describe()}: retransmission was spurious, cwnd {c.cc.cwnd}"
        )
