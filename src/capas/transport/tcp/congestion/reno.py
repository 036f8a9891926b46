# SPDX-License-Identifier: Apache-2.0
"""Reno: slow start and congestion avoidance of RFC 5681, counted in bytes (RFC 3465).

Congestion avoidance adds one segment per window of acknowledged bytes, in whole segments, as Linux
does (tcp_cong_avoid_ai).  Fast recovery is `recovery`'s (RFC 6675, RFC 9937).
"""

from typing import ClassVar

from capas.base.native import mypyc_attr
from capas.transport.tcp.congestion.base import AckSample, CongestionControl, register


@mypyc_attr(allow_interpreted_subclasses=True)
class Reno(CongestionControl):
    """RFC 5681 by byte counting."""

    __slots__ = ()

    name: ClassVar[str] = "reno"

    def on_ack(self, s: AckSample) -> None:
        """Slow start, then one segment per round trip."""
        acked = s.acked
        if acked > 0 and s.advanced and not s.in_recovery and self.may_grow():
            if self.cwnd < self.ssthresh:
                acked = self.slow_start(acked)
            if acked > 0:
                self.additive(self.cwnd, acked)
        self.note_round(s)

    def additive(self, window: int, acked: int) -> None:
        """One segment more per ``window`` acknowledged bytes."""
        if self.credit >= window:  # the window shrank meanwhile
            self.credit = 0
            self.cwnd += self.mss
        self.credit += acked
        if self.credit >= window:
            segments = self.credit // window
            self.credit -= segments * window
            self.cwnd += segments * self.mss


register("reno", Reno)
