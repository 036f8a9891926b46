# SPDX-License-Identifier: Apache-2.0
"""The receive sequence space, reassembly and the window offered (RFC 9293 §3.3.1, RCV.*).

Sequence variables are unwrapped, as in `sender`.  Payload is kept in the pieces it came in until
the user reads: small ones copied out of the frame, large ones as views of it, copied once then.
Out-of-order data costs memory only inside the window and is capped in pieces too (a peer that sends
every second byte).
"""

from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Final, final

from capas.base.seq import RangeSet

if TYPE_CHECKING:
    from capas.transport.tcp.urgent import Mark

MAX_SACK_BLOCKS: Final = 4  # RFC 2018 §3: what fits beside no other option
ACK_NONE: Final = 0
ACK_DELAYED: Final = 1
ACK_NOW: Final = 2
OVERHEAD: Final = 128  # bytes charged per piece out of order beside its data
_TINY: Final = 128  # bytes; shorter pieces in order are joined, or each would cost as much again
#: Unread data of a connection without any: nobody adds to it.
_NOTHING: Final[deque[bytes | memoryview]] = deque(maxlen=0)


@final
class OutOfOrder:
    """Data beyond RCV.NXT: disjoint pieces in order, and what SACK should say of them."""

    __slots__ = ("_pieces", "_starts", "bytes", "ranges", "recent")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[bytes | memoryview] = []
        self.ranges: RangeSet = RangeSet()
        self.recent: list[tuple[int, int]] = []  # SACK blocks, the newest first
        self.bytes: int = 0

    def __len__(self) -> int:
        return len(self._starts)

    def insert(self, start: int, payload: bytes | memoryview) -> int:
        """Keep what is new of ``payload``; return how many bytes were."""
        end = start + len(payload)
        ranges = self.ranges
        added = 0
        at = start
        while at < end:
            i = bisect_left(ranges.ends, at + 1)  # first range that ends after `at`
            if i < len(ranges) and ranges.starts[i] <= at:
                at = ranges.ends[i]
                continue
            stop = min(end, ranges.starts[i]) if i < len(ranges) else end
            piece = payload[at - start : stop - start]
            j = bisect_left(self._starts, at)
            self._starts.insert(j, at)
            self._pieces.insert(j, piece)
            ranges.add(at, stop)
            added += stop - at
            at = stop
        self.bytes += added
        self._remember(start, end)
        return added

    def _remember(self, start: int, end: int) -> None:
        i = bisect_left(self.ranges.ends, end)
        block = (self.ranges.starts[i], self.ranges.ends[i])
        recent = [b for b in self.recent if b[1] < block[0] or b[0] > block[1]]
        recent.insert(0, block)
        del recent[MAX_SACK_BLOCKS:]
        self.recent = recent

    def duplicate(self, start: int, end: int) -> tuple[int, int] | None:
        """The first part of [start, end) that is here already (for D-SACK)."""
        ranges = self.ranges
        i = bisect_left(ranges.ends, start + 1)
        if i == len(ranges) or ranges.starts[i] >= end:
            return None
        return max(start, ranges.starts[i]), min(end, ranges.ends[i])

    def take(self, rcv_nxt: int) -> list[bytes | memoryview]:
        """Remove and return the pieces that continue at ``rcv_nxt``."""
        ranges = self.ranges
        if not ranges.starts or ranges.starts[0] > rcv_nxt:
            return []
        limit = rcv_nxt
        for start, end in zip(ranges.starts, ranges.ends, strict=True):
            if start > limit:
                break  # in-order data may have reached over several ranges
            limit = max(limit, end)
        count = bisect_left(self._starts, limit)
        out: list[bytes | memoryview] = []
        for start, piece in zip(self._starts[:count], self._pieces[:count], strict=True):
            self.bytes -= len(piece)
            if start + len(piece) > rcv_nxt:
                fresh = piece[rcv_nxt - start :] if start < rcv_nxt else piece
                out.append(fresh)
                rcv_nxt += len(fresh)
        del self._starts[:count]
        del self._pieces[:count]
        ranges.remove_below(limit)
        self.recent = [b for b in self.recent if b[1] > limit]
        return out


@final
class Receiver:
    """RCV variables, unread data, and the acknowledgement policy.

    ``irs``         IRS; ``rcv_nxt``: RCV.NXT
    ``rcv_adv``     right edge of the window as advertised: RCV.WND is ``rcv_adv - rcv_nxt``
    ``rcv_wscale``  Rcv.Wind.Shift; ``limit``: receive buffer, bytes
    ``buffered``    bytes in order that the user has not read
    ``ooo_segments``  segments that came out of order so far
    ``fin_seq``     sequence number of the peer's FIN, -1 until one came
    ``mark``        where urgent data ends (RCV.UP), None without
    ``ts_recent``   TS.Recent, -1 before the first; ``ts_recent_time``: when it came, ns
    ``last_ack_sent``  Last.ACK.sent (RFC 7323 §4.3)
    ``rcv_mss``     largest payload seen, estimates the peer's segment size
    ``ack``         ACK_NONE | ACK_DELAYED | ACK_NOW
    ``quick``       acknowledgements still to be sent without delay
    """

    __slots__ = (
        "_copied",
        "_copied_since",
        "_last_copied",
        "_offset",
        "ack",
        "auto_max",
        "best",
        "buffered",
        "chunks",
        "dsack",
        "eager",
        "fin_seq",
        "irs",
        "last_ack_sent",
        "limit",
        "mark",
        "ooo",
        "ooo_segments",
        "quick",
        "rcv_adv",
        "rcv_mss",
        "rcv_nxt",
        "rcv_wscale",
        "ts_recent",
        "ts_recent_time",
    )

    def __init__(self, limit: int, auto_max: int) -> None:
        self.irs: int = 0
        self.rcv_nxt: int = 0
        self.rcv_adv: int = 0
        self.best: int = 0  # the largest window offered so far
        self.rcv_wscale: int = 0
        self.limit: int = limit
        self.auto_max: int = auto_max  # 0: the user fixed the buffer
        self.eager: bool = False  # FreeBSD: any gain moves the right edge, field size or not
        self.buffered: int = 0
        self.chunks: deque[bytes | memoryview] = _NOTHING
        self.ooo: OutOfOrder | None = None
        self.ooo_segments: int = 0
        self.fin_seq: int = -1
        self.mark: Mark | None = None
        self.ts_recent: int = -1
        self.ts_recent_time: int = 0
        self.last_ack_sent: int = 0
        self.rcv_mss: int = 536  # RFC 9293 §3.7.1 default
        self.ack: int = ACK_NONE
        self.quick: int = 16  # Linux TCP_MAX_QUICKACKS
        self.dsack: tuple[int, int] | None = None
        self._offset: int = 0  # bytes of the first chunk already read
        self._copied: int = 0
        self._last_copied: int = 0
        self._copied_since: int = 0

    def start(self, irs: int, window: int) -> None:
        """The peer's SYN came: RCV.NXT is IRS + 1."""
        self.irs = irs
        self.rcv_nxt = irs + 1
        self.rcv_adv = self.rcv_nxt + window
        self.best = window
        self.last_ack_sent = self.rcv_nxt

    def finished(self) -> bool:
        """The peer's FIN was taken; RCV.NXT counts it."""
        return 0 <= self.fin_seq < self.rcv_nxt

    def window(self) -> int:
        """RCV.WND: what the peer may still send, bytes."""
        wnd = self.rcv_adv - self.rcv_nxt
        return wnd if wnd > 0 else 0

    def advertise(self) -> int:
        """Move the right edge if worth it (RFC 9293 §3.8.6.2.2); return the window to offer.

        The edge never moves left.  It moves right by at least a segment or half the buffer, so a
        slow reader causes no silly windows.
        """
        edge = self.rcv_nxt + self.limit - self.buffered
        gain = edge - self.rcv_adv
        if self.eager:
            self.rcv_adv = max(self.rcv_adv, edge)
            self.best = max(self.best, self.rcv_adv - self.rcv_nxt)
            return self.rcv_adv - self.rcv_nxt
        if gain > 0 and (gain >= self.rcv_mss or gain * 2 >= self.limit):
            scale = self.rcv_wscale
            # Rounded up, so that what the scaled field loses does not pull the edge back.
            wnd = (edge - self.rcv_nxt + (1 << scale) - 1) >> scale
            wnd = min(wnd, 0xFFFF) << scale
            if self.rcv_nxt + wnd > self.rcv_adv:
                self.rcv_adv = self.rcv_nxt + wnd
                self.best = max(self.best, wnd)
        left = self.rcv_adv - self.rcv_nxt
        if left <= 0:
            return 0
        odd = -left & ((1 << self.rcv_wscale) - 1)
        if odd:  # rounded down by the scaled field the edge would move left (as Linux)
            self.rcv_adv += odd
        return left + odd

    def accept(self, payload: bytes | memoryview, size: int = 0) -> None:
        """In-order data at RCV.NXT; ``size``: of the largest wire segment in it."""
        n = len(payload)
        self.rcv_nxt += n
        self.buffered += n
        if self.chunks is _NOTHING:
            self.chunks = deque()
        if n < _TINY and self.chunks and len(self.chunks[-1]) < _TINY:
            self.chunks[-1] = bytes(self.chunks[-1]) + payload
        else:
            self.chunks.append(payload)
        if (size or n) > self.rcv_mss:
            self.rcv_mss = size or n
        if self.ooo is not None:
            for piece in self.ooo.take(self.rcv_nxt):
                self.rcv_nxt += len(piece)
                self.buffered += len(piece)
                self.chunks.append(piece)
            if not len(self.ooo):
                self.ooo = None

    def keep(self, seq: int, payload: bytes | memoryview, max_pieces: int) -> int:
        """Out-of-order data inside the window: how many bytes are new; -1 at the cap."""
        ooo = self.ooo
        if ooo is None:
            ooo = self.ooo = OutOfOrder()
        elif len(ooo) >= max_pieces and not ooo.ranges.contains(seq, seq + len(payload)):
            return -1
        return ooo.insert(seq, payload)

    def sack(self, room: int) -> list[int]:
        """Up to ``room`` SACK blocks as flat unwrapped pairs; D-SACK first (RFC 2883 §4)."""
        out: list[int] = []
        if self.dsack is not None:
            out.extend(self.dsack)
        if self.ooo is not None:
            for left, right in self.ooo.recent:
                out.append(left)
                out.append(right)
        del out[2 * room :]
        return out

    def read(self, limit: int) -> bytes:
        """Remove and return up to ``limit`` buffered bytes."""
        chunks = self.chunks
        if not chunks or limit <= 0:
            return b""
        offset = self._offset
        first = chunks[0]
        have = len(first) - offset
        if have > limit:
            self._offset = offset + limit
            self._took(limit)
            return bytes(first[offset : offset + limit])
        chunks.popleft()
        self._offset = 0
        head = first[offset:] if offset else first
        if not chunks:
            self.chunks = _NOTHING
            self.buffered = 0  # as `_took`
            self._copied += have
            return bytes(head)
        if have == limit:
            self._took(have)
            return bytes(head)
        out = [head]
        left = limit - have
        while chunks and left:
            chunk = chunks[0]
            if len(chunk) > left:
                out.append(chunk[:left])
                self._offset = left
                left = 0
                break
            out.append(chunk)
            left -= len(chunk)
            chunks.popleft()
        if not chunks:
            self.chunks = _NOTHING
        self._took(limit - left)
        return b"".join(out)

    def read_into(self, room: memoryview) -> int:
        """As `read`, copied to where the user wants it; how many bytes were."""
        chunks = self.chunks
        at, end = 0, len(room)
        while chunks and at < end:
            offset = self._offset
            chunk = chunks[0]
            n = len(chunk) - offset
            if isinstance(chunk, memoryview) and chunk.obj is room.obj:
                chunks.popleft()  # a device has put it there (`Driver.pull`), at the beginning
            elif n > end - at:
                n = end - at
                room[at:end] = chunk[offset : offset + n]
                self._offset = offset + n
            else:
                room[at : at + n] = chunk[offset:] if offset else chunk
                self._offset = 0
                chunks.popleft()
            at += n
        if not chunks:
            self.chunks = _NOTHING
        self._took(at)
        return at

    def peek(self, limit: int) -> bytes:
        """Up to ``limit`` buffered bytes, which stay."""
        out: list[bytes | memoryview] = []
        offset = self._offset
        for chunk in self.chunks:
            if limit <= 0:
                break
            piece = chunk[offset : offset + limit]
            offset = 0
            limit -= len(piece)
            out.append(piece)
        return b"".join(out)

    def discard(self) -> None:
        """Forget everything unread and out of order."""
        self.chunks.clear()
        self.buffered = 0
        self._offset = 0
        self.ooo = None
        self.mark = None

    def _took(self, n: int) -> None:
        self.buffered -= n
        self._copied += n

    def tune(self, now: int, rtt: int) -> None:
        """Room for twice what the user reads in a round trip (Linux tcp_rcv_space_adjust)."""
        if not self.auto_max or now - self._copied_since < rtt or rtt <= 0:
            return
        copied = self._copied
        if copied > self._last_copied:
            want = 2 * copied + 16 * self.rcv_mss
            if self._last_copied:
                # A sender in slow start doubles every round trip: keep ahead of it.
                want += 2 * want * (copied - self._last_copied) // self._last_copied
            self.limit = max(self.limit, min(want, self.auto_max))
            self._last_copied = copied
        self._copied = 0
        self._copied_since = now
