# SPDX-License-Identifier: Apache-2.0
"""What was sent and what became of it: sent records, SACK marks, losses, pipe.

RFC 2018 (SACK), RFC 6675 (IsLost, pipe), RFC 9293 §3.8.1.  One `Record` per transmission: a
super-frame is one record until an acknowledgement or a SACK edge cuts it.  Sequence numbers are
unwrapped.  Per acknowledgement the cost follows what is new in it, not what is outstanding.
"""

from bisect import bisect_left
from collections import deque
from typing import Final, final

from capas.base.seq import RangeSet
from capas.transport.tcp.rate import RateSampler
from capas.transport.tcp.record import EVER_RETRANS, LOST, RETRANS, SACKED, Outcome, Record, Repairs

_COMPACT: Final = 256
# What most connections never need, or not while they are idle: nobody adds to these.
_NO_TRANSMISSIONS: Final[deque[tuple[int, int, int]]] = deque(maxlen=0)
_NO_RANGES: Final = RangeSet()


def _seq_of(record: Record) -> int:
    return record.seq


@final
class Scoreboard:
    """Records from SND.UNA to SND.NXT with their marks.

    ``sacked`` ``lost`` ``retrans``  bytes with that mark (lost excludes sacked)
    ``rate``             delivery bookkeeping: bytes delivered so far, rate samples
    ``high_sacked``      end of the highest SACK, 0 before the first
    ``prior_high``       the same before the acknowledgement at hand
    """

    __slots__ = (
        "_head",
        "_marked_below",
        "_records",
        "_repairs",
        "high_sacked",
        "lost",
        "outcome",
        "prior_high",
        "ranges",
        "rate",
        "retrans",
        "sacked",
        "transmissions",
    )

    def __init__(self, outcome: Outcome | None = None) -> None:
        self._records: list[Record] = []
        self._head: int = 0
        self._repairs: Repairs | None = None  # made by the first loss
        self._marked_below: int = 0
        self.ranges: RangeSet = _NO_RANGES
        self.sacked: int = 0
        self.lost: int = 0
        self.retrans: int = 0
        self.rate: RateSampler = RateSampler()
        #: (sent_time, seq, end) in the order of sending, for RACK; stale entries are skipped there.
        self.transmissions: deque[tuple[int, int, int]] = _NO_TRANSMISSIONS
        self.high_sacked: int = 0
        self.prior_high: int = 0
        self.outcome: Outcome = outcome if outcome is not None else Outcome()

    def __len__(self) -> int:
        return len(self._records) - self._head

    def records(self) -> list[Record]:
        """The outstanding records, oldest first (a copy)."""
        return self._records[self._head :]

    def first(self) -> Record | None:
        """The oldest outstanding record."""
        return self._records[self._head] if self._head < len(self._records) else None

    def last(self) -> Record | None:
        """The newest outstanding record."""
        return self._records[-1] if self._head < len(self._records) else None

    # -- sending --------------------------------------------------------------------------------

    def sent(self, seq: int, end: int, now: int, in_flight: int) -> None:
        """[seq, end) left for the first time; ``in_flight`` does not count it yet."""
        rate = self.rate
        if not in_flight:  # as `RateSampler.on_sent`
            rate.first_sent_time = rate.delivered_time = now
        if self.transmissions is _NO_TRANSMISSIONS:
            self.transmissions = deque()
        self.transmissions.append((now, seq, end))
        self._records.append(
            Record(
                seq,
                end,
                now,
                rate.delivered,
                rate.delivered_time,
                rate.first_sent_time,
                1 if rate.app_limited else 0,
            )
        )

    def newest(self) -> Record:
        """What `sent` was told of last."""
        return self._records[-1]

    def retransmitted(self, record: Record, now: int) -> None:
        """``record`` left once more."""
        if not record.flags & RETRANS:
            self.retrans += record.end - record.seq
        record.flags |= RETRANS | EVER_RETRANS
        rate = self.rate
        if self.transmissions is _NO_TRANSMISSIONS:
            self.transmissions = deque()
        self.transmissions.append((now, record.seq, record.end))
        record.sent_time = now
        record.delivered = rate.delivered
        record.delivered_time = rate.delivered_time
        record.first_sent_time = rate.first_sent_time
        record.app_limited = 1 if rate.app_limited else 0

    def next_lost(self) -> Record | None:
        """The lowest record that is lost and not yet repeated."""
        return None if self._repairs is None else self._repairs.lowest()

    def split(self, record: Record, at: int) -> None:
        """Cut an outstanding record in two at ``at``."""
        i = self._index(record.seq)
        rest = record.cut(at)
        self._records.insert(i + 1, rest)
        if rest.flags & LOST:
            self._push_lost(rest)

    # -- acknowledgements -----------------------------------------------------------------------

    def acked(self, ack: int, now: int) -> None:
        """Everything below ``ack`` has arrived."""
        records, head, count = self._records, self._head, len(self._records)
        while head < count:
            record = records[head]
            if record.end > ack:
                if record.seq < ack:
                    # A super-frame acknowledged in part.
                    rest = records[head] = record.cut(ack)
                    if rest.flags & (LOST | SACKED) == LOST:
                        self._push_lost(rest)
                    self._gone(record, now)
                break
            head += 1
            self._gone(record, now)
        if head > _COMPACT or head == count:
            del records[:head]
            head = 0
        self._head = head
        if self.ranges.starts:
            self.ranges.remove_below(ack)
        queue = self.transmissions
        while queue and queue[0][2] <= ack:
            queue.popleft()
        if not records:
            self.transmissions = _NO_TRANSMISSIONS

    def clean(self, ack: int) -> bool:
        """No record is marked lost, repeated or SACKed, nor below ``ack`` ever was."""
        if self.lost or self.retrans or self.sacked or self.ranges.starts:
            return False
        records = self._records
        for i in range(self._head, len(records)):
            record = records[i]
            if record.flags:
                return False
            if record.end >= ack:
                return True
        return False

    def acked_clean(self, ack: int, now: int) -> tuple[int, Record]:
        """As `acked` when `clean` said so: the send time of the oldest, and the newest record."""
        records, head = self._records, self._head
        first = newest = best = records[head]
        count = len(records)
        started = self.rate.first_sent_time
        delivered = 0
        while head < count:
            record = records[head]
            seq, end = record.seq, record.end
            if end > ack:
                if seq >= ack:
                    break
                records[head] = record.cut(ack)  # a super-frame acknowledged in part
                end = ack
            else:
                head += 1
            newest = record
            delivered += end - seq
            # Of all records the one sent last measures the rate, as in `RateSampler.on_delivered`.
            at, prior = record.delivered, best.delivered
            if record is first or at > prior or (at == prior and record.sent_time > started):
                best = record
                started = record.sent_time
            if end == ack:
                break
        self.rate.on_clean(
            now,
            delivered,
            best.sent_time,
            best.delivered,
            best.delivered_time,
            best.first_sent_time,
            best.app_limited,
        )
        outcome = self.outcome
        outcome.acked = outcome.delivered = delivered
        outcome.sacked = outcome.lost = 0
        if head > _COMPACT or head == count:
            del records[:head]
            head = 0
        self._head = head
        queue = self.transmissions
        while queue and queue[0][2] <= ack:
            queue.popleft()
        if not records:
            self.transmissions = _NO_TRANSMISSIONS
        return first.sent_time, newest

    def _gone(self, record: Record, now: int) -> None:
        size = record.end - record.seq
        flags = record.flags
        outcome = self.outcome
        outcome.acked += size
        if flags & SACKED:
            self.sacked -= size
        else:
            self._deliver(record, size, now)
            if record.end <= self.prior_high and not flags & EVER_RETRANS:
                outcome.late(record.seq)
        if flags & LOST:
            self.lost -= size
        if flags & RETRANS:
            self.retrans -= size
        record.flags = flags & ~LOST  # its entry in the heap of losses is stale now

    def _deliver(self, record: Record, size: int, now: int) -> None:
        outcome = self.outcome
        outcome.delivered += size
        self.rate.on_delivered(
            now,
            size,
            record.sent_time,
            record.delivered,
            record.delivered_time,
            record.first_sent_time,
            record.app_limited,
        )
        if record.flags & EVER_RETRANS:
            outcome.retrans_acked = True
        else:
            sent = record.sent_time
            if outcome.first_sent < 0 or sent < outcome.first_sent:
                outcome.first_sent = sent
            outcome.last_sent = max(outcome.last_sent, sent)
        newest = outcome.newest
        if newest is None or (record.sent_time, record.end) > (newest.sent_time, newest.end):
            outcome.newest = record

    def sack(self, left: int, right: int, now: int) -> None:
        """The peer holds [left, right) (already clipped to what is outstanding)."""
        if self.ranges is _NO_RANGES:
            self.ranges = RangeSet()
        ranges = self.ranges
        if ranges.contains(left, right):
            return
        at = left
        while at < right:
            i = bisect_left(ranges.ends, at + 1)
            if i < len(ranges) and ranges.starts[i] <= at:
                at = ranges.ends[i]
                continue
            stop = min(right, ranges.starts[i]) if i < len(ranges) else right
            self._mark_sacked(at, stop, now)
            at = stop
        ranges.add(left, right)
        self.high_sacked = max(self.high_sacked, right)

    def _mark_sacked(self, left: int, right: int, now: int) -> None:
        records = self._records
        i = self._index(left)
        while i < len(records):
            record = records[i]
            if record.seq >= right:
                return
            if record.seq < left:
                if record.end <= left:
                    i += 1
                    continue
                self.split(record, left)
                i += 1
                continue
            if record.end > right:
                self.split(record, right)
            if not record.flags & SACKED:
                size = record.end - record.seq
                if record.end <= self.high_sacked and not record.flags & EVER_RETRANS:
                    self.outcome.late(record.seq)
                self._deliver(record, size, now)
                self.outcome.sacked += size
                self.sacked += size
                if record.flags & LOST:
                    self.lost -= size
                if record.flags & RETRANS:
                    self.retrans -= size
                record.flags = (record.flags | SACKED) & ~(LOST | RETRANS)
            i += 1

    def forget_sacks(self) -> None:
        """Treat all SACK information as withdrawn (reneging, RFC 2018 §8)."""
        for record in self._records[self._head :]:
            record.flags &= ~SACKED
        self.ranges.clear()
        self.sacked = 0
        self.high_sacked = 0

    # -- losses ---------------------------------------------------------------------------------

    def mark_lost(self, record: Record) -> None:
        """``record`` (and the retransmission of it that was in flight) is taken for lost."""
        size = record.end - record.seq
        if record.flags & SACKED:
            return
        if record.flags & RETRANS:
            self.retrans -= size
            record.flags &= ~RETRANS
        elif record.flags & LOST:
            return
        if not record.flags & LOST:
            record.flags |= LOST
            self.lost += size
        self.outcome.lost += size
        self._push_lost(record)

    def mark_lost_by_sack(self, reordering: int, mss: int, una: int) -> None:
        """IsLost() of RFC 6675 §4: DupThresh ranges above, or over (DupThresh - 1) * SMSS bytes."""
        edge = self.ranges.crowded(reordering, (reordering - 1) * mss)
        if edge >= 0:
            self._mark_lost_below(edge, max(self._marked_below, una))

    def _mark_lost_below(self, limit: int, start: int) -> None:
        records = self._records
        i = self._index(start)
        while i < len(records) and records[i].seq < limit:
            record = records[i]
            if not record.flags & (SACKED | LOST):
                self.mark_lost(record)
            i += 1
        self._marked_below = max(self._marked_below, limit)

    def mark_lost_transmission(self, sent_time: int, seq: int, end: int) -> None:
        """What of the transmission [seq, end) made at ``sent_time`` is still out is lost."""
        records = self._records
        i = self._index(seq)
        while i < len(records) and records[i].seq < end:
            record = records[i]
            if record.sent_time == sent_time and not record.flags & SACKED:
                if record.end > end:
                    self.split(record, end)
                self.mark_lost(record)
            i += 1

    def mark_all_lost(self) -> None:
        """A timeout: everything not SACKed is lost (RFC 6675 §5.1)."""
        for record in self._records[self._head :]:
            self.mark_lost(record)

    def unmark_all(self) -> None:
        """The losses were imagined (undo): nothing is lost."""
        for record in self._records[self._head :]:
            record.flags &= ~LOST
        self._repairs = None
        self._marked_below = 0
        self.lost = 0

    def _push_lost(self, record: Record) -> None:
        if self._repairs is None:
            self._repairs = Repairs()
        self._repairs.push(record)

    def _index(self, seq: int) -> int:
        """Index of the record that holds or follows ``seq``."""
        records = self._records
        i = bisect_left(records, seq, self._head, key=_seq_of)
        if i > self._head and records[i - 1].end > seq:
            return i - 1
        return i
