# SPDX-License-Identifier: Apache-2.0
"""Round-trip time and the retransmission timeout: RFC 6298 in ns, with Linux's manners.

Deviation from RFC 6298 §2.4: instead of rounding the whole RTO up to one second, the variance
term has a floor (Linux: 200 ms), so RTO = SRTT + max(4 RTTVAR, floor).  As in Linux the variance
rises at once and falls at most once per round trip.  ``whole_floor`` selects the RFC's manner,
with the floor under the whole RTO (FreeBSD).  Karn's algorithm is the caller's: it does not bring
samples of retransmitted segments.  Invariant: 0 < rto <= rto_max.
"""

from typing import Final, final

from capas.base.clock import SECOND
from capas.base.minmax import WindowedMax

MIN_RTT_WINDOW: Final = 300 * SECOND  # Linux tcp_min_rtt_wlen
MAX_BACKOFF: Final = 63  # more doublings change nothing: rto_max holds


@final
class RttEstimator:
    """SRTT, RTTVAR and RTO of one connection.

    ``srtt``     smoothed round trip, 0 before the first sample
    ``rttvar``   a quarter of the variance term of the RTO (Linux: the maximum over a round trip)
    ``mdev``     mean deviation, RFC 6298's RTTVAR
    ``rto``      timeout to arm now, backoff included
    ``backoff``  doublings in force
    ``min_rtt``  smallest sample of the last 300 s, -1 before the first
    ``latest``   newest sample, -1 before the first
    """

    __slots__ = (
        "_base",
        "_deviation_max",
        "_min",
        "_round_start",
        "backoff",
        "latest",
        "mdev",
        "min_rtt",
        "rto",
        "rto_initial",
        "rto_max",
        "rto_min",
        "rttvar",
        "slop",
        "srtt",
        "whole_floor",
    )

    def __init__(
        self,
        rto_initial: int,
        rto_min: int,
        rto_max: int,
        whole_floor: bool = False,
        slop: int = 0,
    ) -> None:
        self.rto_initial: int = rto_initial
        self.rto_min: int = rto_min
        self.rto_max: int = rto_max
        self.whole_floor: bool = whole_floor
        self.slop: int = slop  # added to all but the first timeout (FreeBSD rexmit_slop)
        self._base: int = rto_initial
        self.srtt: int = 0
        self.rttvar: int = 0
        self.mdev: int = 0
        self.rto: int = min(rto_initial, rto_max)
        self.backoff: int = 0
        self.min_rtt: int = -1
        self.latest: int = -1
        self._min: WindowedMax = WindowedMax(MIN_RTT_WINDOW)
        self._deviation_max: int = 0
        self._round_start: int = 0

    def sample(self, rtt: int, now: int) -> None:
        """A round trip took ``rtt`` ns.  Ends the backoff (RFC 6298 §5.7)."""
        if rtt <= 0:
            rtt = 1
        self.latest = rtt
        self.min_rtt = -self._min.update(now, -rtt)
        floor = 0 if self.whole_floor else self.rto_min >> 2
        if self.srtt == 0:
            self.srtt = rtt
            self.mdev = rtt >> 1
            self.rttvar = self._deviation_max = max(self.mdev, floor)
            self._round_start = now
        else:
            error = rtt - self.srtt
            self.srtt += error >> 3
            if error < 0:
                # A falling RTT must not raise the variance: an eighth of the weight (Linux).
                error = -error - self.mdev
                self.mdev += error >> 5 if error > 0 else error >> 2
            else:
                self.mdev += (error - self.mdev) >> 2
            if self.mdev > self._deviation_max:
                self._deviation_max = self.mdev
                self.rttvar = max(self.rttvar, self._deviation_max)
            if now - self._round_start >= self.srtt:
                if self._deviation_max < self.rttvar:
                    self.rttvar -= (self.rttvar - self._deviation_max) >> 2
                self._round_start = now
                self._deviation_max = floor
        if self.whole_floor or self.backoff or self.slop:
            if self.whole_floor:
                self.rttvar = self.mdev
            self.reset_backoff()
            return
        # As `reset_backoff`, for almost every sample of every connection.
        spread = 4 * self.rttvar
        floor = self.rto_min
        rto = self._base = self.srtt + (spread if spread > floor else floor)
        self.rto = rto if rto < self.rto_max else self.rto_max

    def backed_off(self) -> int:
        """The timer fired: double the RTO (RFC 6298 §5.5); return the new one."""
        if self.backoff < MAX_BACKOFF:
            self.backoff += 1
        self.rto = min((self._base << self.backoff) + self.slop, self.rto_max)
        return self.rto

    def reset_backoff(self) -> None:
        """New data was acknowledged: the RTO follows the estimate again."""
        self.backoff = 0
        if self.srtt == 0:
            self.rto = min(self.rto_initial, self.rto_max)
            return
        # Once per acknowledgement: comparisons cost a third of calls of min and max.
        floor = self.rto_min
        if self.whole_floor:
            rto = self.srtt + 4 * self.rttvar
            if rto < floor:
                rto = floor
        else:
            spread = 4 * self.rttvar
            rto = self.srtt + (spread if spread > floor else floor)
        self._base = rto
        rto += self.slop
        self.rto = rto if rto < self.rto_max else self.rto_max
