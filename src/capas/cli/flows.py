# SPDX-License-Identifier: Apache-2.0
"""TCP connections as both ends saw them: what was sent, what arrived, what was lost and repaired.

A sent packet and its arrival are matched by sequence number: an arrival belongs to the latest
transmission that is old enough for the shortest way ever observed.  Sequence numbers in results are
relative to the sender's initial one, as people read them.

One watched end is enough: what it hears of a stranger (the kernel behind a TAP) counts as sent when
it arrives, and nobody knows what became of its own packets, so none of them counts as lost.
"""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, final

from capas.base.clock import NEVER
from capas.base.events import Decision
from capas.base.seq import diff
from capas.cli.observe import TCP, Sight
from capas.wire.address import text
from capas.wire.tcp import ACK, FIN, RST, SYN, Segment

Key = tuple[bytes, int, bytes, int]  # client, its port, server, its port

#: What makes a sender send again, by the events of its tracer.
REPAIRS: Final = {
    "tcp.fast_retransmit": "fast retransmit",
    "tcp.rto": "retransmission timeout",
    "tcp.tlp": "tail loss probe",
    "tcp.syn_retry": "retry of the handshake",
}


class Loss(NamedTuple):
    """One packet that did not arrive; ``repaired``: when it was sent again, or NEVER."""

    time: int
    sender: str
    seq: int  # relative
    length: int
    repaired: int
    how: str


@final
class Half:
    """One direction of a connection; ``heard``: its receiver is one of ours, and tells."""

    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.heard = True
        self.isn = -1
        self.packets = 0
        self.retransmitted = 0
        self.payload = 0  # bytes, each counted once
        self.highest = 0  # relative, the end of what was ever sent
        self.sent: dict[int, list[int]] = {}  # relative seq -> times sent, in order
        self.lengths: dict[int, int] = {}
        self.arrived: dict[int, list[int]] = {}

    def relative(self, seq: int) -> int:
        """``seq`` counted from the initial sequence number."""
        return diff(seq, self.isn) if self.isn >= 0 else seq

    def sending(self, sight: Sight, segment: Segment) -> None:
        """A frame leaves the sender."""
        if self.isn < 0:
            self.isn = segment.seq
        self.packets += sight.packets
        for seq, length in pieces(sight, segment, self.relative(segment.seq)):
            if not length:
                continue
            if seq + length <= self.highest:
                self.retransmitted += 1
            else:
                self.highest = seq + length
            self.sent.setdefault(seq, []).append(sight.time)
            self.lengths[seq] = length

    def arriving(self, sight: Sight, segment: Segment) -> None:
        """A frame reaches the other end."""
        if self.isn < 0:
            return
        for seq, length in pieces(sight, segment, self.relative(segment.seq)):
            if length:
                self.arrived.setdefault(seq, []).append(sight.time)

    def shortest(self) -> int:
        """The shortest way observed, ns, of a packet that was sent once; NEVER without one."""
        return min(
            (
                self.arrived[seq][0] - times[0]
                for seq, times in self.sent.items()
                if len(times) == 1 and seq in self.arrived
            ),
            default=NEVER,
        )

    def lost(self, shortest: int) -> list[tuple[int, int]]:
        """(time sent, relative seq) of each packet with sequence space that never arrived."""
        missing: list[tuple[int, int]] = []
        if not self.heard:
            return missing
        for seq, times in self.sent.items():
            left = list(times)
            for when in self.arrived.get(seq, ()):
                at = bisect_right(left, when - shortest) - 1
                if at >= 0:
                    del left[at]
            missing.extend((time, seq) for time in left)
        return sorted(missing)


def pieces(sight: Sight, segment: Segment, seq: int) -> Iterable[tuple[int, int]]:
    """(relative seq, sequence space) of each wire packet in a frame."""
    extra = (segment.flags & SYN > 0) + (segment.flags & FIN > 0)
    step, left = sight.piece, segment.length
    while step and left > step:
        yield seq, step
        seq += step
        left -= step
    yield seq, left + extra


@final
class Connection:
    """One TCP connection with a watched host at one end or both."""

    def __init__(self, key: Key, client: str) -> None:
        self.key = key
        self.up = Half(client)
        self.down = Half("")
        self.started = 0
        self.established = NEVER
        self.ended = 0
        self.mss = 0
        self.options: dict[str, list[str]] = {}
        self.reset = False
        self.sights: list[Sight] = []

    def half(self, sight: Sight) -> Half:
        """The direction ``sight`` belongs to."""
        return self.up if (sight.src, sight.source_port) == self.key[:2] else self.down

    def losses(self, decisions: Iterable[Decision]) -> list[Loss]:
        """Every packet lost, and how the sender noticed."""
        by_sender: dict[str, list[Decision]] = {}
        client = f"{text(self.key[0])}:{self.key[1]}"
        for decision in decisions:
            if decision.event in REPAIRS and client in decision.text:
                by_sender.setdefault(decision.host, []).append(decision)
        found: list[Loss] = []
        shortest = min(self.up.shortest(), self.down.shortest())
        for half in (self.up, self.down):
            told = by_sender.get(half.sender, [])
            # Half of it: small packets are quicker than those it was measured with.
            for time, seq in half.lost(0 if shortest == NEVER else shortest // 2):
                repaired, how = _repair(half, seq, time, told)
                insort(found, Loss(time, half.sender, seq, half.lengths[seq], repaired, how))
        return found


def _repair(half: Half, seq: int, time: int, told: list[Decision]) -> tuple[int, str]:
    again = min((t for t in half.sent.get(seq, ()) if t > time), default=NEVER)
    if again == NEVER:  # sent again in other pieces, or not at all
        covering = (
            t
            for start, times in half.sent.items()
            if start <= seq < start + half.lengths[start]
            for t in times
            if t > time
        )
        again = min(covering, default=NEVER)
    if again == NEVER:
        return NEVER, "not sent again"
    reason = "the peer asking again" if seq == 0 else "repetition"
    for decision in told:
        if decision.time > again:
            break
        reason = REPAIRS[decision.event]
    return again, reason


class Flows:
    """All connections of a recording, in the order they began."""

    def __init__(self, sights: Iterable[Sight], owners: Mapping[bytes, str]) -> None:
        self.connections: list[Connection] = []
        self._live: dict[Key, Connection] = {}
        self._owners = owners
        for sight in sights:
            if sight.kind != TCP or sight.segment is None:
                continue
            if sight.outgoing:
                if sight.host == owners.get(sight.src):
                    self._sending(sight, sight.host)
            elif sight.host == owners.get(sight.dst):
                if sight.src not in owners:
                    stranger = text(sight.src)
                    self._sending(sight._replace(host=stranger, outgoing=True), stranger)
                self._arriving(sight)

    def _find(self, sight: Sight) -> Connection | None:
        key = (sight.src, sight.source_port, sight.dst, sight.port)
        return self._live.get(key) or self._live.get((*key[2:], *key[:2]))

    def _sending(self, sight: Sight, host: str) -> None:
        segment = sight.segment
        assert segment is not None
        key = (sight.src, sight.source_port, sight.dst, sight.port)
        connection = self._find(sight)
        if segment.flags & (SYN | ACK) == SYN and (
            connection is None or connection.up.isn != segment.seq
        ):
            connection = Connection(key, host)
            connection.started = sight.time
            connection.up.heard = sight.dst in self._owners
            connection.down.heard = sight.src in self._owners
            self._live[key] = connection
            self.connections.append(connection)
        if connection is None:
            return
        half = connection.half(sight)
        half.sender = host
        half.sending(sight, segment)
        connection.ended = sight.time
        connection.reset = connection.reset or segment.flags & RST > 0
        connection.sights.append(sight)
        if segment.flags & SYN:
            connection.options[host] = option_texts(segment)

    def _arriving(self, sight: Sight) -> None:
        connection = self._find(sight)
        if connection is None or sight.segment is None:
            return
        half = connection.half(sight)
        half.arriving(sight, sight.segment)
        connection.sights.append(sight)
        if sight.segment.flags & (ACK | RST) == ACK and connection.established == NEVER:
            connection.established = sight.time  # by SYN-ACK; without a view of it, by its answer


def option_texts(segment: Segment) -> list[str]:
    """The options of a SYN, for people."""
    found = []
    if segment.mss >= 0:
        found.append(f"MSS {segment.mss}")
    if segment.wscale >= 0:
        found.append(f"window ×{1 << segment.wscale}")
    if segment.sack_ok:
        found.append("SACK")
    if segment.ts_val >= 0:
        found.append("timestamps")
    return found


class Series(NamedTuple):
    """What a sender experienced over time: (ns, bytes in flight) and (ns, ns of round trip)."""

    in_flight: list[tuple[int, int]]
    rtt: list[tuple[int, int]]


def series(connection: Connection, half: Half) -> Series:
    """Measured from the frames at the sender's own interface; resent data gives no round trip."""
    other = connection.down if half is connection.up else connection.up
    in_flight: list[tuple[int, int]] = []
    rtt: list[tuple[int, int]] = []
    pending: deque[tuple[int, int]] = deque()  # (end, time sent), of what was sent once
    highest = acked = 0
    for sight in connection.sights:
        segment = sight.segment
        if segment is None or sight.host != half.sender:
            continue
        if sight.outgoing and connection.half(sight) is half:
            end = half.relative(segment.seq) + segment.length
            if end > highest:
                highest = end
                pending.append((end, sight.time))
            elif segment.length:
                pending.clear()  # Karn: an answer could be to either
            in_flight.append((sight.time, highest - acked))
        elif not sight.outgoing and connection.half(sight) is other and segment.flags & ACK:
            acked = max(acked, half.relative(segment.ack))
            sent = -1
            while pending and pending[0][0] <= acked:
                sent = pending.popleft()[1]
            if sent >= 0:
                rtt.append((sight.time, sight.time - sent))
            in_flight.append((sight.time, max(0, highest - acked)))
    return Series(in_flight, rtt)
