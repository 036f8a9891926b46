# SPDX-License-Identifier: Apache-2.0
"""One transmission and its marks (`Record`); what one acknowledgement did (`Outcome`).

Sequence numbers are unwrapped, times ns, sizes bytes.  RFC 2018 (SACK), RFC 6298 §3 (Karn).
"""

from heapq import heappop, heappush
from typing import Final, final

SACKED: Final = 1
LOST: Final = 2
RETRANS: Final = 4  # a retransmission of it is in flight
EVER_RETRANS: Final = 8  # Karn: no round-trip sample from it
PROBE: Final = 16  # sent as a tail loss probe
PUSHED: Final = 32  # it ends what the user marked as a record (MSG_EOR): PSH again, too
MTU_PROBE: Final = 64  # larger than the MSS, to see whether it arrives (RFC 4821)


@final
class Record:
    """One transmission of [seq, end).

    ``sent_time``        ns, the latest transmission
    ``delivered``        `Scoreboard.delivered` when it was sent; ``delivered_time``: its time
    ``first_sent_time``  start of the sampling interval it belongs to (delivery-rate estimation)
    ``app_limited``      1 if the sender was idle for want of data
    """

    __slots__ = (
        "app_limited",
        "delivered",
        "delivered_time",
        "end",
        "first_sent_time",
        "flags",
        "sent_time",
        "seq",
    )

    def __init__(
        self,
        seq: int,
        end: int,
        sent_time: int,
        delivered: int,
        delivered_time: int,
        first_sent_time: int,
        app_limited: int,
    ) -> None:
        self.seq: int = seq
        self.end: int = end
        self.sent_time: int = sent_time
        self.delivered: int = delivered
        self.delivered_time: int = delivered_time
        self.first_sent_time: int = first_sent_time
        self.app_limited: int = app_limited
        self.flags: int = 0

    def cut(self, at: int) -> "Record":
        """Shorten to [seq, at) and return the rest as a record of the same transmission."""
        rest = Record(
            at,
            self.end,
            self.sent_time,
            self.delivered,
            self.delivered_time,
            self.first_sent_time,
            self.app_limited,
        )
        rest.flags = self.flags
        self.flags &= ~PUSHED
        self.end = at
        return rest


@final
class Outcome:
    """What one acknowledgement did; one object per scoreboard, valid until the next.

    ``acked``       bytes newly acknowledged cumulatively; ``sacked``: newly by SACK
    ``delivered``   bytes newly delivered (acked, less what SACK had counted, plus sacked)
    ``first_sent``  ns, send time of the oldest record delivered that was never repeated; -1 none
    ``last_sent``   the same of the newest
    ``newest``      the delivered record sent last (for RACK and delivery rate), or None
    ``lost``        bytes newly marked lost
    ``retrans_acked``  a repeated record was delivered
    ``reordered``   sequence number of a never-repeated record delivered below the highest SACK
    """

    __slots__ = (
        "acked",
        "delivered",
        "first_sent",
        "last_sent",
        "lost",
        "newest",
        "reordered",
        "retrans_acked",
        "sacked",
    )

    def __init__(self) -> None:
        self.acked: int = 0
        self.sacked: int = 0
        self.delivered: int = 0
        self.first_sent: int = -1
        self.last_sent: int = -1
        self.newest: Record | None = None
        self.lost: int = 0
        self.retrans_acked: bool = False
        self.reordered: int = -1

    def late(self, seq: int) -> None:
        """A record at ``seq``, sent once, arrived after what was sent later."""
        if self.reordered < 0 or seq < self.reordered:
            self.reordered = seq

    def reset(self) -> None:
        """Nothing happened yet."""
        self.acked = 0
        self.sacked = 0
        self.delivered = 0
        self.first_sent = -1
        self.last_sent = -1
        self.newest = None
        self.lost = 0
        self.retrans_acked = False
        self.reordered = -1


@final
class Repairs:
    """Lost records by sequence number, until each is repeated; stale entries are skipped."""

    __slots__ = ("_heap", "_tie")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Record]] = []
        self._tie: int = 0

    def push(self, record: Record) -> None:
        """``record`` is lost."""
        self._tie += 1
        heappush(self._heap, (record.seq, self._tie, record))

    def lowest(self) -> Record | None:
        """The lowest record that is lost and not yet repeated."""
        heap = self._heap
        while heap:
            seq, _, record = heap[0]
            if record.seq == seq and record.flags & (LOST | RETRANS | SACKED) == LOST:
                return record
            heappop(heap)
        return None
