# SPDX-License-Identifier: Apache-2.0
"""When to leave slow start before loss says so: HyStart++ (RFC 9406) and Linux's HyStart delay.

HyStart++ compares the smallest RTT of this round trip with that of the last one.  When it rose by
more than an eighth (clamped to 4..16 ms), the sender grows at a quarter of the pace for five rounds
(conservative slow start); if the RTT falls back below, the rise was noise and slow start resumes.
Linux's older rule leaves slow start for good when the first eight samples of a round, by their
minimum, exceed the connection's minimum by the same kind of threshold; `mode` LINUX selects it.
Units: ns, bytes.
"""

from typing import Final, final

from capas.base.clock import MS, NEVER

OFF: Final = 0
RFC9406: Final = 1
LINUX: Final = 2

MIN_RTT_THRESHOLD: Final = 4 * MS  # RFC 9406 §4.3 MIN_RTT_THRESH
MAX_RTT_THRESHOLD: Final = 16 * MS  # MAX_RTT_THRESH
MIN_RTT_DIVISOR: Final = 8
N_RTT_SAMPLES: Final = 8  # N_RTT_SAMPLE; Linux HYSTART_MIN_SAMPLES
CSS_GROWTH_DIVISOR: Final = 4
CSS_ROUNDS: Final = 5
LINUX_LOW_WINDOW: Final = 16  # segments below which Linux does not look (hystart_low_window)

GO_ON: Final = 0  # answers of `HyStart.sample`
SLOWER: Final = 1  # conservative slow start: a quarter of the growth
LEAVE: Final = 2  # leave slow start: ssthresh = cwnd


@final
class HyStart:
    """One connection's watch over its slow start."""

    __slots__ = (
        "baseline",
        "current_min",
        "end",
        "in_css",
        "last_min",
        "mode",
        "over",
        "rounds",
        "samples",
        "started",
    )

    def __init__(self, mode: int) -> None:
        self.mode: int = mode
        self.over: bool = mode == OFF
        self.started: bool = False
        self.end: int = 0  # the round ends when this is acknowledged (raw sequence number)
        self.last_min: int = NEVER
        self.current_min: int = NEVER
        self.samples: int = 0
        self.in_css: bool = False
        self.baseline: int = 0  # css_baseline_min_rtt
        self.rounds: int = 0  # rounds spent in conservative slow start

    def stop(self) -> None:
        """Slow start is over for good: HyStart++ serves the initial one only (RFC 9406 §4.3)."""
        if self.mode == RFC9406:
            self.over = True
        self.in_css = False

    def sample(
        self, snd_una: int, snd_nxt: int, rtt: int, min_rtt: int, segments: int, acks: int = 1
    ) -> int:
        """An ACK in slow start with a round trip of ``rtt`` (-1: none); it stands for ``acks``."""
        if self.over:
            return GO_ON
        new_round = not self.started or ((snd_una - self.end) & 0xFFFFFFFF) < 0x80000000
        if new_round and (self.mode != LINUX or segments >= LINUX_LOW_WINDOW):
            self._next_round(snd_nxt)
            if self.rounds >= CSS_ROUNDS:
                return LEAVE
            if self.mode == LINUX:
                return GO_ON  # as Linux: the ACK that opens a round is not one of its samples
        if not self.started or rtt < 0:
            return SLOWER if self.in_css else GO_ON
        return self._linux(rtt, min_rtt, segments) if self.mode == LINUX else self._rfc(rtt, acks)

    def _next_round(self, snd_nxt: int) -> None:
        self.end = snd_nxt
        if self.started and self.in_css:
            self.rounds += 1
        self.started = True
        self.last_min = self.current_min
        self.current_min = NEVER
        self.samples = 0

    def _rfc(self, rtt: int, acks: int) -> int:
        self.samples += acks
        self.current_min = min(self.current_min, rtt)
        if self.samples < N_RTT_SAMPLES or self.last_min == NEVER:
            return SLOWER if self.in_css else GO_ON
        if self.in_css:
            if self.current_min < self.baseline:
                self.in_css = False  # spurious: back to slow start
                self.rounds = 0
                return GO_ON
            return SLOWER
        threshold = min(max(self.last_min // MIN_RTT_DIVISOR, MIN_RTT_THRESHOLD), MAX_RTT_THRESHOLD)
        if self.current_min >= self.last_min + threshold:
            self.in_css = True
            self.baseline = self.current_min
            self.rounds = 0
            return SLOWER
        return GO_ON

    def _linux(self, rtt: int, min_rtt: int, segments: int) -> int:
        # Linux 6.18 tcp_cubic.c hystart_update(): HYSTART_DELAY.
        if segments < LINUX_LOW_WINDOW:
            return GO_ON
        self.current_min = min(self.current_min, rtt)
        if self.samples < N_RTT_SAMPLES:
            self.samples += 1
            return GO_ON
        threshold = min(max(min_rtt >> 3, MIN_RTT_THRESHOLD), MAX_RTT_THRESHOLD)
        return LEAVE if self.current_min > min_rtt + threshold else GO_ON
