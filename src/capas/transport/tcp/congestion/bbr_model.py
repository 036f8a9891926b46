# SPDX-License-Identifier: Apache-2.0
"""What BBR believes about the path: bandwidth, round-trip time, whether the pipe is full.

Cardwell et al., "BBR: Congestion-Based Congestion Control" (2016), and Linux 6.18 tcp_bbr.c.
Units: bytes/s, ns; gains in 1/256.
"""

from typing import Final, final

from capas.base.clock import MS, SECOND
from capas.base.minmax import WindowedMax
from capas.transport.tcp.congestion.base import AckSample

UNIT: Final = 256  # gain of 1
BANDWIDTH_ROUNDS: Final = 10  # window of the bandwidth filter, round trips
MIN_RTT_WINDOW: Final = 10 * SECOND
FULL_GROWTH: Final = UNIT * 5 // 4  # less growth than a quarter in a round ...
FULL_ROUNDS: Final = 3  # ... for three rounds: the pipe is full
EXTRA_ROUNDS: Final = 5  # window of the aggregation filter
EXTRA_MAX: Final = 100 * MS  # aggregation budget, in time at the estimated bandwidth
EXTRA_RESET: Final = 1 << 20  # bytes of one aggregation epoch before it starts anew


@final
class PathModel:
    """Estimates, updated by every acknowledgement.

    ``bandwidth``      bytes/s, maximum over ten rounds
    ``min_rtt``        ns, -1 unknown; ``min_rtt_time`` when it was last seen
    ``rounds``         packet-timed round trips so far; ``round_start`` this ACK begins one
    ``full``           the pipe has been filled: start-up is over
    ``expired``        ``min_rtt`` had not been seen for ten seconds when this ACK came
    """

    __slots__ = (
        "_filter",
        "_full_bandwidth",
        "_full_count",
        "bandwidth",
        "expired",
        "full",
        "min_rtt",
        "min_rtt_time",
        "next_delivered",
        "next_seq",
        "round_start",
        "rounds",
    )

    def __init__(self, now: int) -> None:
        self.bandwidth: int = 0
        self.min_rtt: int = -1
        self.min_rtt_time: int = now
        self.expired: bool = False
        self.rounds: int = 0
        self.round_start: bool = False
        self.next_delivered: int = 0
        self.next_seq: int = 0
        self.full: bool = False
        self._filter: WindowedMax = WindowedMax(BANDWIDTH_ROUNDS)
        self._full_bandwidth: int = 0
        self._full_count: int = 0

    def update(self, s: AckSample) -> None:
        """Learn from one ACK."""
        self._count_rounds(s)
        if s.rate > 0 and (not s.app_limited or s.rate >= self.bandwidth):
            self.bandwidth = self._filter.update(self.rounds, s.rate)
        self._check_full(s)
        self.expired = s.now > self.min_rtt_time + MIN_RTT_WINDOW
        if s.rtt >= 0 and (self.min_rtt < 0 or s.rtt < self.min_rtt or self.expired):
            self.min_rtt = max(s.rtt, 1)
            self.min_rtt_time = s.now

    def end_round(self, delivered: int, snd_nxt: int) -> None:
        """The next round starts with what is sent from now on."""
        self.next_delivered = delivered
        self.next_seq = snd_nxt

    def restart_full_check(self) -> None:
        """Bandwidth may grow again: look afresh whether the pipe is full."""
        self._full_bandwidth = 0
        self._full_count = 0

    def bdp(self, gain: int) -> int:
        """Bytes that fill the path, times ``gain``; 0 while unknown."""
        if self.min_rtt < 0:
            return 0
        return self.bandwidth * self.min_rtt * gain // (UNIT * SECOND)

    def _count_rounds(self, s: AckSample) -> None:
        if s.prior_delivered >= 0:
            self.round_start = s.prior_delivered >= self.next_delivered
        else:
            self.round_start = (
                s.acked > 0 and ((s.snd_una - self.next_seq) & 0xFFFFFFFF) < 0x80000000
            )
        if self.round_start:
            self.rounds += 1
            self.end_round(s.delivered, s.snd_nxt)

    def _check_full(self, s: AckSample) -> None:
        if self.full or not self.round_start or s.app_limited:
            return
        if self.bandwidth * UNIT >= self._full_bandwidth * FULL_GROWTH:
            self._full_bandwidth = self.bandwidth
            self._full_count = 0
            return
        self._full_count += 1
        self.full = self._full_count >= FULL_ROUNDS


@final
class Aggregation:
    """How much more than the bandwidth says arrives in bursts of acknowledgements.

    ``extra``  bytes to add to the window so that such bursts do not leave the path idle
    """

    __slots__ = ("_acked", "_filter", "_start", "extra")

    def __init__(self, now: int) -> None:
        self.extra: int = 0
        self._start: int = now
        self._acked: int = 0
        self._filter: WindowedMax = WindowedMax(EXTRA_ROUNDS)

    def restart(self, now: int) -> None:
        """Begin a new epoch."""
        self._start = now
        self._acked = 0

    def update(self, s: AckSample, path: PathModel, cwnd: int) -> None:
        """Measure this ACK's excess over what the bandwidth would have delivered."""
        if s.acked <= 0:
            return
        expected = path.bandwidth * (s.now - self._start) // SECOND
        if self._acked <= expected or self._acked + s.acked >= EXTRA_RESET:
            self.restart(s.now)
            expected = 0
        self._acked += s.acked
        excess = min(self._acked - expected, cwnd)
        budget = path.bandwidth * EXTRA_MAX // SECOND
        self.extra = min(self._filter.update(path.rounds, excess), budget)
